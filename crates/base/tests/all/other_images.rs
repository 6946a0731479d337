//! Image files as other people have them: of every kind the values that were written, or one line.
#![allow(clippy::unwrap_used, clippy::expect_used)] // in helpers, too

use smalti_base::ValueRange;
use smalti_base::image_file::{load_gray, load_gray_in, load_stack};
use std::fs;
use std::path::{Path, PathBuf};
use tch::{Kind, Tensor};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn other(name: &str) -> PathBuf {
    golden("other_images").join(name)
}

fn difference(a: &Tensor, b: &Tensor) -> f64 {
    (a.to_kind(Kind::Double) - b.to_kind(Kind::Double)).abs().max().double_value(&[])
}

#[test]
fn every_kind_of_file_holds_the_values_that_were_written() {
    let expected = Tensor::read_safetensors(golden("other_images.safetensors")).unwrap();
    let files = fs::read_dir(golden("other_images")).unwrap();
    let read = files.filter(|f| !f.as_ref().unwrap().file_name().to_string_lossy().starts_with("refused"));
    assert_eq!(read.count(), expected.len());
    let mut wrong = Vec::new();
    for (name, expected) in expected {
        let stack = expected.dim() == 5;
        let loaded =
            if stack { load_stack(&other(&name), ValueRange::ByType) } else { load_gray(&other(&name)) };
        let tolerance = match name.split(['_', '.', '1', '2']).next() {
            Some("jpeg") => 1.5 / 255.0,
            Some("rgb" | "rgbx" | "rgba" | "planes" | "palette") => 1e-6,
            _ => 0.0,
        };
        match loaded {
            Ok(loaded) if loaded.size() != expected.size() => {
                wrong.push(format!("{name}: {:?}", loaded.size()))
            }
            Ok(loaded) if difference(&loaded, &expected) > tolerance => {
                wrong.push(format!("{name}: {:e}", difference(&loaded, &expected)));
            }
            Ok(_) => {}
            Err(e) => wrong.push(e.to_string()),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The one line of the error, without the path.
fn refusal(path: &Path) -> String {
    let line = load_gray(path).expect_err("a file that is not supported was loaded").to_string();
    assert_eq!(line.lines().count(), 1, "{line}");
    line.strip_prefix(&format!("{}: ", path.display())).unwrap().to_owned()
}

#[test]
fn what_is_not_supported_is_refused_by_name() {
    let cases = [
        ("refused_white_is_zero_i2.tif", "holds signed integers of which 0 is white; save it as"),
        ("refused_two_samples.tif", "holds 2 samples a pixel that are no colour; save it as"),
        ("refused_bands.tif", "holds 5 samples a pixel that are no colour"),
        ("refused_planes_in_tiles.tif", "holds separate colour planes in tiles that do not fit its height"),
        ("refused_bits12.tif", "holds pixels of 12 bits"),
        ("refused_complex.tif", "is a TIFF file of a kind that is not supported"),
        ("refused_cmyk.tif", "holds CMYK pixels of 4 samples"),
        ("refused_lab.tif", "holds CIE Lab pixels of 3 samples"),
        ("refused_lzma.tif", "is a TIFF file of a kind that is not supported"),
        ("refused_fill_order.tif", "holds bits in reversed order"),
    ];
    for (name, problem) in cases {
        let line = refusal(&other(name));
        assert!(line.contains(problem), "{name}: {line}");
    }
    let pages = other("refused_pages_of_two_sizes.tif");
    let line = load_stack(&pages, ValueRange::ByType).unwrap_err().to_string();
    assert!(line.contains("page 1 (counted from 0) is (9, 14, 1, \"uint8\")"), "{line}");
    assert!(load_gray(&pages).is_ok(), "the first page alone");
    let line = load_stack(&other("camera12.png"), ValueRange::ByType).unwrap_err().to_string();
    assert!(line.contains("is no TIFF file"), "{line}");
}

#[test]
fn the_first_image_of_a_stack_is_the_first() {
    let expected = Tensor::read_safetensors(golden("other_images.safetensors")).unwrap();
    for (name, stack) in expected.iter().filter(|(name, _)| name.starts_with("stack")) {
        assert_eq!(difference(&load_gray(&other(name)).unwrap(), &stack.select(2, 0)), 0.0, "{name}");
    }
    // Cut off after its first image, a stack of ImageJ is one image, but no stack.
    let whole = fs::read(other("stack_imagej_u2.tif")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cut.tif");
    fs::write(&path, &whole[..whole.len() - 1]).unwrap();
    assert!(load_gray(&path).is_ok());
    let line = load_stack(&path, ValueRange::ByType).unwrap_err().to_string();
    assert!(
        line.contains("announces 4 images of 13 x 9 pixels, 936 bytes") || line.contains("not in the file"),
        "{line}"
    );
}

#[test]
fn the_range_of_values_is_what_is_asked_for() {
    let path = other("camera12.png");
    let by_type = load_gray(&path).unwrap();
    assert!(by_type.max().double_value(&[]) < 0.0625, "12 bits in 16 are dark");
    let given = load_gray_in(&path, ValueRange::given(0.0, 4095.0).unwrap()).unwrap();
    assert_eq!(given.max().double_value(&[]), 1.0);
    assert!(difference(&given, &(&by_type * (65535.0 / 4095.0))) < 1e-6);
    let by_data = load_gray_in(&path, ValueRange::ByData).unwrap();
    assert_eq!([by_data.min().double_value(&[]), by_data.max().double_value(&[])], [0.0, 1.0]);

    // Of floats and signed integers, too.
    let stored = load_gray(&other("white_is_zero_f4.tif")).unwrap();
    let shifted =
        load_gray_in(&other("white_is_zero_f4.tif"), ValueRange::given(-1000.0, 1000.0).unwrap()).unwrap();
    assert!(difference(&shifted, &((stored + 1000.0) / 2000.0)) < 1e-6);
    let stored = load_gray(&other("i4.tif")).unwrap();
    let half = load_gray_in(&other("i4.tif"), ValueRange::given(0.0, 2_f64.powi(30)).unwrap()).unwrap();
    assert!(difference(&half, &(stored * 2.0)) < 1e-6);
    // One range for all images of a stack.
    let stack = load_stack(&other("stack_imagej_f4.tif"), ValueRange::ByData).unwrap();
    assert_eq!([stack.min().double_value(&[]), stack.max().double_value(&[])], [0.0, 1.0]);
}

#[test]
fn constant_data_give_no_range() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("constant.png");
    smalti_base::image_file::save_png8(&path, &Tensor::full([4, 5], 0.2, tch::kind::FLOAT_CPU)).unwrap();
    assert!(load_gray(&path).is_ok());
    let line = load_gray_in(&path, ValueRange::ByData).unwrap_err().to_string();
    assert!(line.contains("is constant (0.2), so its data give no range of values; give a range"), "{line}");
}

/// Chunks of a PNG with another head, and right checksums.
fn png_of_size(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = fs::read(other("gamma.png")).unwrap();
    bytes[16..20].copy_from_slice(&width.to_be_bytes());
    bytes[20..24].copy_from_slice(&height.to_be_bytes());
    let crc = super::image_file::crc32(&bytes[12..29]);
    bytes[29..33].copy_from_slice(&crc.to_be_bytes());
    bytes
}

#[test]
fn what_a_head_announces_is_weighed_before_memory_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large");
    for (width, height) in [(i32::MAX as u32, i32::MAX as u32), (u32::MAX, u32::MAX), (1 << 20, 1 << 10)] {
        fs::write(&path, png_of_size(width, height)).unwrap();
        let line = refusal(&path);
        assert!(line.starts_with(&format!("announces {width} x {height} pixels, ")), "{line}");
    }
    // TIFF: every size of the directory.
    for name in ["u2_zlib_big.tif", "white_is_zero_u1.tif", "jpeg_grey.tif", "stack_imagej_f4.tif"] {
        let mut bytes = fs::read(other(name)).unwrap();
        let big = bytes[2] == 43;
        let (offset, head, size, value) = if big { (8, 8, 20, 12) } else { (4, 2, 12, 8) };
        let directory = u32::from_le_bytes(bytes[offset..offset + 4].try_into().unwrap()) as usize;
        let entries = u16::from_le_bytes([bytes[directory], bytes[directory + 1]]) as usize;
        for entry in (0..entries).map(|k| directory + head + k * size) {
            let tag = u16::from_le_bytes([bytes[entry], bytes[entry + 1]]);
            // Width, rows, rows of a strip: each as a LONG.
            if [256, 257, 278].contains(&tag) {
                bytes[entry + 2..entry + 4].copy_from_slice(&4_u16.to_le_bytes());
                bytes[entry + value..entry + value + 4].copy_from_slice(&2_000_000_000_u32.to_le_bytes());
            }
        }
        fs::write(&path, bytes).unwrap();
        let line = refusal(&path);
        assert!(
            line.contains("2000000000 x 2000000000 pixels") || line.contains("inconsistent sizes"),
            "{name}: {line}"
        );
    }
}

#[test]
fn strips_that_are_not_there_are_no_pixels() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("strips.tif");
    for (name, missing) in [("i1.tif", 0_u32), ("u2_zlib_big.tif", 0), ("i8.tif", 3)] {
        let mut bytes = fs::read(other(name)).unwrap();
        let (tag, kinds) = (279_u16.to_le_bytes(), [3_u8, 4, 16]);
        let entry = (0..bytes.len() - 20)
            .find(|&k| bytes[k..k + 2] == tag && kinds.contains(&bytes[k + 2]) && bytes[k + 3] == 0);
        let (entry, big) = (entry.unwrap(), bytes[2] == 43);
        let value = entry + if big { 12 } else { 8 };
        if big {
            // The counts of several strips stand elsewhere.
            let at = u64::from_le_bytes(bytes[value..value + 8].try_into().unwrap()) as usize;
            bytes[at..at + 2].fill(0);
        } else {
            bytes[value..value + 4].copy_from_slice(&missing.to_le_bytes());
        }
        fs::write(&path, bytes).unwrap();
        let line = refusal(&path);
        assert!(line.contains("announces") || line.contains("strip 0"), "{name}: {line}");
    }
}
