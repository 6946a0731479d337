//! `smalti methods`: what there is, from which papers, and for which problems.

use crate::arguments::Methods;
use crate::context::Context;
use crate::fault::Fault;
use crate::presets::{self, Budget};
use crate::problem::suits;
use crate::settings::Layers;
use serde_json::json;
use smalti_methods::{Learns, METHODS, MethodEntry, PROBLEMS};

/// What a method learns from, for readers.
fn learns(method: &MethodEntry) -> &'static str {
    match method.learns {
        Learns::Nothing => "nothing",
        Learns::Patches => "patches of a reference",
        Learns::Pairs => "pairs made of references",
        Learns::PatchDensity => "patches of a reference, by a training",
        Learns::Observations => "observed crops and a reference",
    }
}

/// Runs the command.
pub(crate) fn run(options: &Methods, context: &Context) -> Result<(), Fault> {
    let all: Vec<&MethodEntry> = METHODS
        .iter()
        .filter(|method| options.name.as_deref().is_none_or(|name| name == method.key))
        .collect();
    let problems = |method: &MethodEntry| -> Vec<(&str, Option<Result<(), String>>)> {
        PROBLEMS.iter().map(|problem| (problem.name, suits(problem, method))).collect()
    };
    let good = |method: &MethodEntry| -> Vec<&str> {
        problems(method)
            .into_iter()
            .filter(|(_, suits)| matches!(suits, Some(Ok(()))))
            .map(|(name, _)| name)
            .collect()
    };
    let mut text = String::new();
    if options.name.is_none() {
        text += &format!("{:15} {:26} {:38} {}\n", "method", "name", "learns from", "problems");
        for method in &all {
            let sampling = if method.samples { ", samples" } else { "" };
            text += &format!(
                "{:15} {:26} {:38} {}{sampling}\n",
                method.key,
                method.title,
                learns(method),
                good(method).join(", ")
            );
        }
        text += "\nsmalti methods NAME tells papers and settings.\n";
    }
    for method in all.iter().filter(|_| options.name.is_some()) {
        text += &format!("{} ({})\nlearns from {}\n", method.title, method.key, learns(method));
        if method.samples {
            text += "draws samples (smalti sample)\n";
        }
        for (name, suits) in problems(method) {
            match suits {
                Some(Ok(())) => text += &format!("  {name}\n"),
                Some(Err(reason)) => text += &format!("  not {name}: {reason}\n"),
                None => {}
            }
        }
        method.papers.iter().for_each(|paper| text += &format!("{paper}\n"));
        for line in settings(method, options.budget) {
            text += &format!("  --set {}.{line}\n", method.key);
        }
    }
    context.answer(&text, || {
        let one = |method: &&MethodEntry| {
            json!({
                "key": method.key,
                "title": method.title,
                "learns": learns(method),
                "samples": method.samples,
                "problems": good(method),
                "papers": method.papers,
                "settings": settings(method, options.budget),
            })
        };
        json!({ "methods": all.iter().map(one).collect::<Vec<_>>() })
    })
}

/// The settings of a preset for superresolution.
fn settings(method: &MethodEntry, budget: Budget) -> Vec<String> {
    let mut layers = Layers::of_method(method.key);
    presets::apply(&mut layers, method.key, budget, "superresolution");
    layers.lines()
}
