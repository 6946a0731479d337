//! Which libtorch is used, whether it is of the right version, and what children need to find it.

use crate::{
    child,
    failure::{Failure, Result},
};
use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The version that tch 0.24 is written for.
pub(crate) const VERSION: &str = "2.11.0";

/// Where the user wants libtorch from.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// The folder `.libtorch` of this checkout, filled by `cargo xtask setup`.
    Ours,
    /// The folder that the user's LIBTORCH names.
    Folder(PathBuf),
    /// The user's Python, because of LIBTORCH_USE_PYTORCH.
    Python,
}

impl Wanted {
    /// Reads the two variables; `LIBTORCH=<root>/.libtorch/torch` comes from `.cargo/config.toml` and means ours.
    pub(crate) fn from_variables(
        root: &Path,
        libtorch: Option<OsString>,
        use_pytorch: Option<OsString>,
    ) -> Self {
        match libtorch {
            _ if use_pytorch.is_some() => Self::Python,
            Some(folder) if Path::new(&folder) != ours(root) => Self::Folder(folder.into()),
            _ => Self::Ours,
        }
    }
}

/// The libtorch of this checkout.
pub(crate) fn ours(root: &Path) -> PathBuf {
    root.join(".libtorch/torch")
}

/// A libtorch of the right version.
#[derive(Debug)]
pub(crate) struct Libtorch {
    /// The folder with `lib` and `include`.
    folder: PathBuf,
    /// Who asked for it.
    wanted: Wanted,
}

impl Libtorch {
    /// Checks that the folder holds libtorch of the right version.
    pub(crate) fn checked(folder: PathBuf, wanted: Wanted) -> Result<Self> {
        let (name, remedy) = match &wanted {
            Wanted::Ours => ("the folder .libtorch", "delete it and run `cargo xtask setup`".to_owned()),
            Wanted::Folder(_) => (
                "the variable LIBTORCH",
                format!("let it name libtorch {VERSION}, or unset it and run `cargo xtask setup`"),
            ),
            Wanted::Python => (
                "the variable LIBTORCH_USE_PYTORCH",
                format!("install torch=={VERSION} in that Python, or unset it and run `cargo xtask setup`"),
            ),
        };
        let wrong = |what: String| Failure::new(format!("{name} gives {what}; {remedy}"));
        let place = folder.display();
        let version = version(&folder).ok_or_else(|| {
            wrong(format!("'{place}', where neither version.py nor build-version tells a version"))
        })?;
        if release(&version) != VERSION {
            return Err(wrong(format!("libtorch {version} in {place}, but {VERSION} is needed")));
        }
        let library = folder.join("lib/libtorch_cpu.so");
        if !library.is_file() {
            return Err(wrong(format!("no {}", library.display())));
        }
        Ok(Self { folder, wanted })
    }

    /// A cargo command that builds and runs with this libtorch.
    ///
    /// Plain cargo finds ours through `.cargo/config.toml` alone, and then nothing is set here, so that what
    /// CI runs is what users run by hand. Where that cannot work (see [`needs_library_path`]) the child gets
    /// LD_LIBRARY_PATH.
    pub(crate) fn cargo(&self, root: &Path, arguments: &[&str]) -> Result<Command> {
        let mut command = child::cargo(arguments);
        match self.wanted {
            Wanted::Ours => command.env_remove("LIBTORCH"),
            Wanted::Folder(_) => command.env("LIBTORCH", &self.folder),
            Wanted::Python => command.env("LIBTORCH_USE_PYTORCH", "1"),
        };
        self.found_by(&mut command, root)?;
        Ok(command)
    }

    /// The program `name` as the release profile has built it.
    pub(crate) fn program(&self, root: &Path, name: &str) -> Result<Command> {
        let mut command = Command::new(target_folder(root)?.join("release").join(name));
        self.found_by(&mut command, root)?;
        Ok(command)
    }

    /// Lets what a command runs find libtorch.
    fn found_by(&self, command: &mut Command, root: &Path) -> Result {
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        if needs_library_path(&self.wanted, root, &target_folder(root)?, set) {
            let old = std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
            command.env("LD_LIBRARY_PATH", library_path(&self.folder, old)?);
        }
        Ok(())
    }

    /// Whether Python can import torch: from this libtorch, or the user's own.
    pub(crate) fn has_python(&self) -> bool {
        self.wanted == Wanted::Python || self.folder.join("__init__.py").is_file()
    }

    /// The folder that Python needs in PYTHONPATH to import this torch; none for the user's own Python, and where it has no Python.
    pub(crate) fn python_path(&self) -> Option<&Path> {
        let imported = self.wanted != Wanted::Python && self.has_python();
        self.folder.parent().filter(|_| imported)
    }
}

/// Whether the rpath of `.cargo/config.toml` does not lead a program to libtorch: for a libtorch from elsewhere,
/// for a target folder that is not `<root>/target`, and where the user's own flags replace those of the file.
fn needs_library_path(wanted: &Wanted, root: &Path, target: &Path, set: impl Fn(&str) -> bool) -> bool {
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let replacing = [
        "RUSTFLAGS",
        "CARGO_ENCODED_RUSTFLAGS",
        "RUSTDOCFLAGS",
        "CARGO_ENCODED_RUSTDOCFLAGS",
        "CARGO_BUILD_RUSTDOCFLAGS",
        "CARGO_BUILD_TARGET",
    ];
    // The rpath starts at the program's real folder, so a link in place of `target` leads astray.
    let at_home = real(target) == real(root).join("target");
    *wanted != Wanted::Ours || !at_home || replacing.into_iter().any(set)
}

fn library_path(folder: &Path, old: OsString) -> Result<OsString> {
    let old = std::env::split_paths(&old).filter(|path| !path.as_os_str().is_empty());
    std::env::join_paths(std::iter::once(folder.join("lib")).chain(old))
        .map_err(|_| Failure::new(format!("{} has a colon in its name; move the folder", folder.display())))
}

fn target_folder(root: &Path) -> Result<PathBuf> {
    Ok(crate::workspace::metadata(root)?.target_directory.into_std_path_buf())
}

/// The version that a wheel (`version.py`) or a libtorch archive (`build-version`) tells.
pub(crate) fn version(folder: &Path) -> Option<String> {
    if let Ok(text) = fs::read_to_string(folder.join("version.py")) {
        let line = text.lines().find_map(|line| line.strip_prefix("__version__ = "))?;
        return Some(line.trim_matches(['\'', '"']).to_owned());
    }
    fs::read_to_string(folder.join("build-version")).ok().map(|text| text.trim().to_owned())
}

/// `2.11.0+cu130` without its build.
fn release(version: &str) -> &str {
    version.split('+').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(file: &str, text: &str, library: bool) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(file), text).unwrap();
        if library {
            fs::create_dir(folder.path().join("lib")).unwrap();
            fs::write(folder.path().join("lib/libtorch_cpu.so"), "").unwrap();
        }
        folder
    }

    fn check(folder: &tempfile::TempDir) -> Result<Libtorch> {
        let path = folder.path().to_owned();
        Libtorch::checked(path.clone(), Wanted::Folder(path))
    }

    #[test]
    fn wheels_and_archives_of_the_right_version_are_taken() {
        check(&folder("version.py", "debug = False\n__version__ = '2.11.0+cu130'\n", true)).unwrap();
        check(&folder("build-version", "2.11.0+cpu\n", true)).unwrap();
    }

    #[test]
    fn a_wrong_version_is_refused_with_the_remedy() {
        for version in ["2.10.0+cpu", "2.11.01", "2.11.0.dev1", "12.11.0"] {
            let line = check(&folder("build-version", version, true)).unwrap_err().to_string();
            assert!(line.contains(&format!("libtorch {version} in")), "{line}");
            assert!(line.contains("but 2.11.0 is needed; let it name") && line.contains("unset"), "{line}");
        }
    }

    #[test]
    fn a_folder_without_version_or_library_is_refused() {
        let line = check(&folder("notes", "", true)).unwrap_err().to_string();
        assert!(line.contains("neither version.py nor build-version"), "{line}");
        let line = check(&folder("build-version", "2.11.0", false)).unwrap_err().to_string();
        assert!(line.contains("libtorch_cpu.so"), "{line}");
    }

    #[test]
    fn the_value_of_cargos_config_means_ours() {
        let root = Path::new("checkout");
        let wanted = |libtorch: Option<&str>, python: Option<&str>| {
            Wanted::from_variables(root, libtorch.map(Into::into), python.map(Into::into))
        };
        assert_eq!(wanted(None, None), Wanted::Ours);
        assert_eq!(wanted(Some("checkout/.libtorch/torch"), None), Wanted::Ours);
        assert_eq!(wanted(Some("opt/libtorch"), None), Wanted::Folder("opt/libtorch".into()));
        assert_eq!(wanted(Some("checkout/.libtorch/torch"), Some("1")), Wanted::Python);
    }

    #[test]
    fn the_library_path_is_set_only_where_the_rpath_cannot_work() {
        let root = Path::new("checkout");
        let needs = |wanted: &Wanted, target: &str, set: &str| {
            needs_library_path(wanted, root, Path::new(target), |name| name == set)
        };
        assert!(!needs(&Wanted::Ours, "checkout/target", ""));
        assert!(needs(&Wanted::Ours, "elsewhere", ""));
        assert!(needs(&Wanted::Ours, "checkout/target", "RUSTFLAGS"));
        assert!(needs(&Wanted::Python, "checkout/target", ""));
        assert!(needs(&Wanted::Folder("x".into()), "checkout/target", ""));
    }

    #[test]
    fn a_linked_target_folder_is_seen_through() {
        let root = tempfile::tempdir().unwrap();
        let away = tempfile::tempdir().unwrap();
        let target = root.path().join("target");
        std::os::unix::fs::symlink(away.path(), &target).unwrap();
        assert!(needs_library_path(&Wanted::Ours, root.path(), &target, |_| false));
    }

    #[test]
    fn the_users_own_library_path_is_kept() {
        let path = library_path(Path::new("torch"), "one:two".into()).unwrap();
        assert_eq!(path, "torch/lib:one:two");
        assert_eq!(library_path(Path::new("torch"), "".into()).unwrap(), "torch/lib");
    }
}
