//! Checkpoints: round trips, files from Python, strict checks, damaged files.
#![allow(clippy::unwrap_used, clippy::expect_used)] // in helpers, too

use smalti_base::checkpoint::{Checkpoint, FORMAT, data_hash};
use smalti_base::{Error, Seed};
use std::fs;
use std::path::{Path, PathBuf};
use tch::{Device, Kind, Tensor};

fn same(a: &Tensor, b: &Tensor) -> bool {
    a.size() == b.size() && a.kind() == b.kind() && a.equal(b)
}

fn example() -> Checkpoint {
    let mut random = Seed::new(4).at("checkpoint", 0);
    let mut checkpoint = Checkpoint::default();
    let mut add = |name: &str, tensor: Tensor| checkpoint.tensors.insert(name.into(), tensor);
    let x = random.normal(&[3, 4]);
    add("f64", x.to_kind(Kind::Double) / 3.0);
    add("f32", x.copy());
    add("bf16", x.to_kind(Kind::BFloat16));
    add("i64", Tensor::from(i64::MIN));
    add("u8", Tensor::from_slice(&[0_u8, 7, 255]));
    add("bool", Tensor::from_slice(&[true, false, true]));
    add("empty", Tensor::zeros([0, 5], (Kind::Float, Device::Cpu)));
    add("transposed", x.transpose(0, 1));
    add("strided", x.slice(1, 0, 4, 2));
    add("trainable", x.copy().set_requires_grad(true));
    checkpoint.set_meta("patch_size", 6);
    checkpoint.set_meta("clamp", 0.1 + 0.2);
    checkpoint.set_meta("note", "\"quoted\"\nline, µ");
    checkpoint
}

fn saved(folder: &Path) -> PathBuf {
    let path = folder.join("x.safetensors");
    example().save(&path).unwrap();
    path
}

fn refusal(path: &Path) -> String {
    let error = Checkpoint::load(path).expect_err("a bad file was loaded");
    assert!(matches!(error, Error::Content { .. }), "{error:?}");
    let line = error.to_string();
    assert!(line.lines().count() == 1 && line.starts_with(&format!("{}: ", path.display())), "{line}");
    line
}

#[test]
fn what_is_saved_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = saved(folder.path());
    let (before, mut after) = (example(), Checkpoint::load(&path).unwrap());
    assert_eq!(before.tensors.len(), after.tensors.len());
    for (name, tensor) in &before.tensors {
        assert!(same(tensor, &after.tensors[name]), "{name}");
    }
    assert_eq!(after.meta("note").unwrap(), "\"quoted\"\nline, µ");
    assert_eq!(after.meta_parsed::<f64>("clamp").unwrap(), 0.1 + 0.2);
    assert_eq!(after.meta_parsed::<u32>("format").unwrap(), FORMAT);
    assert_eq!(after.meta("smalti_version").unwrap(), env!("CARGO_PKG_VERSION"));
    let taken = after.take("f32", &[3, 4], Kind::Float).unwrap();
    assert!(same(&taken, &before.tensors["f32"]) && !after.tensors.contains_key("f32"));
}

#[test]
fn the_same_content_gives_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let first = fs::read(saved(folder.path())).unwrap();
    let again = folder.path().join("again.safetensors");
    Checkpoint::load(&folder.path().join("x.safetensors")).unwrap().save(&again).unwrap();
    assert!(first == fs::read(&again).unwrap());
}

#[test]
fn a_file_from_the_python_library_is_read_exactly() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/checkpoint.safetensors");
    let mut file = Checkpoint::load(&path).unwrap();
    let range = |n| Tensor::arange(n, (Kind::Float, Device::Cpu));
    let expected = [
        ("f64", range(6).to_kind(Kind::Double).view([2, 3]) / 7.0),
        ("f32", range(4) / 8.0),
        ("bf16", (range(5) / 4.0).to_kind(Kind::BFloat16)),
        ("i64", Tensor::from(-(1_i64 << 60))),
        ("u8", Tensor::from_slice(&[0_u8, 255])),
        ("bool", Tensor::from_slice(&[true, false, true]).view([1, 3])),
        ("empty", Tensor::zeros([0, 3], (Kind::Float, Device::Cpu))),
    ];
    assert_eq!(file.tensors.len(), expected.len());
    for (name, tensor) in expected {
        let read = file.take(name, &tensor.size(), tensor.kind()).unwrap();
        assert!(same(&read, &tensor), "{name}");
    }
    assert_eq!(file.meta_parsed::<i64>("patch_size").unwrap(), 6);
}

#[test]
fn take_and_meta_are_strict() {
    let folder = tempfile::tempdir().unwrap();
    let path = saved(folder.path());
    let mut file = Checkpoint::load(&path).unwrap();
    let name = path.display();
    let remedy = "use a checkpoint that was made with these settings, or train again";
    // [1] would broadcast, float64 would be converted, [4, 3] has as many values: all are refused.
    for (shape, kind) in [(&[1][..], Kind::Float), (&[4, 3], Kind::Float), (&[3, 4], Kind::Double)] {
        let line = file.take("f32", shape, kind).unwrap_err().to_string();
        let problem = format!("tensor f32: expected {kind:?} {shape:?}, got Float [3, 4]");
        assert_eq!(line, format!("{name}: {problem}; {remedy}"));
    }
    assert!(file.take("f32", &[3, 4], Kind::Float).is_ok(), "a refused tensor must stay");
    let line = file.take("f32", &[3, 4], Kind::Float).unwrap_err().to_string();
    assert_eq!(line, format!("{name}: has no tensor f32; {remedy}"));
    let line = file.meta("patch").unwrap_err().to_string();
    assert_eq!(line, format!("{name}: has no metadata patch; {remedy}"));
    let line = file.meta_parsed::<i64>("note").unwrap_err().to_string();
    assert!(
        line.contains(r#"metadata note = "\"quoted\"\nline, µ" cannot be read (invalid digit"#),
        "{line}"
    );
    assert_eq!(line.lines().count(), 1);
}

#[test]
fn a_part_goes_in_and_comes_out_whole() {
    let folder = tempfile::tempdir().unwrap();
    let mut whole = example();
    whole.insert_part("inner", example());
    let path = folder.path().join("whole.safetensors");
    whole.save(&path).unwrap();
    let mut whole = Checkpoint::load(&path).unwrap();
    let mut part = whole.take_part("inner");
    let expected = example();
    assert_eq!(part.metadata, expected.metadata);
    assert!(
        part.tensors.keys().eq(expected.tensors.keys()) && whole.tensors.keys().eq(expected.tensors.keys())
    );
    assert!(part.tensors.iter().all(|(name, tensor)| same(tensor, &expected.tensors[name])));
    assert_eq!(whole.meta("patch_size").unwrap(), "6");
    // Only whole names count, and a part knows the file that it came from.
    assert!(whole.take_part("inne").tensors.is_empty() && whole.take_part("inner").metadata.is_empty());
    let line = part.take("lost", &[1], Kind::Float).unwrap_err().to_string();
    assert!(line.contains("whole.safetensors") && line.contains("no tensor lost"), "{line}");
}

#[test]
fn damaged_files_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let whole = fs::read(saved(folder.path())).unwrap();
    let path = folder.path().join("damaged.safetensors");
    for length in (0..whole.len()).step_by(7) {
        fs::write(&path, &whole[..length]).unwrap();
        assert!(refusal(&path).contains("is damaged, or no safetensors file ("));
    }
    // One changed bit, anywhere in the data.
    let header = u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
    for at in (8 + header..whole.len()).step_by(5) {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        fs::write(&path, &bytes).unwrap();
        assert!(refusal(&path).contains("is damaged (its data do not have the SHA-256"));
    }
    let mut random = Seed::new(9).at("damage", 0);
    for _ in 0..500 {
        let mut bytes = whole.clone();
        bytes[random.index(8 + header as i64) as usize] = random.index(256) as u8;
        fs::write(&path, &bytes).unwrap();
        if let Err(error) = Checkpoint::load(&path) {
            assert_eq!(error.to_string().lines().count(), 1, "{error}");
        }
    }
    fs::write(&path, b"\x89PNG\r\n\x1a\n and so on").unwrap();
    refusal(&path);
    let line = Checkpoint::load(&folder.path().join("none")).unwrap_err().to_string();
    assert!(line.contains("reading failed: No such file") && line.ends_with("; check the path"), "{line}");
}

/// A safetensors file with this metadata and no tensors.
fn bare(folder: &Path, metadata: &str) -> PathBuf {
    let header = format!("{{\"__metadata__\":{{{metadata}}}}}");
    let path = folder.join("bare.safetensors");
    fs::write(&path, [&(header.len() as u64).to_le_bytes()[..], header.as_bytes()].concat()).unwrap();
    path
}

#[test]
fn other_and_newer_formats_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = bare(folder.path(), r#""format":"1","smalti_version":"0.1.0""#);
    assert!(Checkpoint::load(&path).is_ok());
    let path = bare(folder.path(), r#""format":"2","smalti_version":"7.8.9""#);
    let line = refusal(&path);
    let problem = "has format 2 of Smalti 7.8.9; this version reads up to 1; update Smalti";
    assert!(line.ends_with(problem), "{line}");
    for metadata in ["", r#""format":"pt""#, r#""format":"1""#, r#""format":"0","smalti_version":"1""#] {
        let line = refusal(&bare(folder.path(), metadata));
        assert!(line.contains("is a safetensors file, but no checkpoint of Smalti"), "{line}");
    }
}

#[test]
fn what_cannot_be_saved_leaves_the_old_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = saved(folder.path());
    let old = fs::read(&path).unwrap();
    let mut checkpoint = Checkpoint::default();
    let half = Tensor::zeros([2], (Kind::Half, Device::Cpu));
    checkpoint.tensors.insert("w".into(), half);
    let line = checkpoint.save(&path).unwrap_err().to_string();
    let known = "one of Double, Float, Int64, BFloat16, Uint8, Bool";
    assert_eq!(line, format!("tensor w to save: expected {known}, got Half"));
    checkpoint.tensors = [("__metadata__".into(), Tensor::from(1_i64))].into();
    assert!(matches!(checkpoint.save(&path), Err(Error::Value { .. })));
    assert!(old == fs::read(&path).unwrap());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn the_data_hash_sees_shapes_values_and_order() {
    let a = Tensor::arange(6, (Kind::Float, Device::Cpu)).view([2, 3]);
    let b = Tensor::from_slice(&[1.5_f32]);
    let hash = data_hash(&[&a, &b]).unwrap();
    // sha256 of <u64 dims, i64 sizes, f32 values> of each tensor, computed with Python's hashlib and struct.
    assert_eq!(hash, "13ad10d490b77f5bcd885fba8178db49e01024168704555958349a268a144c26");
    assert_eq!(hash, data_hash(&[&a.to_kind(Kind::Double), &b]).unwrap(), "the dtype does not matter");
    let others = [data_hash(&[&b, &a]), data_hash(&[&a.view([3, 2]), &b]), data_hash(&[&(&a + 1e-6), &b])];
    assert!(others.into_iter().all(|other| other.unwrap() != hash));
    assert_eq!(data_hash(&[&a.transpose(0, 1)]).unwrap(), data_hash(&[&a.transpose(0, 1).copy()]).unwrap());
}
