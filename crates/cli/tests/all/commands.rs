//! Each command does what it says, at a tiny size.
#![allow(clippy::unwrap_used, clippy::panic)]

use crate::folder::{TINY, answer, command, done, drawn, folder, run, text};
use smalti_base::image_file::{load_stored, save_png8, save_png16, save_tiff_f32};
use smalti_base::{ValueRange, image_file, npy_file};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

const BASE: [&str; 7] = ["reconstruct", "obs.tif", "-r", "ref.png", "--factor", "2", "--noise=0.01"];

fn tiny(more: &[&'static str]) -> Vec<&'static str> {
    [&BASE[..], &TINY, more].concat()
}

#[test]
fn a_measured_image_becomes_a_finer_one_in_its_own_units() {
    let root = folder();
    let told = answer(root.path(), &tiny(&["-o", "out.tif", "--report", "out.html"]));
    assert_eq!(told["done"], true);
    assert_eq!(told["results"][0]["size"], serde_json::json!([48, 48]));
    assert_eq!(told["plan"]["observations"][0]["values"], "uint16");
    let out = load_stored(&root.path().join("out.tif")).unwrap();
    assert_eq!((out.stored.kind, out.image.size()), ("uint16", vec![1, 1, 48, 48]));
    let scored = answer(root.path(), &["evaluate", "out.tif", "truth.tif", "--crop", "4"]);
    assert!(scored["psnr"].as_f64().unwrap() > 18.0 && scored["shift"].is_null(), "{scored}");
    let page = std::fs::read_to_string(root.path().join("out.html")).unwrap();
    assert!(page.contains("data:image/png;base64,") && page.contains("patchnr.flow.hidden = 8"));
    assert!(!page.contains("{{") && !page.contains("src=\"http"));
    // Nothing of the work is left, and nothing is overwritten by chance.
    let hidden = |e: &std::fs::DirEntry| e.file_name().to_string_lossy().starts_with('.');
    assert!(!std::fs::read_dir(root.path()).unwrap().any(|e| hidden(&e.unwrap())));
    let again = run(root.path(), &tiny(&["-o", "out.tif"]));
    assert_eq!(again.status.code(), Some(1));
    assert!(text(&again.stderr).contains("--force"));
    done(root.path(), &tiny(&["-o", "out.tif", "--force", "-q"]));
}

#[test]
fn results_have_the_pixel_grid_of_what_was_observed() {
    let root = folder();
    save_png16(&root.path().join("truth.png"), &drawn(96, 5)).unwrap();
    for (factor, blur) in [("4", "2"), ("3", "1.5"), ("2", "1")] {
        done(
            root.path(),
            &[
                "simulate",
                "truth.png",
                "--factor",
                factor,
                "--blur",
                blur,
                "--noise",
                "0",
                "-o",
                "seen.png",
                "--force",
            ],
        );
        let simple = [
            "reconstruct",
            "seen.png",
            "--method",
            "bicubic",
            "--noise",
            "0",
            "--factor",
            factor,
            "--blur",
            blur,
        ];
        done(root.path(), &[&simple[..], &["-o", "fine.png", "--force"]].concat());
        let scored = answer(root.path(), &["evaluate", "fine.png", "truth.png", "--crop", "8"]);
        assert!(scored["shift"].is_null(), "{factor}: {scored}");
    }
}

#[test]
fn a_plan_writes_nothing_and_says_what_would_be_done() {
    let root = folder();
    let text = done(
        root.path(),
        &["reconstruct", "obs.tif", "-r", "ref.png", "--factor", "2", "-o", "new/out.tif", "--dry-run"],
    );
    for part in [
        "obs.tif: 24 x 24 pixels, uint16",
        "ref.png: 64 x 64 pixels, uint8",
        "uint16: 0 is 0, 65535 is 1 (the type)",
        "estimated from the observation",
        "patchNR (patchnr), budget minutes",
        "48 x 48 pixels; observed pixel (i, j) lies at (0.5 + 2 i, 0.5 + 2 j) of it",
        "16-bit TIFF, in the units of the observation",
        "patchnr.descent.iterations = 200",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!root.path().join("new").exists());
}

#[test]
fn several_observations_learn_once() {
    let root = folder();
    let told = answer(
        root.path(),
        &[&["reconstruct", "scans", "-r", "ref.png", "--factor", "2", "-o", "out"], &TINY[..]].concat(),
    );
    let outputs: Vec<&str> =
        told["results"].as_array().unwrap().iter().map(|r| r["output"].as_str().unwrap()).collect();
    assert_eq!(outputs, ["out/a1.tif", "out/a2.tif", "out/a10.tif"]);
    let learned = |k: usize| told["results"][k]["learned"].clone();
    assert!(learned(0) == learned(2) && learned(0).as_str().unwrap().starts_with("trained once"));
}

#[test]
fn what_was_learned_is_taken_from_its_folder() {
    let root = folder();
    let train = [&["train", "-r", "ref.png", "--state", "learned", "-v"], &TINY[..]].concat();
    let output = run(root.path(), &train);
    assert!(
        output.status.success() && text(&output.stderr).contains("training patchNR"),
        "{}",
        text(&output.stderr)
    );
    assert!(root.path().join("learned/patchnr.safetensors").is_file());
    let output = run(root.path(), &tiny(&["-o", "out.tif", "--state", "learned", "-v"]));
    let said = text(&output.stderr);
    assert!(output.status.success() && !said.contains("training patchNR"), "{said}");
    // Another seed is another training.
    let output = run(root.path(), &tiny(&["-o", "b.tif", "--state", "learned", "-v", "--seed", "2"]));
    assert!(text(&output.stderr).contains("training patchNR"));
    assert!(done(root.path(), &["inspect", "learned/patchnr.safetensors"]).contains("checkpoint of Smalti"));
}

#[test]
fn an_interrupted_command_goes_on_where_it_was() {
    let root = folder();
    let long =
        [&BASE[..], &TINY, &["--set", "patchnr.flow.training.steps=200000", "-o", "out.tif", "-v"]].concat();
    let mut child = command(root.path(), &long).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    while !lines.next().unwrap().unwrap().contains("training patchNR") {}
    Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    let rest: Vec<String> = lines.map(Result::unwrap).collect();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{rest:?}");
    let last = rest.last().unwrap();
    assert!(last.starts_with("error: stopped on request") && last.contains(".out.tif.smalti"), "{last}");
    assert!(!root.path().join("out.tif").exists() && root.path().join(".out.tif.smalti/state").is_dir());
}

#[test]
fn units_are_those_that_were_asked_for_and_those_of_12_bits_are_noticed() {
    let root = folder();
    let dark = drawn(48, 3) * (4095.0 / 65535.0);
    image_file::save_tiff16(&root.path().join("dark.tif"), &dark).unwrap();
    let plan = |more: &[&str]| {
        let base = ["reconstruct", "dark.tif", "--factor", "2", "--method", "tv", "-o", "x.tif", "--dry-run"];
        run(root.path(), &[&base[..], more].concat())
    };
    let auto = plan(&[]);
    assert!(text(&auto.stderr).contains("12 bits in 16") && text(&auto.stderr).contains("--range type"));
    assert!(text(&auto.stdout).contains("uint16: 0 is 0, 4095 is 1"));
    assert!(text(&plan(&["--range", "type"]).stdout).contains("65535 is 1"));
    assert!(text(&plan(&["--range", "100,3000"]).stdout).contains("uint16: 100 is 0, 3000 is 1 (--range)"));
    // Written back in the same units, whatever was taken.
    for range in ["auto", "type", "100,3000"] {
        done(
            root.path(),
            &[
                "reconstruct",
                "dark.tif",
                "--factor",
                "1",
                "--blur",
                "0.05",
                "--noise",
                "0",
                "--method",
                "bicubic",
                "--range",
                range,
                "-o",
                "same.tif",
                "--force",
            ],
        );
        let same = image_file::load_gray_in(&root.path().join("same.tif"), ValueRange::ByType).unwrap();
        let apart = (same - &dark).abs().max().double_value(&[]) * 65535.0;
        assert!(apart < 1.5, "{range}: {apart}");
    }
    // Floats in other units than from 0 to 1 stay floats in them.
    save_tiff_f32(&root.path().join("float.tif"), &(drawn(48, 3) * 900.0 + 100.0)).unwrap();
    done(
        root.path(),
        &["reconstruct", "float.tif", "--factor", "2", "--method", "bicubic", "-o", "fine.tif"],
    );
    let fine = load_stored(&root.path().join("fine.tif")).unwrap();
    let mean = fine.image.mean(tch::Kind::Double).double_value(&[]);
    assert!(fine.stored.kind == "float" && mean > 200.0 && mean < 900.0, "{mean}");
}

#[test]
fn simulation_is_a_matter_of_the_seed() {
    let root = folder();
    let seen = |seed: &str, name: &str| {
        done(root.path(), &["simulate", "truth.tif", "--factor", "2", "--seed", seed, "-o", name, "-q"]);
        load_stored(&root.path().join(name)).unwrap().image
    };
    let (a, b, c) = (seen("1", "a.tif"), seen("1", "b.tif"), seen("2", "c.tif"));
    assert_eq!(a.size(), [1, 1, 24, 24]);
    assert!(a == b && a != c);
    let told = answer(
        root.path(),
        &["simulate", "truth.tif", "--problem", "deblurring", "--blur", "1", "-o", "d.tif"],
    );
    assert_eq!(told["size"], serde_json::json!([48, 48]));
    let scan = [
        "simulate",
        "truth.tif",
        "--problem",
        "tomography",
        "--set",
        "scan={extent=0.1,angles=20,detectors=40}",
    ];
    let scan = [&scan[..], &["--set", "noise={photons=1e6,mu_max=20}", "-o", "scan.npy"]].concat();
    assert_eq!(answer(root.path(), &scan)["size"], serde_json::json!([20, 40]));
    // And back, from the sinogram alone.
    let back = [
        "reconstruct",
        "scan.npy",
        "--problem",
        "tomography",
        "--method",
        "fbp",
        "--set",
        "scan={size=48,extent=0.1}",
    ];
    let back = [&back[..], &["--set", "noise={photons=1e6,mu_max=20}", "-o", "slice.npy"]].concat();
    assert_eq!(answer(root.path(), &back)["results"][0]["size"], serde_json::json!([48, 48]));
    let scored = answer(root.path(), &["evaluate", "slice.npy", "truth.tif", "--data-range", "truth"]);
    assert!(scored["psnr"].as_f64().unwrap() > 14.0, "{scored}");
}

#[test]
fn scores_are_those_of_the_library_and_shifts_are_told() {
    let root = folder();
    let (x, t) = (drawn(64, 1), drawn(64, 1) * 0.9);
    npy_file::save(&root.path().join("x.npy"), &x).unwrap();
    npy_file::save(&root.path().join("t.npy"), &t).unwrap();
    let told = answer(root.path(), &["evaluate", "x.npy", "t.npy", "--crop", "3"]);
    let inner = |t: &tch::Tensor| t.narrow(2, 3, 58).narrow(3, 3, 58);
    let expected = smalti_base::metrics::psnr(&inner(&x), &inner(&t), 1.0).unwrap();
    assert!((told["psnr"].as_f64().unwrap() - expected).abs() < 1e-6, "{told} {expected}");
    let double = answer(root.path(), &["evaluate", "x.npy", "t.npy", "--crop", "3", "--data-range", "2"]);
    assert!((double["psnr"].as_f64().unwrap() - expected - 20.0 * 2.0_f64.log10()).abs() < 1e-6);
    let scene = drawn(72, 4);
    save_png8(&root.path().join("here.png"), &scene.narrow(2, 2, 64).narrow(3, 4, 64)).unwrap();
    save_png8(&root.path().join("there.png"), &scene.narrow(2, 4, 64).narrow(3, 3, 64)).unwrap();
    let output = run(root.path(), &["evaluate", "there.png", "here.png"]);
    assert!(text(&output.stderr).contains("shifted by 2 rows and -1 columns"), "{}", text(&output.stderr));
    let same = answer(root.path(), &["evaluate", "here.png", "here.png"]);
    assert_eq!((same["psnr"].as_str(), same["ssim"].as_f64()), (Some("infinite"), Some(1.0)));
}

#[test]
fn samples_have_a_mean_and_a_spread() {
    let root = folder();
    save_png8(&root.path().join("hole.png"), &drawn(26, 2)).unwrap();
    let sample = [
        "sample",
        "hole.png",
        "-r",
        "ref.png",
        "--problem",
        "inpainting",
        "-o",
        "draws",
        "--draws",
        "3",
        "--noise",
        "0.02",
        "--set",
        "hole={top=9,left=9,height=8,width=8}",
        "--budget",
        "seconds",
        "--set",
        "langevin.flow={patch_size=3,blocks=1,hidden=8,clamp=1.6,training={steps=20,batch=16,learning_rate=1e-3,schedule=\"constant\",validation_every=10}}",
        "--set",
        "langevin.chains={method=\"mala\",count=2,spread=0.01,step_size=1e-6,pilots=[20],burn_in=4,draws=6,thin=1,keep=4}",
        "--set",
        "langevin.mode.iterations=5",
    ];
    let told = answer(root.path(), &sample);
    assert_eq!(told["results"][0]["draws"], 8);
    for name in ["mean.png", "std.tif", "draw-01.png", "draw-03.png"] {
        assert_eq!(
            load_stored(&root.path().join("draws").join(name)).unwrap().image.size(),
            [1, 1, 26, 26],
            "{name}"
        );
    }
    assert!(!root.path().join("draws/draw-04.png").exists());
}

#[test]
fn files_are_told_for_what_they_are() {
    let root = folder();
    let told = answer(root.path(), &["inspect", "obs.tif"]);
    assert_eq!((told["image"]["values"].as_str(), told["bits_used"].is_null()), (Some("uint16"), true));
    assert!(done(root.path(), &["inspect", "volume.npy"]).contains("8 x 16 x 16 pixels, float"));
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/../base/tests/golden");
    let network = format!("{golden}/matlab/tiny_ffdnet.mat");
    assert!(done(root.path(), &["inspect", &network]).contains("HDF5"));
}

#[test]
fn methods_shells_and_manuals() {
    let root = folder();
    let all = answer(root.path(), &["methods"]);
    assert_eq!(all["methods"].as_array().unwrap().len(), smalti_methods::METHODS.len());
    let text = done(root.path(), &["methods", "wppnet"]);
    assert!(text.contains("not inpainting: ") && text.contains("SIAM Journal"), "{text}");
    for shell in ["bash", "zsh", "fish"] {
        assert!(done(root.path(), &["completions", shell]).contains("reconstruct"));
    }
    done(root.path(), &["man", "pages"]);
    let page = std::fs::read_to_string(root.path().join("pages/smalti-reconstruct.1")).unwrap();
    assert!(page.contains("from\\-observation") || page.contains("from-observation"), "{page}");
    assert!(root.path().join("pages/smalti.1").is_file());
    // Every command has an example in its help.
    let command = smalti_cli::command();
    for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
        let help = sub.get_after_help().map(ToString::to_string).unwrap_or_default();
        assert!(help.contains(&format!("smalti {}", sub.get_name())), "{}", sub.get_name());
    }
}

#[test]
fn a_closed_pipe_is_no_failure() {
    let root = folder();
    for arguments in
        [&["methods"][..], &["completions", "bash"], &["evaluate", "truth.tif", "truth.tif", "--json"]]
    {
        let mut child =
            command(root.path(), arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert!(
            output.status.success() && !text(&output.stderr).contains("panicked"),
            "{}",
            text(&output.stderr)
        );
    }
}

#[test]
fn one_image_of_the_paper_is_reconstructed_from_16_bits() {
    let Some(data) = smalti_testkit::data::measured(&["sic/test.png", "sic/ref.png"]) else { return };
    let root = folder();
    let at = |name: &str| data.join(name).to_string_lossy().into_owned();
    let (truth, reference) = (at("sic/test.png"), at("sic/ref.png"));
    done(root.path(), &["simulate", &truth, "--factor", "4", "--depth", "16", "-o", "seen.tif"]);
    let fast = [
        "reconstruct",
        "seen.tif",
        "-r",
        &reference,
        "--factor",
        "4",
        "--budget",
        "seconds",
        "-o",
        "fine.tif",
    ];
    let told = answer(root.path(), &fast);
    // The noise of 0.01 is found.
    let noise = told["plan"]["noise"].as_str().unwrap();
    let found: f64 =
        noise.split("standard deviation ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    assert!((found - 0.01).abs() < 0.002, "{noise}");
    let scored = answer(root.path(), &["evaluate", "fine.tif", &truth, "--crop", "40"]);
    assert!(scored["psnr"].as_f64().unwrap() > 26.5, "{scored}");
}
