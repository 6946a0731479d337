//! The tables of computed tomography: scans every slice, runs every method on the scan, scores what comes back.
//!
//! Reading order: `scanner`, `unet`, `methods`, [`run`].

mod methods;
pub(crate) mod scanner;
mod unet;

use crate::data::DataSource;
use crate::experiment::ct::{Ct, CtMethod, Profile, Set};
use crate::outcome::{Figure, Figures, Outcome, Restored, Row, Shown};
use crate::report::{Facts, how};
use crate::run::RunOptions;
use methods::{Methods, Task};
use scanner::Scanner;
use smalti_base::Result;
use smalti_base::metrics::{psnr, ssim};
use tch::Tensor;

/// Trains what is needed, then runs the sets of `profile`. A slice that stands in several sets is observed with the
/// same noise and reconstructed once.
///
/// # Errors
/// What loading, observing and the methods meet.
pub fn run(experiment: &Ct, profile: &Profile, data: &DataSource, options: &RunOptions) -> Result<Outcome> {
    let scanner = Scanner::new(experiment.noise, profile.scan, profile.fbp)?;
    // What is wrong with a slice is said before the training, not after it.
    for set in &profile.sets {
        for name in data.names(&set.images, set.take)? {
            let _ = scanner.slice(&name, data)?;
        }
    }
    let methods = Methods::prepare(experiment, profile, &scanner, data, options)?;
    let mut outcome = Outcome::default();
    for set in &profile.sets {
        evaluate(set, experiment, &scanner, &methods, data, options, &mut outcome)?;
    }
    outcome.curve = methods.curve();
    Ok(outcome)
}

fn evaluate(
    set: &Set,
    experiment: &Ct,
    scanner: &Scanner,
    methods: &Methods<'_>,
    data: &DataSource,
    options: &RunOptions,
    outcome: &mut Outcome,
) -> Result<()> {
    let names = data.names(&set.images, set.take)?;
    let mut columns: Vec<Vec<[f64; 3]>> = vec![Vec::new(); set.methods.len()];
    for (i, name) in names.iter().enumerate() {
        let truth = scanner.slice(name, data)?.to_device(options.device);
        let observation = scanner.observe(&truth, options.seed.derive(name, 0))?;
        let task = Task { name, observation: &observation };
        let mut results = Vec::new();
        for (&method, column) in set.methods.iter().zip(&mut columns).filter(|(m, _)| methods.can(**m)) {
            let done = methods.reconstruct(method, &task)?;
            let (psnr, ssim) = score(&done.image, &truth)?;
            tracing::info!("{name}: {} {psnr:.2} dB, SSIM {ssim:.3}", method.title());
            column.push([psnr, ssim, done.seconds]);
            results.push(Restored {
                key: method.key(),
                title: method.title(),
                image: done.image,
                psnr,
                ssim,
            });
        }
        if i < set.show {
            outcome.shown.push(Shown {
                name: name.clone(),
                truth,
                observation: None,
                results,
                maps: Vec::new(),
            });
        }
    }
    let comparable = !matches!(data, DataSource::Synthetic) && !scanner.reduced;
    for (&method, column) in set.methods.iter().zip(columns) {
        let over = |k: usize| Figure::over(&column.iter().map(|entry| entry[k]).collect::<Vec<f64>>());
        outcome.rows.push(Row {
            method: method.key().into(),
            images: column.len(),
            ours: Figures { psnr: over(0), ssim: over(1), lpips: None },
            seconds_mean: over(2).map(|f| f.mean),
            published: if comparable { experiment.published(set, method) } else { Figures::default() },
            distance: None,
            data: data.label(&names),
            note: methods.note(method),
        });
    }
    Ok(())
}

/// PSNR and SSIM of a slice; the range is that of the truth, from its least to its largest value.
pub(crate) fn score(image: &Tensor, truth: &Tensor) -> Result<(f64, f64)> {
    let range = truth.max().double_value(&[]) - truth.min().double_value(&[]);
    // A constant truth has no range of its own.
    let range = if range > 0.0 { range } else { 1.0 };
    Ok((psnr(image, truth, range)?, ssim(image, truth, range)?))
}

/// The name of a method for readers.
pub(crate) fn title(key: &str) -> Option<&'static str> {
    CtMethod::ALL.into_iter().find(|method| method.key() == key).map(CtMethod::title)
}

/// What the report says about the run.
pub fn facts<'a>(
    experiment: &'a Ct,
    profile: &Profile,
    data: &'a DataSource,
    options: &RunOptions,
) -> Facts<'a> {
    let scan = &profile.scan;
    let from = |index: usize| (index as f64) * 180.0 / scan.angles as f64;
    let named = |name: &String| data.names(std::slice::from_ref(name), None).unwrap_or_default().join("");
    let train: Vec<String> = experiment.data.train.iter().map(named).collect();
    let mut protocol = vec![
        ("Experiment", format!("{}, profile {}", experiment.name, options.profile)),
        (
            "Scan",
            format!(
                "parallel beam; {} directions, from {:.1}° to {:.1}°; {} detector pixels; slices of {4} × {4} px on \
                 {5} × {5} m, simulated on {6} × {6} px",
                scan.angles - 2 * scan.missing,
                from(scan.missing),
                from(scan.angles - scan.missing),
                scan.detectors,
                scan.size,
                scan.extent,
                scan.simulation_size
            ),
        ),
        (
            "Noise",
            format!(
                "Poisson, {} photons for a ray through air; the value 1 stands for {} 1/m",
                experiment.noise.photons, experiment.noise.mu_max
            ),
        ),
        (
            "Score",
            "PSNR and SSIM (7 × 7 uniform window) of the whole slice; range: that of its truth".to_owned(),
        ),
        ("Mean ± std", "over slices; standard deviation of the population".to_owned()),
        ("Pictures", format!("black is {}, white is {}", experiment.window[0], experiment.window[1])),
        ("Priors learned from", train.join(", ")),
    ];
    protocol.extend(how(options));
    Facts {
        title: &experiment.title,
        crop: 0,
        window: experiment.window,
        data,
        sources: experiment.sources(profile),
        protocol,
        settings: toml::to_string(profile).unwrap_or_default(),
    }
}
