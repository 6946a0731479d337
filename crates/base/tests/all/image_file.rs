//! Image files: golden files of every kind, round trips, and bad files.
#![allow(clippy::unwrap_used, clippy::expect_used)] // in helpers, too

use smalti_base::image_file::{encode_png8, load_gray, save_png8, save_png16, save_tiff_f32};
use smalti_base::{Error, Seed};
use smalti_testkit::measured;
use std::fs;
use std::path::{Path, PathBuf};
use tch::{Kind, Tensor};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn difference(a: &Tensor, b: &Tensor) -> f64 {
    (a.to_kind(Kind::Double) - b.to_kind(Kind::Double)).abs().max().double_value(&[])
}

/// The one line of the error, checked to be of content and to name the file.
fn refusal(path: &Path) -> String {
    let error = load_gray(path).expect_err("a bad file was loaded");
    assert!(matches!(error, Error::Content { .. }), "{error:?}");
    let line = error.to_string();
    assert_eq!(line.lines().count(), 1, "{line}");
    assert!(line.starts_with(&format!("{}: ", path.display())), "{line}");
    line
}

#[test]
fn every_kind_of_file_holds_the_values_that_python_wrote() {
    let expected = Tensor::read_safetensors(golden("images.safetensors")).unwrap();
    assert_eq!(expected.len(), 20);
    for (name, expected) in expected {
        let loaded = load_gray(&golden("images").join(&name)).unwrap();
        assert_eq!((loaded.size(), loaded.kind()), (expected.size(), Kind::Float), "{name}");
        let colour = ["rgb", "palette", "planar"].iter().any(|kind| name.starts_with(kind));
        let (worst, tolerance) = (difference(&loaded, &expected), if colour { 1e-6 } else { 0.0 });
        assert!(worst <= tolerance, "{name}: {worst:e}");
    }
}

#[test]
fn unsupported_and_non_finite_files_are_refused_by_name() {
    let line = refusal(&golden("images/refused_nan.tif"));
    let problem =
        "has 2 NaN or infinite pixels, the first at row 2, column 5 (counted from 0); replace these";
    assert!(line.contains(problem), "{line}");
    let line = refusal(&golden("images/refused_bands.tif"));
    assert!(
        line.contains("holds 5 samples a pixel that are no colour; save it as a grey or RGB image"),
        "{line}"
    );
}

#[test]
fn files_that_are_no_images_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let cases: [(&str, &[u8], &str); 5] = [
        ("empty.png", b"", "the file is empty"),
        (
            "text.tif",
            b"hello",
            "is neither a PNG nor a TIFF file (its first bytes: of an unknown kind); convert",
        ),
        ("photo.png", b"\xff\xd8\xff\xe0 JFIF", "is neither a PNG nor a TIFF file (its first bytes: Jpeg)"),
        ("bare.png", b"\x89PNG\r\n\x1a\n", "cannot be decoded as PNG"),
        ("bare.tif", b"II\x2a\0", "cannot be decoded as TIFF"),
    ];
    for (name, bytes, problem) in cases {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        let line = refusal(&path);
        assert!(line.contains(problem), "{line}");
    }
    let line = load_gray(&folder.path().join("missing.png")).unwrap_err().to_string();
    assert!(line.contains("reading failed: No such file") && line.ends_with("; check the path"), "{line}");
    let line = load_gray(folder.path()).unwrap_err().to_string();
    assert!(line.ends_with("; give a file, not a folder"), "{line}");
}

#[test]
fn a_png_without_pixels_is_refused() {
    // Width 0 with a correct checksum, so that nothing else is wrong with the file.
    let mut bytes = encode_png8(&Tensor::from_slice2(&[[0.5_f32]])).unwrap();
    bytes[16..20].fill(0);
    let crc = crc32(&bytes[12..29]);
    bytes[29..33].copy_from_slice(&crc.to_be_bytes());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("zero.png");
    fs::write(&path, bytes).unwrap();
    refusal(&path);
}

pub(super) fn crc32(bytes: &[u8]) -> u32 {
    let step = |c: u32| if c & 1 == 1 { 0xedb8_8320 ^ (c >> 1) } else { c >> 1 };
    !bytes.iter().fold(!0_u32, |crc, &b| (0..8).fold(crc ^ u32::from(b), |c, _| step(c)))
}

#[test]
fn truncated_and_damaged_files_never_panic() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("damaged");
    let mut random = Seed::new(3).at("damage", 0);
    let (mut refused, mut files) = (0, 0);
    for file in fs::read_dir(golden("images")).unwrap() {
        let whole = fs::read(file.unwrap().path()).unwrap();
        for round in 0..60 {
            let mut bytes = whole.clone();
            if round < 20 {
                bytes.truncate(random.index(whole.len() as i64) as usize);
            } else {
                for _ in 0..3 {
                    let at = random.index(whole.len().min(400) as i64) as usize;
                    bytes[at] = random.index(256) as u8;
                }
            }
            fs::write(&path, bytes).unwrap();
            files += 1;
            if let Err(error) = load_gray(&path) {
                refused += 1;
                assert_eq!(error.to_string().lines().count(), 1, "{error}");
            }
        }
    }
    assert!(refused > files / 2, "only {refused} of {files} damaged files were noticed");
}

#[test]
fn half_a_png_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("half.png");
    save_png8(&path, &Seed::new(1).at("image", 0).uniform(&[40, 30])).unwrap();
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let line = refusal(&path);
    assert!(line.ends_with("; save or download the file again"), "{line}");
}

#[test]
fn what_is_saved_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    // The name does not matter: all are written to a file that claims to be something else.
    let path = folder.path().join("new/folder/image.jpg");
    let image = Seed::new(5).at("image", 0).normal(&[1, 1, 17, 29]) * 0.4 + 0.5;
    let clamped = image.clamp(0.0, 1.0);
    assert!(difference(&image, &clamped) > 0.1, "the image must leave [0, 1] for this test");

    save_png8(&path, &image).unwrap();
    assert!(difference(&load_gray(&path).unwrap(), &clamped) <= 0.5001 / 255.0);
    save_png16(&path, &image).unwrap();
    let first = load_gray(&path).unwrap();
    assert!(difference(&first, &clamped) <= 0.5001 / 65535.0);
    save_png16(&path, &first).unwrap();
    assert_eq!(difference(&load_gray(&path).unwrap(), &first), 0.0, "a second time nothing changes");
    save_tiff_f32(&path, &image).unwrap();
    assert_eq!(difference(&load_gray(&path).unwrap(), &image), 0.0);

    // [H, W], another dtype, not contiguous, part of a graph.
    let plane = image.view([17, 29]).to_kind(Kind::Double).transpose(0, 1).set_requires_grad(true);
    save_tiff_f32(&path, &plane).unwrap();
    assert_eq!(difference(&load_gray(&path).unwrap(), &image.transpose(2, 3)), 0.0);
}

#[test]
fn colour_is_saved_in_the_order_red_green_blue() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("colour.png");
    let red = [[1.0_f32, 0.0, 0.0, 1.0], [0.2, 0.2, 0.2, 0.4]];
    let image = Tensor::stack(
        &[
            Tensor::from_slice2(&red),
            Tensor::from_slice2(&[[0.0_f32, 1.0, 0.0, 1.0], [0.2, 0.2, 0.2, 0.4]]),
            Tensor::from_slice2(&[[0.0_f32, 0.0, 1.0, 1.0], [0.2, 0.2, 0.2, 0.4]]),
        ],
        0,
    )
    .unsqueeze(0);
    fs::write(&path, encode_png8(&image).unwrap()).unwrap();
    let expected = Tensor::from_slice2(&[[0.299_f32, 0.587, 0.114, 1.0], [0.2, 0.2, 0.2, 0.4]]);
    assert!(difference(&load_gray(&path).unwrap(), &expected.view([1, 1, 2, 4])) < 1e-6);
}

#[test]
fn what_cannot_be_saved_is_refused_and_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("image.png");
    let mut image = Tensor::zeros([1, 3, 4, 5], (Kind::Float, tch::Device::Cpu));
    let line = save_png8(&path, &image).unwrap_err().to_string();
    assert_eq!(line, "image to save: expected [H, W] or [1, 1, H, W], got [1, 3, 4, 5]");
    let line = encode_png8(&image.narrow(1, 0, 2)).unwrap_err().to_string();
    assert_eq!(line, "image to save: expected [H, W] or [1, 1, H, W] or [1, 3, H, W], got [1, 2, 4, 5]");
    let line = save_png16(&path, &Tensor::from_slice2(&[[3_i64, 4]])).unwrap_err().to_string();
    assert_eq!(line, "image to save: expected float values, nominally in [0, 1], got Int64");
    let line = save_tiff_f32(&path, &image.view([15, 4]).narrow(0, 0, 0)).unwrap_err().to_string();
    assert_eq!(line, "image to save: expected at least one pixel, got [0, 4]");

    let _ = image.narrow(1, 1, 1).narrow(2, 2, 1).narrow(3, 4, 1).fill_(f64::NAN);
    let line = encode_png8(&image).unwrap_err().to_string();
    assert!(line.contains("1 NaN or infinite pixel, the first at row 2, column 4"), "{line}");
    image = image.narrow(1, 1, 1);
    assert!(matches!(save_png8(&path, &image), Err(Error::Value { .. })));
    assert!(matches!(save_png16(&path, &image), Err(Error::Value { .. })));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);

    // Float TIFF can hold NaN; loading such a file is refused.
    save_tiff_f32(&path, &image).unwrap();
    assert!(refusal(&path).contains("1 NaN or infinite pixel, the first at row 2, column 4"));
}

/// Without data: `what_is_saved_comes_back`.
#[test]
fn the_real_test_image_loads() {
    let Some(data) = measured(&["sic/test.png"]) else { return };
    let image = load_gray(&data.join("sic/test.png")).unwrap();
    assert_eq!(image.size(), [1, 1, 600, 600]);
    let steps: Tensor = &image * 255.0;
    assert!(difference(&steps, &steps.round()) < 1e-4, "8-bit values are multiples of 1/255");
    let (low, high) = (image.min().double_value(&[]), image.max().double_value(&[]));
    assert!((0.0..0.3).contains(&low) && (0.6..=1.0).contains(&high), "{low} {high}");
}
