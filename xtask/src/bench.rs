//! `cargo xtask bench` and `cargo xtask bench-peers`: our speed, and that of other packages beside it.

use crate::{
    child,
    failure::{Failure, Result},
    libtorch::{Libtorch, VERSION},
    pip,
    setup::setup,
};
use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

/// The peers and what they import; torch itself comes with libtorch, so those that need it may not bring another.
const PEERS: [&str; 12] = [
    "numpy",
    "scipy",
    "scikit-image",
    "pybind11",
    "POT==0.9.7.post1",
    // There is no other wheel of it; elsewhere it is left out.
    "astra-toolbox==2.5.0; platform_machine == 'x86_64'",
    "matplotlib",
    "tqdm",
    "einops",
    "requests",
    "h5py",
    "natsort",
];
const PEERS_ALONE: [&str; 7] = [
    "FrEIA==0.2",
    "keopscore==2.3",
    "pykeops==2.3",
    "deepinv==0.5.0",
    "torchvision==0.26.0",
    "torchmetrics==1.9.0",
    "lightning-utilities==0.15.3",
];

/// Sets up, then becomes `cargo bench` of our benchmarks with these arguments.
pub(crate) fn bench(root: &Path, arguments: &[OsString]) -> Result {
    let mut cargo = setup(root)?.cargo(root, &["bench", "--package", "smalti-bench"])?;
    cargo.args(arguments);
    Err(child::replace(cargo))
}

/// Sets up libtorch and the peers' Python packages, then becomes `bench-peers`.
pub(crate) fn bench_peers(root: &Path, only: &[String], data: Option<&Path>) -> Result {
    let only = only.iter().flat_map(|name| ["--only".into(), name.into()]);
    let data = data.into_iter().flat_map(|folder| ["--data".into(), folder.into()]);
    beside_peers(root, "bench-peers", &only.chain(data).collect::<Vec<OsString>>())
}

/// The same for `bench-training`.
pub(crate) fn bench_training(root: &Path, arguments: &[OsString]) -> Result {
    beside_peers(root, "bench-training", arguments)
}

fn beside_peers(root: &Path, program: &str, arguments: &[OsString]) -> Result {
    let libtorch = setup(root)?;
    let path = python_path(root, &libtorch)?;
    peers(root, libtorch.has_python())?;
    let run = ["run", "--release", "--package", "smalti-bench", "--bin", program, "--"];
    let mut cargo = libtorch.cargo(root, &run)?;
    cargo.args(arguments).env("PYTHONPATH", path);
    Err(child::replace(cargo))
}

fn folder(root: &Path) -> PathBuf {
    root.join(".peers")
}

/// Where Python finds the peers and torch: that of libtorch where it has one, else the peers' own.
fn python_path(root: &Path, libtorch: &Libtorch) -> Result<OsString> {
    let peers = folder(root);
    std::env::join_paths(std::iter::once(peers.as_path()).chain(libtorch.python_path()))
        .map_err(|_| Failure::new(format!("{} has a colon in its name; move the folder", root.display())))
}

/// Installs the peers into `.peers` unless they are there, with torch where there is none; a note inside says what was installed
/// whole.
fn peers(root: &Path, has_torch: bool) -> Result {
    let (whole, part) = (folder(root), root.join(".peers-part"));
    let torch = format!("torch=={VERSION}");
    let with_torch: Vec<&str> = PEERS.into_iter().chain((!has_torch).then_some(torch.as_str())).collect();
    let note = with_torch.iter().chain(&PEERS_ALONE).map(|line| format!("{line}\n")).collect::<String>();
    if fs::read_to_string(whole.join("requirements.txt")).is_ok_and(|there| there == note) {
        return Ok(());
    }
    pip::check()?;
    pip::remove(&part)?;
    eprintln!("Installing the peers ({}) into .peers", note.trim().replace('\n', ", "));
    let scratch = root.join(".peers-scratch");
    let installed = pip::install(&part, &scratch, &with_torch, &[])
        .and_then(|()| pip::install(&part, &scratch, &PEERS_ALONE, &["--no-deps"]));
    if let Err(failure) = installed {
        pip::remove(&part)?;
        return Err(failure);
    }
    let file = part.join("requirements.txt");
    fs::write(&file, note).map_err(|e| Failure::file(&file, "writing", &e))?;
    pip::remove(&whole)?;
    fs::rename(&part, &whole).map_err(|e| Failure::file(&part, "renaming to .peers", &e))
}
