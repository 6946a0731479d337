//! EPLL: both solvers find the same minimum, which a single normal distribution makes unique.
#![allow(clippy::unwrap_used, clippy::panic)] // in helpers, too

use smalti_base::Seed;
use smalti_methods::{Instrument, MethodEntry, Prepared, ProblemEntry, Role, Run, TrainingData};
use tch::{Device, Tensor};
use toml::de::Deserializer;

fn instrument(name: &str, text: &str) -> Box<dyn Instrument> {
    let problem = (ProblemEntry::find(name).unwrap().read)(Deserializer::parse(text).unwrap()).unwrap();
    problem.instrument(None).unwrap()
}

fn camera() -> Box<dyn Instrument> {
    instrument(
        "superresolution",
        "kernel_size = 4\nsigma = 1.0\nstride = 2\nform = 'wrap-after'\nnoise = 0.05\ncrop = 2\nsize = 24",
    )
}

/// What EPLL with these settings makes of a drawn image.
fn epll(instrument: &dyn Instrument, mixture: &str, solver: &str) -> smalti_base::Result<Tensor> {
    let text = format!("mixture = {mixture}\nweight = {{ mean = 0.02 }}\nsolver = {solver}");
    let settings = (MethodEntry::find("epll").unwrap().read)(Deserializer::parse(&text).unwrap()).unwrap();
    assert!(settings.out_of_range().is_none());
    let drawn = |index| instrument.phantom(Role::Evaluation, Seed::new(2), index).unwrap();
    if let Err((key, problem)) = settings.check(instrument, None) {
        return Err(smalti_base::Error::value(key, "something else", problem));
    }
    let truth = instrument.truth("drawn", &drawn(0))?;
    let material = TrainingData { references: vec![drawn(1)], ..TrainingData::none(instrument) };
    let run = Run::new(Seed::new(1), Device::Cpu);
    let Prepared::Ready(method) = settings.prepare(&material, &run)? else { panic!("EPLL misses something") };
    let problem = instrument.pose("drawn", &instrument.observe(&truth, Seed::new(3))?, None)?;
    Ok(method.reconstruct(&problem, &run)?.image)
}

const ONE: &str = "{ patch_size = 3, components = 1, patches = 2_000, iterations = 5 }";

#[test]
fn half_quadratic_splitting_ends_where_adam_does() {
    let camera = camera();
    let steps = "descent = { iterations = 2_000, learning_rate = 1e-2, schedule = 'cosine' }";
    let map = epll(camera.as_ref(), ONE, &format!("{{ map = {{ patches = 'all', {steps} }} }}")).unwrap();
    let split = |betas: &[f64]| {
        let solver = format!("{{ half_quadratic = {{ betas = {betas:?}, conjugate_gradients = 100 }} }}");
        epll(camera.as_ref(), ONE, &solver).unwrap()
    };
    let apart = |x: &Tensor| (x - &map).abs().max().double_value(&[]);
    // Each `beta` long enough to converge; `1 / beta` is what the covariances are off by.
    let grow: Vec<f64> = (0..12).flat_map(|k| vec![30.0 * f64::from(1 << k); 40]).collect();
    let (far, near) = (apart(&split(&grow[..40])), apart(&split(&grow)));
    assert!(near < 0.01 && far > 10.0 * near, "{near} {far}");
}

#[test]
fn splitting_is_refused_for_photon_counts() {
    let scanner = instrument(
        "tomography",
        "window = [0.0, 0.45]\nscan = { size = 24, extent = 0.26, angles = 20, detectors = 35, simulation_size = 30 }\n\
         fbp = { filter = 'hann', frequency_scaling = 0.65 }\nnoise = { photons = 4096, mu_max = 81.35858 }",
    );
    let solver = "{ half_quadratic = { betas = [100.0], conjugate_gradients = 5 } }";
    let line = epll(scanner.as_ref(), ONE, solver).unwrap_err().to_string();
    assert!(line.starts_with("solver.half_quadratic"), "{line}");
    assert!(
        line.contains("half-quadratic splitting needs Gaussian noise") && line.lines().count() == 1,
        "{line}"
    );
}

#[test]
fn a_mixture_of_other_patches_is_refused() {
    let camera = camera();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mixture.safetensors");
    let d = 4;
    let eye = Tensor::eye(d, tch::kind::DOUBLE_CPU).unsqueeze(0) * 0.01;
    let means = Tensor::full([1, d], 0.5, tch::kind::DOUBLE_CPU);
    let weights = Tensor::ones([1], tch::kind::DOUBLE_CPU);
    smalti_priors::GaussianMixture::new(&weights, &means, &eye).unwrap().save(&path).unwrap();
    let with = |p: i64| {
        let file = path.display();
        let mixture = format!(
            "{{ patch_size = {p}, components = 1, patches = 10, iterations = 1, weights = '{file}' }}"
        );
        epll(camera.as_ref(), &mixture, "{ half_quadratic = { betas = [100.0], conjugate_gradients = 5 } }")
    };
    let line = with(3).unwrap_err().to_string();
    assert!(
        line.contains("patches of 4 values, not of 9 = 3^2") && line.contains("mixture.safetensors"),
        "{line}"
    );
    assert_eq!(with(2).unwrap().size(), [1, 1, 24, 24]);
}
