//! Everything that can be wrong is one clear line with the remedy and an exit code, before any work. The table of them is a part of
//! the documentation: with `SMALTI_BLESS=1` this test writes it.
#![allow(clippy::unwrap_used, clippy::panic)]

use crate::folder::{folder, run, text};

/// Commands of the folder that cannot be done.
const WRONG: &[&str] = &[
    // Files.
    "reconstruct none.tif -r ref.png --factor 2 -o out.tif",
    "reconstruct text.txt -r ref.png --factor 2 -o out.tif",
    "reconstruct nothing.png -r ref.png --factor 2 -o out.tif",
    "reconstruct nan.tif -r ref.png --factor 2 -o out.tif",
    "reconstruct empty -r ref.png --factor 2 -o out",
    "reconstruct obs.tif -r none.png --factor 2 -o out.tif",
    "reconstruct obs.tif -r small.png --factor 2 -o out.tif",
    "reconstruct obs.tif -r flat.png --factor 2 -o out.tif",
    "reconstruct tiny.png -r ref.png --factor 2 -o out.png",
    "reconstruct volume.npy -r ref.png --factor 2 -o out.npy",
    "reconstruct obs.tif -r ref.png --problem volume --factor 2 -o out.npy",
    "reconstruct obs.tif -r ref.png --problem tomography -o out.npy",
    // Outputs.
    "reconstruct obs.tif -r ref.png --factor 2 -o taken.tif",
    "reconstruct obs.tif -r ref.png --factor 2 -o scans/a1.tif",
    "reconstruct obs.tif -r ref.png --factor 2 -o taken.tif/out.tif",
    "reconstruct obs.tif -r ref.png --factor 2 -o out.jpg",
    "reconstruct obs.tif -r ref.png --factor 2 -o out",
    "reconstruct obs.tif -r ref.png --factor 2 -o out.png --depth float",
    "reconstruct scans -r ref.png --factor 2 -o out.tif",
    // The problem.
    "reconstruct obs.tif -r ref.png -o out.tif",
    "reconstruct obs.tif -r ref.png --factor 40 -o out.tif",
    "reconstruct obs.tif -r ref.png --factor 2 --noise=-1 -o out.tif",
    "reconstruct obs.tif -r ref.png --factor 2 --set strid=2 -o out.tif",
    "reconstruct obs.tif -r ref.png --factor 2 --set form=sideways -o out.tif",
    "reconstruct obs.tif -r ref.png --factor 2 --set stride -o out.tif",
    "reconstruct obs.tif -r ref.png --factor 2 --range 5,1 -o out.tif",
    "reconstruct obs.tif -r ref.png --problem deblurring -o out.tif",
    "reconstruct obs.tif -r ref.png --problem inpainting -o out.tif",
    "reconstruct obs.tif -r ref.png --problem inpainting --set hole={top=20,left=2,height=9,width=9} -o out.tif",
    "reconstruct sinogram.npy -r ref.png --problem tomography -o out.npy",
    "reconstruct obs.tif -r ref.png --config key.toml -o out.tif",
    "reconstruct obs.tif -r ref.png --config range.toml -o out.tif",
    "reconstruct obs.tif -r ref.png --config syntax.toml -o out.tif",
    "reconstruct obs.tif -r ref.png --config section.toml -o out.tif",
    "reconstruct obs.tif -r ref.png --config none.toml -o out.tif",
    // The method.
    "reconstruct obs.tif --factor 2 -o out.tif",
    "reconstruct obs.tif -r ref.png --factor 2 --set patchnr.descent.iteration=3 -o out.tif",
    "reconstruct obs.tif -r ref.png --factor 2 --set patchnr.descent.iterations=0 -o out.tif",
    "reconstruct obs.tif -r ref.png --factor 2 --set tv.iterations=3 -o out.tif",
    "reconstruct obs.tif --factor 2 --method fbp -o out.tif",
    "reconstruct obs.tif --factor 2 --method dpir -o out.tif",
    "reconstruct obs.tif -r ref.png --problem deblurring --blur 1 --method wppnet -o out.tif",
    "reconstruct obs.tif -r ref.png --factor 2 --method fbp_unet -o out.tif",
    "reconstruct obs.tif -r ref.png --factor 2 --method best -o out.tif",
    "reconstruct obs.tif -r ref.png --factor 2 --device gpu -o out.tif",
    "reconstruct obs.tif -r ref.png --factor 2 --device cuda:99 -o out.tif",
    "reconstruct obs.tif",
    // The other commands.
    "train --state learned --method tv",
    "train --state learned --method one_image_net -r ref.png --factor 2",
    "sample obs.tif -r ref.png --factor 2 --method tv -o draws",
    "evaluate obs.tif truth.tif",
    "evaluate truth.tif truth.tif --crop 21",
    "evaluate none.tif truth.tif",
    "evaluate truth.tif truth.tif --data-range 0",
    "simulate truth.tif -o out.tif",
    "simulate truth.tif --factor 2 -o taken.tif",
    "simulate volume.npy --factor 2 -o out.npy",
    "simulate small.png --factor 4 -o out.png",
    "simulate truth.tif --problem tomography -o out.npy",
    "phantom out.gif",
    "phantom out.tif --kind volume",
    "inspect empty",
    "inspect none.png",
    "inspect text.txt",
    "methods best",
];

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/cli.md");
const MARKS: [&str; 2] = ["<!-- messages -->\n", "<!-- end of messages -->"];

#[test]
fn every_message_is_one_line_and_stands_in_the_documentation() {
    let root = folder();
    let mut table = String::from("\n| command | exit code | message |\n| --- | ---: | --- |\n");
    for line in WRONG {
        let before = names(root.path());
        let output = run(root.path(), &line.split_whitespace().collect::<Vec<_>>());
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert!(out.is_empty() && !err.contains("panicked"), "{line}: {out}{err}");
        let complaints: Vec<&str> = err.lines().filter(|line| line.starts_with("error: ")).collect();
        assert_eq!(complaints.len(), 1, "{line}: {err}");
        assert!(!err.contains("training") && !err.contains("libtorch: "), "{line}: {err}");
        assert_eq!(names(root.path()), before, "{line} leaves something behind");
        let message = complaints[0].trim_start_matches("error: ").replace('|', "\\|").replace('<', "&lt;");
        // What a machine answers, and how many devices it has, is its own.
        let message = match message.split_once("cuda:99: ") {
            Some((before, _)) => {
                format!("{before}cuda:99: what libtorch finds in its place; use cpu or auto")
            }
            None => message,
        };
        let code = output.status.code().unwrap();
        assert!([1, 2].contains(&code), "{line}: {code}");
        table += &format!("| `{line}` | {code} | {message} |\n");
    }
    assert_eq!(std::fs::read_to_string(root.path().join("taken.tif")).unwrap(), "mine");
    let document = std::fs::read_to_string(DOCUMENT).unwrap();
    let (before, rest) = document.split_once(MARKS[0]).unwrap();
    let (old, after) = rest.split_once(MARKS[1]).unwrap();
    let new = format!("{table}\n");
    if std::env::var_os("SMALTI_BLESS").is_some() {
        std::fs::write(DOCUMENT, format!("{before}{}{new}{}{after}", MARKS[0], MARKS[1])).unwrap();
        return;
    }
    for (old, new) in old.lines().zip(new.lines()) {
        assert_eq!(old, new, "docs/cli.md is not what the command says; SMALTI_BLESS=1 writes it");
    }
    assert_eq!(old.lines().count(), new.lines().count());
}

/// All that lies in a folder.
fn names(folder: &std::path::Path) -> Vec<std::ffi::OsString> {
    let mut names: Vec<_> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    names
}
