//! `cargo xtask fetch-data`: fills `data/` from the pinned public sources or from a local mirror.

use crate::{
    child,
    failure::{Failure, Result},
    manifest::{Entry, Manifest, check_address, sha256},
};
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// What to say where a file cannot be had.
const INSTEAD: &str =
    "use --from DIR with a local mirror, or work without data: the built-in synthetic set is used then";

/// What `fetch-data` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Copy from this local mirror, laid out as `data/` is, instead of downloading
    #[arg(long, value_name = "DIR")]
    from: Option<PathBuf>,
    /// Take only files whose name starts so, e.g. `sic/` (repeatable)
    #[arg(long, value_name = "PREFIX")]
    only: Vec<String>,
    /// Download by this address instead of the manifest's: with {repository}, {commit}, {path} or {name}
    #[arg(long, value_name = "TEMPLATE", conflicts_with = "from")]
    address: Option<String>,
}

/// Fetches what is missing or corrupt; every file is verified before it gets its name.
pub(crate) fn fetch_data(root: &Path, options: &Options) -> Result {
    let manifest = Manifest::read(root)?;
    let template = options.address.as_ref().unwrap_or(&manifest.address);
    check_address(template).map_err(Failure::usage)?;
    let chosen = choose(&manifest, &options.only)?;
    let data = root.join("data");
    let mut fetched = 0;
    for (n, entry) in (1..).zip(&chosen) {
        let target = data.join(&entry.name);
        if verified(entry, &target)? {
            continue;
        }
        eprintln!("[{n}/{}] {} ({} kB)", chosen.len(), entry.name, entry.bytes.div_ceil(1000));
        match &options.from {
            Some(mirror) => fetch(entry, &target, |part| copy(&mirror.join(&entry.name), part))?,
            None => fetch(entry, &target, |part| download(&entry.address(template), part))?,
        }
        fetched += 1;
    }
    eprintln!("{}: {} files verified, {fetched} of them fetched now", data.display(), chosen.len());
    Ok(())
}

fn choose<'a>(manifest: &'a Manifest, only: &[String]) -> Result<Vec<&'a Entry>> {
    let names_any = |prefix: &String| manifest.files.iter().any(|entry| entry.name.starts_with(prefix));
    if let Some(prefix) = only.iter().find(|prefix| !names_any(prefix)) {
        let mut folders: Vec<&str> =
            manifest.files.iter().filter_map(|entry| Some(entry.name.split_once('/')?.0)).collect();
        folders.dedup();
        let folders = folders.join(", ");
        return Err(Failure::usage(format!(
            "no file of the manifest starts with '{prefix}'; there are {folders}"
        )));
    }
    let wanted = |entry: &&Entry| only.is_empty() || only.iter().any(|prefix| entry.name.starts_with(prefix));
    Ok(manifest.files.iter().filter(wanted).collect())
}

/// Whether `path` is the file of the manifest.
fn verified(entry: &Entry, path: &Path) -> Result<bool> {
    let size = fs::metadata(path).ok().filter(fs::Metadata::is_file).map(|meta| meta.len());
    Ok(size == Some(entry.bytes) && sha256(path)? == entry.sha256)
}

/// Brings one file to `target` by way of `target.part`, which `bring` continues where it left off.
fn fetch(entry: &Entry, target: &Path, bring: impl Fn(&Path) -> Result) -> Result {
    let part = PathBuf::from(format!("{}.part", target.display()));
    if let Some(folder) = target.parent() {
        fs::create_dir_all(folder).map_err(|e| Failure::file(folder, "making the folder", &e))?;
    }
    // A part from an earlier attempt may be of another file: then the second round starts from nothing.
    let resumed = part.exists();
    for round in 0..=u8::from(resumed) {
        if round > 0 || fs::metadata(&part).is_ok_and(|meta| meta.len() > entry.bytes) {
            fs::remove_file(&part).map_err(|e| Failure::file(&part, "removing", &e))?;
        }
        if !verified(entry, &part)? {
            bring(&part)?;
        }
        if verified(entry, &part)? {
            File::open(&part)
                .and_then(|file| file.sync_all())
                .map_err(|e| Failure::file(&part, "writing", &e))?;
            return fs::rename(&part, target).map_err(|e| Failure::file(target, "renaming", &e));
        }
    }
    let (size, hash) = (fs::metadata(&part).map_or(0, |meta| meta.len()), sha256(&part)?);
    fs::remove_file(&part).map_err(|e| Failure::file(&part, "removing", &e))?;
    Err(Failure::new(format!(
        "{}: expected {} bytes with SHA-256 {}, got {size} bytes with {hash}; the source is not the pinned file: {INSTEAD}",
        entry.name, entry.bytes, entry.sha256
    )))
}

fn copy(source: &Path, part: &Path) -> Result {
    if !source.is_file() {
        return Err(Failure::new(format!(
            "{} is not there; let --from name a mirror laid out as the manifest says, or choose with --only",
            source.display()
        )));
    }
    fs::copy(source, part).map(drop).map_err(|e| Failure::file(source, "copying", &e))
}

/// Downloads with curl, which continues at the end of `part`.
fn download(address: &str, part: &Path) -> Result {
    let mut curl = Command::new("curl");
    curl.args(["--fail", "--location", "--globoff", "--silent", "--show-error", "--retry", "3"]);
    curl.args(["--connect-timeout", "20", "--speed-limit", "100", "--speed-time", "60"]);
    curl.args(["--continue-at", "-", "--output"]).arg(part).arg("--").arg(address).stdin(Stdio::null());
    let (status, heard) = child::run_listening(&mut curl, false).map_err(|failure| match failure.code {
        1 => Failure::new(format!("{failure}, or {INSTEAD}")),
        _ => failure,
    })?;
    let what = match status.code() {
        Some(0) => return Ok(()),
        // A source that cannot continue, or a part that is not of this file: the checksum decides.
        Some(33 | 36) if part.exists() => return Ok(()),
        Some(5..=7 | 28 | 35 | 52 | 56) => "the network is not there or does not answer",
        Some(22) => "the server has no such file",
        Some(37) => "there is no such file",
        Some(23) => "writing failed, is the disk full?",
        _ => "curl failed",
    };
    let said = child::last_line(&heard);
    Err(Failure::new(format!(
        "{address}: {what} ({said}); finished files are kept, try again later, {INSTEAD}"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::tests::checkout_with;

    const FILES: [(&str, &[u8]); 3] =
        [("sic/a.png", b"first file"), ("sic/b.png", b"second"), ("ct/c.png", b"third")];

    fn options(from: Option<&Path>, only: &[&str]) -> Options {
        let only = only.iter().map(ToString::to_string).collect();
        Options { from: from.map(Path::to_owned), only, address: None }
    }

    fn mirror() -> tempfile::TempDir {
        let mirror = tempfile::tempdir().unwrap();
        for (name, bytes) in FILES {
            let path = mirror.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        mirror
    }

    fn read(root: &tempfile::TempDir, name: &str) -> Option<Vec<u8>> {
        fs::read(root.path().join("data").join(name)).ok()
    }

    #[test]
    fn a_mirror_is_copied_and_verified() {
        let (root, mirror) = (checkout_with(&FILES), mirror());
        fetch_data(root.path(), &options(Some(mirror.path()), &[])).unwrap();
        for (name, bytes) in FILES {
            assert_eq!(read(&root, name).as_deref(), Some(bytes));
            assert!(read(&root, &format!("{name}.part")).is_none());
        }
        // What is there and right is not asked for again.
        drop(mirror);
        fetch_data(root.path(), &options(Some(Path::new("gone")), &[])).unwrap();
    }

    #[test]
    fn only_what_is_chosen_is_fetched() {
        let (root, mirror) = (checkout_with(&FILES), mirror());
        fetch_data(root.path(), &options(Some(mirror.path()), &["ct/"])).unwrap();
        assert!(read(&root, "ct/c.png").is_some() && read(&root, "sic/a.png").is_none());
        let failure = fetch_data(root.path(), &options(None, &["mri/"])).unwrap_err();
        assert_eq!((failure.code, failure.to_string().contains("there are sic, ct")), (2, true), "{failure}");
    }

    #[test]
    fn a_corrupt_file_is_fetched_again() {
        let (root, mirror) = (checkout_with(&FILES), mirror());
        let path = root.path().join("data/sic/a.png");
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, b"first fiLe").unwrap();
        fetch_data(root.path(), &options(Some(mirror.path()), &["sic/a"])).unwrap();
        assert_eq!(read(&root, "sic/a.png").unwrap(), b"first file");
    }

    #[test]
    fn a_wrong_source_leaves_nothing_behind() {
        let (root, mirror) = (checkout_with(&FILES), mirror());
        fs::write(mirror.path().join("sic/b.png"), b"sEcond").unwrap();
        let failure = fetch_data(root.path(), &options(Some(mirror.path()), &["sic/b"])).unwrap_err();
        assert_eq!(failure.code, 1);
        assert!(failure.to_string().starts_with("sic/b.png: expected 6 bytes with SHA-256 "), "{failure}");
        assert!(read(&root, "sic/b.png").is_none() && read(&root, "sic/b.png.part").is_none());
    }

    #[test]
    fn a_file_that_the_mirror_lacks_is_named() {
        let (root, mirror) = (checkout_with(&FILES), mirror());
        fs::remove_file(mirror.path().join("ct/c.png")).unwrap();
        let failure = fetch_data(root.path(), &options(Some(mirror.path()), &[])).unwrap_err();
        assert!(failure.to_string().contains("ct/c.png is not there"), "{failure}");
        assert!(read(&root, "sic/b.png").is_some(), "what came before stays");
    }

    /// Runs `fetch` over a part from an earlier attempt; gives back what each call of the source found there.
    fn resume(part: &[u8]) -> Vec<Vec<u8>> {
        let root = checkout_with(&FILES);
        let manifest = Manifest::read(root.path()).unwrap();
        let target = root.path().join("data/sic/a.png");
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::write(root.path().join("data/sic/a.png.part"), part).unwrap();
        let found = std::cell::RefCell::new(Vec::new());
        fetch(&manifest.files[0], &target, |part| {
            let old = fs::read(part).unwrap_or_default();
            let rest = &FILES[0].1[old.len()..];
            fs::write(part, [&old, rest].concat()).unwrap();
            found.borrow_mut().push(old);
            Ok(())
        })
        .unwrap();
        assert_eq!(fs::read(&target).unwrap(), FILES[0].1);
        found.into_inner()
    }

    #[test]
    fn a_part_is_continued() {
        assert_eq!(resume(b"first"), [b"first"]);
    }

    #[test]
    fn a_whole_part_needs_no_source() {
        assert_eq!(resume(b"first file"), [b""; 0]);
    }

    #[test]
    fn a_part_of_something_else_is_begun_anew() {
        assert_eq!(resume(b"FIRST"), [b"FIRST".to_vec(), b"".to_vec()]);
        assert_eq!(resume(b"far longer than the file"), [b""]);
    }

    #[test]
    fn curl_downloads_continues_and_fails_with_the_remedy() {
        if Command::new("curl").arg("--version").output().is_err() {
            eprintln!("skipped: no curl here");
            return;
        }
        let (root, mirror) = (checkout_with(&FILES), mirror());
        let address = Some(format!("file://{}/{{name}}", mirror.path().display()));
        let part = root.path().join("data/sic/a.png.part");
        fs::create_dir_all(part.parent().unwrap()).unwrap();
        fs::write(&part, b"first").unwrap();
        fetch_data(root.path(), &Options { address: address.clone(), ..options(None, &[]) }).unwrap();
        assert_eq!(read(&root, "sic/a.png").unwrap(), b"first file");
        assert_eq!(read(&root, "ct/c.png").unwrap(), b"third");

        fs::remove_file(root.path().join("data/ct/c.png")).unwrap();
        drop(mirror);
        let failure = fetch_data(root.path(), &Options { address, ..options(None, &[]) }).unwrap_err();
        assert_eq!(failure.code, 1);
        assert!(failure.to_string().contains("there is no such file"), "{failure}");
        assert!(failure.to_string().contains("--from DIR") && failure.to_string().contains("synthetic"));
    }
}
