//! `cargo xtask ci`, `cargo xtask test` and `cargo xtask cases`: every check, the cheapest first.

use crate::{
    child,
    failure::{Failure, Result},
    libtorch::Libtorch,
    setup::setup,
    tables, tidy, workspace,
};
use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

/// All tests and doctests of the workspace, after set-up.
pub(crate) fn test(root: &Path) -> Result {
    let libtorch = setup(root)?;
    Err(child::replace(tests(root, &libtorch)?))
}

/// What the names of the standing suite contain: inputs of other people that have gone wrong (modules `cases`), and arbitrary
/// bytes for every reader of files (modules and programs `fuzz`).
const CASES: [&str; 2] = ["cases::", "fuzz::"];

/// The standing suite alone, after set-up.
pub(crate) fn cases(root: &Path) -> Result {
    let libtorch = setup(root)?;
    Err(child::replace(standing(root, &libtorch)?))
}

fn standing(root: &Path, libtorch: &Libtorch) -> Result<Command> {
    let mut command = tests(root, libtorch)?;
    // Of libraries and test programs: examples in documentation are none of it.
    command.args(["--tests", "--"]).args(CASES);
    Ok(command)
}

/// Tests run side by side: threads inside of libtorch's operations would only wait for one another.
fn tests(root: &Path, libtorch: &Libtorch) -> Result<Command> {
    let mut command = cargo(root, libtorch, &["test", "--workspace", "--release"])?;
    command.env("OMP_NUM_THREADS", "1");
    if let Some(folder) = required_data(root, std::env::var_os(REQUIRE_DATA).as_deref()) {
        eprintln!("measured data: {}; no test is skipped for want of them", folder.display());
        command.env(REQUIRE_DATA, "1");
    }
    Ok(command)
}

/// The variable that makes tests fail instead of skip where measured data are missing.
const REQUIRE_DATA: &str = "SMALTI_REQUIRE_DATA";

/// The folder beside the checkout that holds all measured data, where there is one and the user has not set the variable. (`data/`
/// of the checkout may hold a part of them.)
fn required_data(root: &Path, set: Option<&OsStr>) -> Option<PathBuf> {
    let folder = root.join("../shared/data");
    (set.is_none() && folder.is_dir()).then_some(folder)
}

/// A cargo command in the root of the checkout.
fn cargo(root: &Path, libtorch: &Libtorch, arguments: &[&str]) -> Result<Command> {
    let mut command = libtorch.cargo(root, arguments)?;
    command.current_dir(root);
    Ok(command)
}

/// Runs every check and stops at the first that fails; the times are told either way.
pub(crate) fn ci(root: &Path) -> Result {
    let mut clock = Clock::default();
    let done = steps(root, &mut clock);
    eprintln!("\n{}", clock.summary());
    done
}

fn steps(root: &Path, clock: &mut Clock) -> Result {
    clock.step("fmt", || child::run(child::cargo(&["fmt", "--all", "--check"]).current_dir(root)))?;
    clock.step("tidy", || tidy::tidy(root))?;
    let libtorch = clock.step("setup", || setup(root))?;
    clock.step("clippy", || {
        let clippy = ["clippy", "--workspace", "--release", "--all-targets", "--", "-D", "warnings"];
        child::run(&mut cargo(root, &libtorch, &clippy)?)
    })?;
    clock.step("doc", || {
        let mut doc = cargo(root, &libtorch, &["doc", "--workspace", "--release", "--no-deps"])?;
        child::run(doc.env("RUSTDOCFLAGS", "-D warnings"))
    })?;
    clock.step("test", || {
        let mut rest = tests(root, &libtorch)?;
        child::run(rest.arg("--").args(CASES.iter().flat_map(|name| ["--skip", name])))
    })?;
    clock.step("cases", || child::run(&mut standing(root, &libtorch)?))?;
    // The workspace turns the features of base on for all of its packages.
    clock.step("test base without features", || {
        let test = ["test", "--release", "-p", "smalti-base", "--no-default-features", "--test", "all"];
        child::run(&mut cargo(root, &libtorch, &test)?)
    })?;
    for example in examples(root)? {
        // Without `--package`: with the features of the whole workspace, as the tests have built it.
        clock.step(&format!("example {example}"), || {
            let mut run = cargo(root, &libtorch, &["run", "--release", "--example", &example])?;
            let fewer = FEWER_STEPS.iter().find(|(name, _)| *name == example);
            child::run(run.arg("--").args(fewer.map_or(&[][..], |(_, arguments)| arguments)))
        })?;
    }
    for experiment in workspace::experiments(root)? {
        clock.step(&format!("smoke {experiment}"), || smoke(root, &libtorch, &experiment))?;
    }
    Ok(())
}

/// Examples that by themselves compute for longer than is needed to see that they run, and what they are given here.
const FEWER_STEPS: [(&str, &[&str]); 4] = [
    ("mixture_flows", &["5", "20", "2", "300"]),
    ("posterior_flow", &["10", "2"]),
    ("warm_dual", &["1000"]),
    ("wppflow", &["75"]),
];

/// One experiment in its smoke profile on the synthetic data, into a folder that goes away: by the program that the tests
/// have built. A build of it alone has other features of other packages, and begins with libtorch's.
fn smoke(root: &Path, libtorch: &Libtorch, experiment: &str) -> Result {
    let out = tempfile::tempdir().map_err(|e| Failure::file(&std::env::temp_dir(), "making a folder", &e))?;
    let options = tables::Options {
        experiment: vec![experiment.to_owned()],
        profile: Some(tables::Profile::Smoke),
        out: Some(out.path().to_owned()),
        ..tables::Options::default()
    };
    let mut command = libtorch.program(root, "smalti-tables")?;
    command.args(tables::arguments(&options));
    child::run(command.env_remove("SMALTI_DATA").current_dir(root))
}

/// The examples of all packages.
fn examples(root: &Path) -> Result<Vec<String>> {
    let metadata = workspace::metadata(root)?;
    let mut examples: Vec<_> = metadata
        .workspace_packages()
        .into_iter()
        .flat_map(|package| &package.targets)
        .filter(|target| target.is_example())
        .map(|target| target.name.clone())
        .collect();
    examples.sort();
    Ok(examples)
}

/// The time that each step took.
#[derive(Default)]
struct Clock {
    steps: Vec<(String, Duration, bool)>,
}

impl Clock {
    /// Announces, runs and times a step.
    fn step<T>(&mut self, name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        eprintln!("\n==> {name}");
        let start = Instant::now();
        let result = work();
        let elapsed = start.elapsed();
        eprintln!("<== {name}: {} after {:.1} s", verdict(result.is_ok()), elapsed.as_secs_f64());
        self.steps.push((name.to_owned(), elapsed, result.is_ok()));
        result.map_err(|failure| Failure {
            message: Some(format!("ci stopped at {name}: {failure}")),
            ..failure
        })
    }

    /// A table of the steps.
    fn summary(&self) -> String {
        let total: Duration = self.steps.iter().map(|(_, elapsed, _)| elapsed).sum();
        let line = |name: &str, elapsed: &Duration, end: &str| {
            format!("{:8.1} s  {name}{end}", elapsed.as_secs_f64())
        };
        let mut lines: Vec<String> = self
            .steps
            .iter()
            .map(|(name, elapsed, good)| line(name, elapsed, if *good { "" } else { "  <- failed" }))
            .collect();
        lines.push(line("in all", &total, ""));
        lines.join("\n")
    }
}

fn verdict(good: bool) -> &'static str {
    if good { "ok" } else { "failed" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_those_of_examples_that_there_are() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let there = examples(root).unwrap();
        for (name, _) in FEWER_STEPS {
            assert!(there.iter().any(|example| example == name), "{name}");
        }
    }

    /// A suite that nothing belongs to would pass, too.
    #[test]
    fn there_are_cases_of_the_programs_and_of_their_parts() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        for part in CASES {
            let module = part.trim_end_matches("::");
            let declares = |file: &PathBuf| {
                let text = std::fs::read_to_string(root.join(file)).unwrap_or_default();
                let program = file.ends_with(format!("tests/{module}.rs"));
                program || text.lines().any(|line| line == format!("mod {module};"))
            };
            let there = workspace::files(root).unwrap();
            assert!(there.iter().any(declares), "no module {module}");
        }
    }

    #[test]
    fn data_beside_the_checkout_are_required_unless_the_user_says_otherwise() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("checkout");
        std::fs::create_dir_all(root.join("data")).unwrap();
        assert_eq!(required_data(&root, None), None);
        std::fs::create_dir_all(folder.path().join("shared/data")).unwrap();
        assert_eq!(required_data(&root, None), Some(root.join("../shared/data")));
        assert_eq!(required_data(&root, Some(OsStr::new("0"))), None);
    }

    #[test]
    fn a_failing_step_is_named_and_keeps_the_exit_code() {
        let mut clock = Clock::default();
        assert_eq!(clock.step("first", || Ok(5)).unwrap(), 5);
        let failure = clock.step("second", || Err::<(), _>(Failure::child(101))).unwrap_err();
        assert_eq!(failure.code, 101);
        assert_eq!(failure.to_string(), "ci stopped at second: exit code 101");
    }

    #[test]
    fn the_summary_has_every_step_and_their_sum() {
        let steps = vec![
            ("fmt".to_owned(), Duration::from_millis(1500), true),
            ("tidy".to_owned(), Duration::from_secs(2), false),
        ];
        let summary = Clock { steps }.summary();
        assert_eq!(summary, "     1.5 s  fmt\n     2.0 s  tidy  <- failed\n     3.5 s  in all");
    }
}
