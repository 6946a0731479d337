//! The manifest of the data set, `experiments/data.toml`: where every file comes from, and its SHA-256.

use crate::failure::{Failure, Result};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::{
    fs::{self, File},
    io::Read,
    path::{Component, Path, PathBuf},
};

/// The whole manifest.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    /// The address of a file, with `{repository}`, `{commit}` and `{path}`.
    pub(crate) address: String,
    /// The files.
    #[serde(rename = "file")]
    pub(crate) files: Vec<Entry>,
}

/// One file of the data set.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Entry {
    /// Its place under `data/`.
    pub(crate) name: String,
    /// The public repository that it comes from, `owner/name`.
    repository: String,
    /// The commit of that repository.
    commit: String,
    /// Its place there.
    path: String,
    /// Its size.
    pub(crate) bytes: u64,
    /// Its SHA-256 in lower-case hexadecimal digits.
    pub(crate) sha256: String,
}

impl Manifest {
    /// Where the manifest lies.
    pub(crate) fn path(root: &Path) -> PathBuf {
        root.join("experiments/data.toml")
    }

    /// Reads and checks the manifest of this checkout.
    pub(crate) fn read(root: &Path) -> Result<Self> {
        let path = Self::path(root);
        let text = fs::read_to_string(&path).map_err(|e| Failure::file(&path, "reading", &e))?;
        Self::parse(&text).map_err(|problem| Failure::new(format!("{}: {problem}", path.display())))
    }

    fn parse(text: &str) -> Result<Self, String> {
        let manifest: Self = toml::from_str(text).map_err(|e| {
            let line = e.span().map_or(1, |span| text[..span.start].lines().count().max(1));
            format!("line {line}: {}", e.message())
        })?;
        check_address(&manifest.address)?;
        for file in &manifest.files {
            file.check().map_err(|problem| format!("{}: {problem}", file.name))?;
        }
        Ok(manifest)
    }
}

/// An address leads to every file by its path or its name.
pub(crate) fn check_address(template: &str) -> Result<(), String> {
    if template.contains("{path}") || template.contains("{name}") {
        return Ok(());
    }
    Err(format!("the address '{template}' has neither {{path}} nor {{name}} to put the file in"))
}

impl Entry {
    /// The address of the file by this template.
    pub(crate) fn address(&self, template: &str) -> String {
        template
            .replace("{repository}", &self.repository)
            .replace("{commit}", &self.commit)
            .replace("{path}", &self.path)
            .replace("{name}", &self.name)
    }

    /// Names stay below `data/` and need no quoting in an address; sums and commits are whole.
    fn check(&self) -> Result<(), String> {
        let digits =
            |text: &str, n| text.len() == n && text.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f'));
        let plain = |text: &str| {
            let inside = Path::new(text).components().all(|part| matches!(part, Component::Normal(_)));
            inside
                && !text.is_empty()
                && text.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c))
        };
        if let Some(text) = [&self.name, &self.repository, &self.path].into_iter().find(|text| !plain(text)) {
            return Err(format!("'{text}' is not a plain relative path (letters, digits, / . _ -)"));
        }
        if !digits(&self.commit, 40) {
            return Err(format!("'{}' is not a whole commit (40 hexadecimal digits)", self.commit));
        }
        if !digits(&self.sha256, 64) {
            return Err(format!("'{}' is not a SHA-256 (64 hexadecimal digits)", self.sha256));
        }
        Ok(())
    }
}

/// The SHA-256 of a file in lower-case hexadecimal digits.
pub(crate) fn sha256(path: &Path) -> Result<String> {
    let fail = |e: std::io::Error| Failure::file(path, "reading", &e);
    let mut file = File::open(path).map_err(fail)?;
    let mut hash = Sha256::new();
    let mut block = vec![0; 1 << 16];
    loop {
        match file.read(&mut block).map_err(fail)? {
            0 => break,
            n => hash.update(&block[..n]),
        }
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    fn entry(name: &str, bytes: &[u8]) -> String {
        let hash: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        format!(
            "[[file]]\nname = \"{name}\"\nrepository = \"us/set\"\ncommit = \"{COMMIT}\"\npath = \"in/{name}\"\n\
             bytes = {}\nsha256 = \"{hash}\"\n",
            bytes.len()
        )
    }

    /// A folder with nothing but a manifest of these files.
    pub(crate) fn checkout_with(files: &[(&str, &[u8])]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("experiments")).unwrap();
        let entries: String = files.iter().map(|(name, bytes)| entry(name, bytes)).collect();
        let text = format!("address = \"none://{{repository}}/{{commit}}/{{path}}\"\n{entries}");
        fs::write(Manifest::path(root.path()), text).unwrap();
        root
    }

    fn problem(text: &str) -> String {
        Manifest::parse(text).unwrap_err()
    }

    #[test]
    fn the_manifest_of_this_checkout_is_right() {
        let manifest = Manifest::read(&crate::workspace::root().unwrap()).unwrap();
        let mut names: Vec<&str> = manifest.files.iter().map(|file| file.name.as_str()).collect();
        assert!(names.contains(&"sic/ref.png") && names.contains(&"sic/testset/img50.png"));
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "a name occurs twice");
    }

    #[test]
    fn an_address_is_put_together() {
        let root = checkout_with(&[("a/b.png", b"x".as_slice())]);
        let manifest = Manifest::read(root.path()).unwrap();
        let address = manifest.files[0].address(&manifest.address);
        assert_eq!(address, format!("none://us/set/{COMMIT}/in/a/b.png"));
        assert_eq!(manifest.files[0].address("mirror/{name}"), "mirror/a/b.png");
    }

    #[test]
    fn wrong_manifests_are_refused() {
        let good = format!("address = \"x/{{path}}\"\n{}", entry("a.png", b"x"));
        Manifest::parse(&good).unwrap();
        assert!(problem(&good.replace("{path}", "path")).contains("neither {path} nor {name}"));
        for name in ["../a.png", "/a.png", "a b.png", "a.png?x", ""] {
            let text = good.replace("name = \"a.png\"", &format!("name = \"{name}\""));
            assert!(problem(&text).contains("plain relative path"), "{name}");
        }
        assert!(problem(&good.replace(COMMIT, "main")).contains("whole commit"));
        assert!(problem(&good.replace("sha256 = \"", "sha256 = \"A")).contains("not a SHA-256"));
        assert!(
            problem(&good.replace("bytes = 1", "bytes = 1\nsize = 1")).starts_with("line 7: unknown field")
        );
    }

    #[test]
    fn a_known_sum_comes_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("abc");
        fs::write(&path, "abc").unwrap();
        assert_eq!(
            sha256(&path).unwrap(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }
}
