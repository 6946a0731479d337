//! Every method on every problem, at a tiny size.
#![allow(clippy::unwrap_used, clippy::panic)] // in helpers, too

use smalti_base::{Seed, Space};
use smalti_methods::{
    Estimate, Instrument, METHODS, MethodEntry, PROBLEMS, Prepared, ProblemEntry, Role, Run, TrainingData,
};
use std::collections::BTreeMap;
use tch::{Device, Tensor};
use toml::de::Deserializer;

/// Tiny settings of every problem.
const TINY_PROBLEMS: [(&str, &str); 5] = [
    (
        "superresolution",
        "kernel_size = 4\nsigma = 1.0\nstride = 2\nform = 'wrap-after'\nnoise = 0.01\ncrop = 2\nsize = 24",
    ),
    (
        "deblurring",
        "kernel = { motion = { length = 4.0, angle = 30.0 } }\nform = 'reflect'\nnoise = 0.01\ncrop = 2\nsize = 24",
    ),
    (
        "inpainting",
        "part = { top = 0, left = 0, height = 24, width = 26 }\nhole = { top = 8, left = 8, height = 8, width = 8 }\nnoise = 0.01",
    ),
    (
        "tomography",
        "window = [0.0, 0.45]\nscan = { size = 24, extent = 0.26, angles = 20, detectors = 35, simulation_size = 30 }\n\
         fbp = { filter = 'hann', frequency_scaling = 0.65 }\nnoise = { photons = 4096, mu_max = 81.35858 }",
    ),
    (
        "volume",
        "kernel_size = 3\nsigma = 0.8\nstride = 2\nnoise = 0.01\ncrop = 2\nsize = 16\nreference_size = 18\ngrain = 6.0",
    ),
];

/// Tiny settings of every method, the same on every problem: weights are means against means.
const TINY_METHODS: [(&str, &str); 21] = [
    ("bicubic", ""),
    ("fbp", ""),
    ("fill_in", ""),
    ("tv", "weight = { likelihood = { lambda = 1.0, observed = 500 } }\niterations = 20\ntolerance = 1e-4"),
    (
        "smoothed_tv",
        "weight = { mean = 1.0 }\nsmoothing = 0.01\ndescent = { iterations = 3, learning_rate = 1e-2, schedule = 'cosine' }",
    ),
    (
        "dip_tv",
        "channels = 4\nscales = 2\nweight = { likelihood = { lambda = 1.0, observed = 500 } }\niterations = 3\nlearning_rate = 1e-3",
    ),
    (
        "fbp_unet",
        "channels = [4, 4]\nsynthetic_pairs = 2\nsteps = 3\nbatch = 2\ncrop = 16\nlearning_rate = 1e-3\nfinal_learning_rate = 1e-4",
    ),
    (
        "one_image_net",
        "channels = 4\nblocks = 1\ncrops_of_observation = 2\nsteps = 3\nbatch = 2\ncrop = 16\nborder = 2\nlearning_rate = 1e-2\n\
         final_learning_rate = 1e-4\nclip = 1.0",
    ),
    (
        "zssr",
        "channels = 4\nblocks = 1\nsteps = 3\nbatch = 2\ncrop = 16\nborder = 2\ncrops_of_father = 2\nsmallest_scale = 0.7\n\
         learning_rate = 1e-2\nfinal_learning_rate = 1e-4\ntest_every = 1\nback_projections = 2",
    ),
    (
        "crr",
        concat!(
            "file = '",
            env!("CARGO_MANIFEST_DIR"),
            "/../base/tests/golden/ridge/tiny_crr.pth'\nweight = { likelihood = { lambda = 1000.0, observed = 500 } }\nsigma = 0.06\n\
             padding = 4\niterations = 20\ntolerance = 1e-5"
        ),
    ),
    (
        "wcrr",
        concat!(
            "file = '",
            env!("CARGO_MANIFEST_DIR"),
            "/../base/tests/golden/ridge/tiny_wcrr.pth'\nweight = { likelihood = { lambda = 1000.0, observed = 500 } }\nsigma = 0.06\n\
             padding = 4\niterations = 20\ntolerance = 1e-5"
        ),
    ),
    (
        "acnn",
        "crops_of_observation = 2\nsteps = 3\nbatch = 2\ncrop = 16\nborder = 4\nlearning_rate = 1e-3\nfinal_learning_rate = 1e-4",
    ),
    (
        "dpir",
        concat!(
            "denoiser = { ffdnet = '",
            env!("CARGO_MANIFEST_DIR"),
            "/../base/tests/golden/matlab/tiny_ffdnet.mat' }\niterations = 3\nsigma_start = 0.15\nsigma_end = 0.05"
        ),
    ),
    (
        "epll",
        "mixture = { patch_size = 3, components = 2, patches = 300, iterations = 3 }\nweight = { mean = 0.01 }\n\
         solver = { map = { padding = 1, patches = { grid = 2 }, descent = { iterations = 3, learning_rate = 1e-2, schedule = 'cosine' } } }",
    ),
    (
        "alr",
        "critic = { patch_size = 5, training = { channels = [4, 8], steps = 5, batch = 16, learning_rate = 1e-3, validation_every = 5 } }\n\
         weight = { mean = 1.0 }\npadding = 1\npatches = { grid = 2 }\n\
         descent = { iterations = 3, learning_rate = 1e-2, schedule = 'cosine' }",
    ),
    (
        "patchnr",
        "flow = { patch_size = 3, blocks = 1, hidden = 8, clamp = 1.6, training = { steps = 5, batch = 16, learning_rate = 1e-3, \
         schedule = 'constant', validation_every = 5 } }\nweight = { mean = 0.01 }\npadding = 1\npatches = { grid = 2 }\n\
         descent = { iterations = 3, learning_rate = 1e-2, schedule = 'cosine' }",
    ),
    (
        "wpp",
        "patch_size = 3\nreferences = 50\nscales = 2\nstride = 1\nweight = { mean = 1.0 }\nborder = 2\n\
         descent = { iterations = 3, learning_rate = 1e-2, schedule = 'cosine' }\n\
         dual = { converge = { gap = 0.1, evaluations = 3 } }\nmeasure = { stride = 2, gap = 0.1, evaluations = 5 }",
    ),
    (
        "sinkhorn",
        "patch_size = 3\nreferences = 50\nimage_patches = 50\nblur = 0.1\nreach = 0.5\nweight = { mean = 1.0 }\n\
         descent = { iterations = 3, learning_rate = 1e-2, schedule = 'cosine' }",
    ),
    (
        "langevin",
        "flow = { patch_size = 3, blocks = 1, hidden = 8, clamp = 1.6, training = { steps = 5, batch = 16, learning_rate = 1e-3, \
         schedule = 'constant', validation_every = 5 } }\nweight = { mean = 0.01 }\npadding = 1\n\
         mode = { iterations = 3, learning_rate = 1e-2, schedule = 'cosine' }\n\
         chains = { method = 'mala', count = 2, spread = 0.01, step_size = 1e-6, pilots = [20], burn_in = 4, draws = 4, thin = 1, keep = 2 }",
    ),
    (
        "wppnet",
        "training = { length = { steps = 2 }, batch = 2, form = 'valid', lambda = 0.1, learning_rate = 1e-3, \
         schedule = 'constant', validation_every = 2, validation_crops = 2, patch_size = 3, patch_stride = 2, centred = false, \
         reference_patches = 50, psi_steps = 2 }",
    ),
    (
        "wppflow",
        "draws = 3\nconsistency = false\nflow = { blocks = 1, hidden = 4, centres = 'operator' }\nclip = 50.0\ntraining = { length = { steps = 2 }, batch = 2, form = 'valid', lambda = 0.1, learning_rate = 1e-3, \
         schedule = 'constant', validation_every = 2, validation_crops = 2, patch_size = 3, patch_stride = 2, centred = false, \
         reference_patches = 50, psi_steps = 2 }",
    ),
];

pub(crate) fn instrument(name: &str) -> Box<dyn Instrument> {
    let (_, text) = TINY_PROBLEMS.into_iter().find(|(known, _)| *known == name).unwrap();
    let problem = (ProblemEntry::find(name).unwrap().read)(Deserializer::parse(text).unwrap()).unwrap();
    assert!(problem.out_of_range().is_none() && problem.check().is_ok(), "{name}");
    problem.instrument(None).unwrap()
}

/// What a method makes of an observation of a drawn image, and its score.
fn estimate(method: &MethodEntry, instrument: &dyn Instrument) -> (Estimate, Tensor, BTreeMap<String, f64>) {
    seeded(method, instrument, 1)
}

fn seeded(
    method: &MethodEntry,
    instrument: &dyn Instrument,
    seed: u64,
) -> (Estimate, Tensor, BTreeMap<String, f64>) {
    let (_, text) = TINY_METHODS.into_iter().find(|(known, _)| *known == method.key).unwrap();
    let settings = (method.read)(Deserializer::parse(text).unwrap()).unwrap();
    assert!(settings.out_of_range().is_none(), "{}", method.key);
    let run = Run::new(Seed::new(seed), Device::Cpu);
    let drawn = |role, index| instrument.phantom(role, Seed::new(2), index).unwrap();
    let small = |image: Tensor| match image.dim() {
        5 => image,
        _ => image.narrow(2, 0, 24).narrow(3, 0, image.size()[3].min(28)).contiguous(),
    };
    let image = small(drawn(Role::Evaluation, 0));
    let seen = instrument.acquire("drawn", &image, Seed::new(3)).unwrap();
    let domain = Space::of("truth", &seen.truth).unwrap();
    settings
        .check(instrument, Some(domain))
        .unwrap_or_else(|(key, problem)| panic!("{}: {key}: {problem}", method.key));
    // Large enough for crops of observations.
    let reference = match drawn(Role::Reference, 1) {
        slice if slice.size()[2] > 96 => slice.narrow(2, 0, 96).narrow(3, 0, 96).contiguous(),
        small => small,
    };
    let references = vec![instrument.reference("reference", &reference).unwrap()];
    let material = TrainingData { references, grey_step: 0.01, ..TrainingData::none(instrument) };
    let Prepared::Ready(reconstructor) = settings.prepare(&material, &run).unwrap() else {
        panic!("{} is missing something", method.key)
    };
    let problem = instrument.pose("drawn", &seen.observation, Some(domain)).unwrap();
    let estimate = reconstructor.reconstruct(&problem, &run).unwrap();
    assert_eq!(estimate.image.size(), seen.truth.size(), "{}", method.key);
    assert_eq!(problem.start.image.size(), seen.truth.size(), "{}", method.key);
    assert!(estimate.seconds >= problem.start.seconds);
    // Those return the start; a step of the others alone moves it further than this.
    let simple = ["bicubic", "fbp", "fill_in"].contains(&method.key);
    let moved = (&estimate.image - &problem.start.image).abs().max().double_value(&[]);
    assert!(if simple { moved == 0.0 } else { moved > 0.005 }, "{}: {moved} from the start", method.key);
    let score = instrument.score(&estimate.image, &seen.truth).unwrap();
    (estimate, seen.truth, score)
}

#[test]
fn every_method_runs_on_every_problem_that_it_makes_sense_for() {
    let mut lines = vec![format!(
        "{:18}{}",
        "PSNR [dB]",
        PROBLEMS.iter().map(|p| format!("{:>18}", p.name)).collect::<String>()
    )];
    let mut reasons = Vec::new();
    for method in METHODS {
        let mut line = format!("{:18}", method.key);
        let mut runs = 0;
        for problem in PROBLEMS {
            let instrument = instrument(problem.name);
            let cell = match (method.applies)(instrument.as_ref()) {
                Err(reason) => {
                    assert!(!reason.is_empty() && !reason.ends_with('.'), "{reason}");
                    reasons.push(format!("{} on {}: {reason}", method.key, problem.name));
                    "-".to_owned()
                }
                Ok(()) => {
                    runs += 1;
                    assert_eq!(instrument.key(), problem.key);
                    let (estimate, _, score) = estimate(method, instrument.as_ref());
                    let finite = estimate.image.isfinite().all().int64_value(&[]) == 1;
                    assert!(finite, "{} on {}", method.key, problem.name);
                    if instrument.range().nonnegative
                        && !["fbp", "dip_tv", "fbp_unet", "one_image_net", "langevin"].contains(&method.key)
                    {
                        assert!(estimate.image.min().double_value(&[]) >= 0.0, "{}", method.key);
                    }
                    format!("{:.2}", score["psnr"])
                }
            };
            line.push_str(&format!("{cell:>18}"));
        }
        assert!(runs > 0, "{} runs nowhere", method.key);
        lines.push(line);
    }
    println!("{}\n\n{}", lines.join("\n"), reasons.join("\n"));
}

/// Never a number for an image that is none.
#[test]
fn images_with_nan_have_no_score() {
    for problem in PROBLEMS {
        let instrument = instrument(problem.name);
        let image = instrument.phantom(Role::Evaluation, Seed::new(2), 0).unwrap();
        let truth = instrument.truth("drawn", &image).unwrap();
        let scored = instrument.scored(Space::of("truth", &truth).unwrap());
        for value in [f64::NAN, f64::INFINITY] {
            let bad = truth.copy();
            let mut pixel = bad.shallow_clone();
            for (axis, (first, length)) in scored.iter().enumerate() {
                pixel = pixel.narrow(2 + axis as i64, first + length / 2, 1);
            }
            let _ = pixel.fill_(value);
            let line = instrument.score(&bad, &truth).unwrap_err().to_string();
            assert!(line.contains("finite") || line.contains("NaN"), "{}: {line}", problem.name);
        }
        assert!(instrument.score(&(&truth * 0.99), &truth).unwrap()["psnr"].is_finite());
    }
}

#[test]
fn the_same_seed_gives_the_same_image_and_another_one_another() {
    let instrument = instrument("superresolution");
    for method in METHODS.iter().filter(|m| (m.applies)(instrument.as_ref()).is_ok()) {
        let (first, ..) = estimate(method, instrument.as_ref());
        let (second, ..) = estimate(method, instrument.as_ref());
        assert_eq!(first.image, second.image, "{}", method.key);
        let (other, ..) = seeded(method, instrument.as_ref(), 2);
        let without_chance = ["bicubic", "tv", "smoothed_tv", "crr", "wcrr", "dpir"].contains(&method.key);
        assert_eq!(first.image == other.image, without_chance, "{}", method.key);
    }
}

#[test]
fn what_a_measured_observation_holds_in_the_hole_changes_nothing() {
    let instrument = instrument("inpainting");
    let image = instrument.phantom(Role::Evaluation, Seed::new(2), 0).unwrap();
    let seen = instrument.acquire("drawn", &image, Seed::new(3)).unwrap();
    let hole = instrument.scored(instrument.domain().unwrap());
    for value in [0.0, 1.0, 1e6, f64::NAN] {
        let measured = seen.observation.copy();
        let _ = measured.narrow(2, hole[0].0, hole[0].1).narrow(3, hole[1].0, hole[1].1).fill_(value);
        let problem = instrument.pose("measured", &measured, None).unwrap();
        let clear = instrument.pose("clear", &seen.observation, None).unwrap();
        assert_eq!(problem.start.image, clear.start.image, "{value}");
        assert_eq!(problem.observation, clear.observation, "{value}");
        for strip in instrument.surroundings(&measured).unwrap() {
            assert!(strip.isfinite().all().int64_value(&[]) == 1 && strip.max().double_value(&[]) < 2.0);
        }
    }
    // The start stays among the values around the hole: what is seen enters it once.
    let start = instrument.pose("clear", &seen.observation, None).unwrap().start.image;
    let ends = |t: &Tensor| [t.min(), t.max()].map(|t| t.double_value(&[]));
    let ([low, high], [least, most]) = (ends(&start), ends(&seen.observation));
    assert!(least <= low && high <= most, "{low} to {high}");
}

#[test]
fn a_weight_against_squared_errors_is_refused_for_photon_counts() {
    let scanner = instrument("tomography");
    let refused = |key: &str, text: &str| {
        let settings = (MethodEntry::find(key).unwrap().read)(Deserializer::parse(text).unwrap()).unwrap();
        let (at, problem) = settings.check(scanner.as_ref(), None).unwrap_err();
        assert!(problem.contains("photon counts have no squared errors"), "{problem}");
        let camera = instrument("superresolution");
        settings.check(camera.as_ref(), None).unwrap();
        at
    };
    let text = "weight = { half_squared_errors = 1e-3 }\niterations = 20\ntolerance = 1e-4";
    assert_eq!(refused("tv", text), "weight.half_squared_errors");
    let (_, text) = TINY_METHODS.into_iter().find(|(key, _)| *key == "patchnr").unwrap();
    let text = text.replace("{ mean = 0.01 }", "{ squared_errors = { lambda = 1.0, observed = 10 } }");
    assert_eq!(refused("patchnr", &text), "weight.squared_errors");
}

#[test]
fn weights_of_total_variation_agree_in_both_conventions() {
    // 1/2 |A x - y|^2 + alpha TV = sigma^2 (nll + alpha / sigma^2 TV), so both settings are one objective.
    let (instrument, run) = (instrument("superresolution"), Run::new(Seed::new(1), Device::Cpu));
    let image = instrument.phantom(Role::Evaluation, Seed::new(2), 0).unwrap();
    let truth = instrument.truth("drawn", &image).unwrap();
    let problem = instrument.pose("slice", &instrument.observe(&truth, Seed::new(3)).unwrap(), None).unwrap();
    let estimate = |weight: &str| {
        let text = format!("weight = {weight}\niterations = 40\ntolerance = 1e-9");
        let tv = (MethodEntry::find("tv").unwrap().read)(Deserializer::parse(&text).unwrap()).unwrap();
        let material = TrainingData::none(instrument.as_ref());
        let Prepared::Ready(tv) = tv.prepare(&material, &run).unwrap() else { panic!("TV needs nothing") };
        tv.reconstruct(&problem, &run).unwrap().image
    };
    // The observation has 12 x 12 values, the noise 0.01.
    let half = estimate("{ half_squared_errors = 2e-3 }");
    let nll = estimate("{ likelihood = { lambda = 20.0, observed = 144 } }");
    let other = estimate("{ likelihood = { lambda = 10.0, observed = 144 } }");
    let apart = |a: &Tensor| (a - &half).abs().max().double_value(&[]);
    assert!(apart(&nll) < 1e-5 && apart(&other) > 1e-3, "{} {}", apart(&nll), apart(&other));
}

#[test]
fn constant_material_is_refused_before_anything_is_learned() {
    for method in METHODS {
        let (_, text) = TINY_METHODS.into_iter().find(|(known, _)| *known == method.key).unwrap();
        let settings = (method.read)(Deserializer::parse(text).unwrap()).unwrap();
        let instrument = instrument("superresolution");
        if (method.applies)(instrument.as_ref()).is_err() {
            continue;
        }
        let flat = Tensor::full([1, 1, 96, 96], 0.1, (tch::Kind::Float, Device::Cpu));
        let rounded = &flat + Tensor::rand([1, 1, 96, 96], (tch::Kind::Float, Device::Cpu)) * 1e-8;
        for (references, problem) in [
            (vec![flat.shallow_clone()], "image to learn from: expected values that vary"),
            (vec![rounded, flat.shallow_clone()], "image to learn from: expected values that vary"),
            (vec![flat / 0.0], "image to learn from, number 1: expected finite values"),
        ] {
            let material =
                TrainingData { references, grey_step: 0.01, ..TrainingData::none(instrument.as_ref()) };
            let prepared = settings.prepare(&material, &Run::new(Seed::new(1), Device::Cpu));
            if method.learns == smalti_methods::Learns::Nothing {
                assert!(prepared.is_ok(), "{}", method.key);
                continue;
            }
            let line = prepared.err().unwrap_or_else(|| panic!("{} learned", method.key)).to_string();
            assert!(line.contains(problem) && line.lines().count() == 1, "{}: {line}", method.key);
        }
    }
}

#[test]
fn one_constant_image_among_others_is_no_failure() {
    let instrument = instrument("superresolution");
    let flat = Tensor::zeros([1, 1, 32, 32], (tch::Kind::Float, Device::Cpu));
    let drawn = instrument.phantom(Role::Reference, Seed::new(2), 1).unwrap();
    let of = |references| TrainingData { references, ..TrainingData::none(instrument.as_ref()) }.check();
    assert!(of(vec![flat.shallow_clone(), drawn]).is_ok());
    assert!(of(vec![flat.shallow_clone(), flat]).is_err());
    assert!(of(vec![]).is_ok());
}
