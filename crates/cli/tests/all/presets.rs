//! Every method can be asked for on every problem that it makes sense for, in every budget, without a setting of its own.
#![allow(clippy::unwrap_used, clippy::panic)]

use crate::folder::{drawn, folder, run, text};
use smalti_base::{Seed, image_file, npy_file};
use smalti_methods::{METHODS, PROBLEMS};

/// What a problem cannot know by itself.
const PROBLEM: [(&str, &str); 5] = [
    ("superresolution", "obs.tif -r ref.png --factor 4"),
    ("deblurring", "ref.png -r ref.png --blur 1.5"),
    ("inpainting", "ref.png -r ref.png --set hole={top=40,left=40,height=12,width=12}"),
    (
        "tomography",
        "sinogram.npy -r slice.png --set scan.size=160 --set scan.extent=0.26 --set noise.photons=4096 --set noise.mu_max=81.4",
    ),
    ("volume", "volume.npy -r volume.npy --factor 2"),
];

#[test]
fn every_preset_can_be_planned_on_every_problem() {
    let root = folder();
    let at = |name: &str| root.path().join(name);
    image_file::save_tiff16(&at("obs.tif"), &drawn(40, 1)).unwrap();
    image_file::save_png8(&at("ref.png"), &drawn(180, 2)).unwrap();
    image_file::save_png8(&at("slice.png"), &drawn(160, 3)).unwrap();
    npy_file::save(&at("sinogram.npy"), &Seed::new(1).at("v", 0).uniform(&[24, 180])).unwrap();
    npy_file::save(&at("volume.npy"), &Seed::new(1).at("v", 0).uniform(&[32, 32, 32])).unwrap();
    std::fs::create_dir(at("weights")).unwrap();
    for weights in ["FFDNet_gray.mat", "CRR.pth", "WCRR.pth"] {
        std::fs::write(at("weights").join(weights), "stands for it").unwrap();
    }
    let mut planned = 0;
    for problem in PROBLEMS {
        let (_, words) = PROBLEM.iter().find(|(name, _)| *name == problem.name).unwrap();
        for method in METHODS {
            for budget in ["seconds", "best"] {
                let line = format!(
                    "reconstruct {words} --problem {} --method {} --budget {budget} --dry-run -o out.npy --json --device cpu",
                    problem.name, method.key
                );
                let output = run(root.path(), &line.split_whitespace().collect::<Vec<_>>());
                let err = text(&output.stderr);
                match output.status.code() {
                    Some(0) => planned += 1,
                    // Either it makes no sense, with the reason, or nobody can choose its settings.
                    Some(2) => assert!(
                        err.contains(&format!("{} on {}: ", method.key, problem.name))
                            || ["fbp_unet", "acnn", "alr"].contains(&method.key),
                        "{line}: {err}"
                    ),
                    code => panic!("{line}: {code:?}: {err}"),
                }
            }
        }
    }
    // All that the matrix of methods and problems has, but what needs many images or a critic.
    assert!(planned >= 100, "{planned}");
    assert!(!at("out.npy").exists());
}
