//! Image files: PNG with 8 or 16 bits; with the feature `tiff` also TIFF with integers or floats.
//!
//! Which of the two a file is, its first bytes say; its name does not matter. Pixel values are taken as they
//! are stored: no gamma, no colour profile, no significant bits, no stretching of the contrast. Rows and columns, too: the
//! orientation that a file may ask for is not applied (of TIFF a warning says so).
//!
//! | file | values after loading by type ([`ValueRange::ByType`], the default) |
//! | --- | --- |
//! | PNG, 1 to 16 bits | stored / (2^bits - 1), in `[0, 1]` |
//! | TIFF, integers | stored / largest value of the type (so signed integers lie in `[-1, 1]`) |
//! | TIFF, floats | as stored, any range |
//!
//! # TIFF
//! Classic and big, either byte order; strips and tiles, also of separate planes; no compression, PackBits, LZW, Deflate, Zstandard,
//! Group 4, JPEG; predictors. Grey (also where white is 0: integers are inverted, floats come as they are stored), grey with
//! alpha, RGB with whatever samples follow, palettes, YCbCr compressed as JPEG. Everything else is refused in one line.
//!
//! # Sizes
//! What the head of a file announces is compared with the length of the file and with the memory that there is before any is taken.

mod png;
mod raster;
#[cfg(feature = "tiff")]
mod tiff;

use crate::error::{Error, Result};
use crate::files;
use crate::value_range::{self, Stored, ValueRange};
use raster::{NonFinite, Raster, SAVE_AGAIN};
use std::path::Path;
use tch::{Device, Kind, Tensor};

/// Loads one greyscale image, its values by type: [`load_gray_in`] with [`ValueRange::ByType`].
///
/// # Shapes
/// `[1, 1, H, W]`, float32, on the CPU; the range of values is that of the table above.
///
/// # Errors
/// Those of [`load_gray_in`].
pub fn load_gray(path: &Path) -> Result<Tensor> {
    load_gray_in(path, ValueRange::ByType)
}

/// Loads one greyscale image, in the range of values asked for.
///
/// Colour (RGB, or a palette that holds colours) becomes the Rec. 601 luma
/// `Y = 0.299 R + 0.587 G + 0.114 B` of the stored values, unrounded; grey stored as colour stays exactly what
/// it was. An alpha channel is ignored. Of a TIFF file with several pages, and of a stack that ImageJ has written as one, the
/// first is loaded, and a warning says so; [`load_stack`] loads all.
///
/// A line of the log says which range was taken; warnings say where no value of an image of 16 bits needs more than 8, 10, 12 or 14,
/// and where the image is constant.
///
/// # Shapes
/// `[1, 1, H, W]`, float32, on the CPU.
///
/// # Errors
/// [`Error::File`] where the file cannot be read; [`Error::Content`] where it is empty, neither PNG nor TIFF,
/// corrupt, of a kind that is not supported, larger than what is read, or holds NaN or infinite pixels, and where its data are to give
/// the range and are constant; [`Error::Feature`] where it is TIFF and the feature `tiff` is off.
///
/// Luma: ITU-R BT.601.
pub fn load_gray_in(path: &Path, range: ValueRange) -> Result<Tensor> {
    let raster = decode(path, files::read(path)?)?;
    let size = [1, 1, raster.height as i64, raster.width as i64];
    Ok(Tensor::f_from_slice(&gray_in(path, raster, range)?)?.f_view(size)?)
}

/// A grey image, and what its file stores.
#[derive(Debug)]
pub struct StoredImage {
    /// `[1, 1, H, W]`, float32, on the CPU: the stored values divided by [`Stored::unit`].
    pub image: Tensor,
    /// The type of the stored values.
    pub stored: Stored,
    /// Whether the file holds colours, of which the image is the luma.
    pub colour: bool,
}

/// Loads one greyscale image by type, as [`load_gray`] does, with what is known about the numbers in the file. It says nothing about
/// their range: that is the caller's.
///
/// # Errors
/// Those of [`load_gray_in`].
pub fn load_stored(path: &Path) -> Result<StoredImage> {
    let raster = decode(path, files::read(path)?)?;
    let (stored, size) = (raster.stored, [1, 1, raster.height as i64, raster.width as i64]);
    let coloured = |pixel: &[f32]| pixel[0] != pixel[1] || pixel[1] != pixel[2];
    let colour = raster.channels >= 3 && raster.samples.chunks_exact(raster.channels).any(coloured);
    let image = Tensor::f_from_slice(&checked_gray(path, raster)?)?.f_view(size)?;
    Ok(StoredImage { image, stored, colour })
}

/// Loads all pages of a TIFF file, or all images of a stack that ImageJ has written as one page, as a volume in the range of
/// values asked for. They are made grey one by one, as [`load_gray_in`] does.
///
/// # Shapes
/// `[1, 1, D, H, W]`, float32, on the CPU, in the order of the file.
///
/// # Errors
/// Those of [`load_gray_in`]; [`Error::Content`] where pages differ in size or type, or the file is no TIFF file.
#[cfg(feature = "tiff")]
pub fn load_stack(path: &Path, range: ValueRange) -> Result<Tensor> {
    let bytes = files::read(path)?;
    if !is_tiff(&bytes) {
        return Err(Error::content(path, "is no TIFF file", "give a TIFF file with several pages"));
    }
    // One image of all rows, so that data give one range for all.
    let (raster, depth) = tiff::decode_stack(path, bytes)?;
    let size = [1, 1, depth as i64, (raster.height / depth) as i64, raster.width as i64];
    Ok(Tensor::f_from_slice(&gray_in(path, raster, range)?)?.f_view(size)?)
}

/// The grey values of a decoded image, checked, in the range asked for.
fn gray_in(path: &Path, raster: Raster, range: ValueRange) -> Result<Vec<f32>> {
    let stored = raster.stored;
    let mut pixels = checked_gray(path, raster)?;
    let (least, most) = value_range::extremes(&pixels);
    if least == most && pixels.len() > 1 {
        tracing::warn!("{}: all pixels are {}", path.display(), f64::from(least) * stored.unit);
    }
    let bits = value_range::bits_used(&pixels, stored.bits);
    if let Some(bits) = bits.filter(|_| range == ValueRange::ByType) {
        let (most, largest) = (f64::from(most) * stored.unit, (1 << bits) - 1);
        tracing::warn!(
            "{}: {bits} bits in {}: no value is above {most:.0}, so none will be above {:.4}; if {largest} is white, \
             give the range of values 0,{largest}",
            path.display(),
            stored.bits,
            most / stored.unit
        );
    }
    let taken = range.apply(&mut pixels, stored.unit, stored.kind);
    let taken = taken.map_err(|problem| Error::content(path, problem, "give a range of values"))?;
    tracing::info!("{}: values {taken}", path.display());
    Ok(pixels)
}

/// The grey values of a decoded image, checked.
fn checked_gray(path: &Path, raster: Raster) -> Result<Vec<f32>> {
    let Raster { height, width, channels, samples, .. } = raster;
    let pixels = gray(channels, samples);
    if height * width == 0 || pixels.len() != height * width {
        let problem = format!("holds {} of {height} x {width} pixels", pixels.len());
        return Err(Error::content(path, problem, SAVE_AGAIN));
    }
    if let Some(found) = NonFinite::find(&pixels, width) {
        return Err(Error::content(
            path,
            format!("has {found}"),
            "replace these pixels, e.g. by the mean of their neighbours, or crop them away",
        ));
    }
    Ok(pixels)
}

/// Saves a greyscale image as an 8-bit PNG: `round(255 clamp(v, 0, 1))`.
///
/// # Shapes
/// `[1, 1, H, W]` or `[H, W]`, any float dtype and device.
///
/// # Errors
/// [`Error::Shape`] for other shapes, an empty image or integers; [`Error::Value`] for NaN or infinite values;
/// [`Error::File`] where the file cannot be written, and then nothing is left of it.
pub fn save_png8(path: &Path, image: &Tensor) -> Result<()> {
    files::write_atomically(path, &png::encode8(&raster_to_save(image, &[1])?)?)
}

/// Saves a greyscale image as a 16-bit PNG: `round(65535 clamp(v, 0, 1))`.
///
/// # Shapes
/// `[1, 1, H, W]` or `[H, W]`, any float dtype and device.
///
/// # Errors
/// Those of [`save_png8`].
pub fn save_png16(path: &Path, image: &Tensor) -> Result<()> {
    files::write_atomically(path, &png::encode16(&raster_to_save(image, &[1])?)?)
}

/// The bytes of an 8-bit PNG file, e.g. to embed in a page: `round(255 clamp(v, 0, 1))`.
///
/// # Shapes
/// `[1, 1, H, W]` or `[H, W]` (grey) or `[1, 3, H, W]` (red, green, blue), any float dtype and device.
///
/// # Errors
/// [`Error::Shape`] and [`Error::Value`] as [`save_png8`].
pub fn encode_png8(image: &Tensor) -> Result<Vec<u8>> {
    png::encode8(&raster_to_save(image, &[1, 3])?)
}

/// Saves a greyscale image as a float32 TIFF: values as they are, not clamped, float32 exact to the bit.
///
/// NaN and infinity are written too (such a file shows where they are), but [`load_gray`] refuses them.
///
/// # Shapes
/// `[1, 1, H, W]` or `[H, W]`, any float dtype (float64 is rounded to float32) and device.
///
/// # Errors
/// [`Error::Shape`] and [`Error::File`] as [`save_png8`].
#[cfg(feature = "tiff")]
pub fn save_tiff_f32(path: &Path, image: &Tensor) -> Result<()> {
    files::write_atomically(path, &tiff::encode_f32(&raster_to_save(image, &[1])?)?)
}

/// Saves a greyscale image as a 16-bit TIFF: `round(65535 clamp(v, 0, 1))`.
///
/// # Shapes
/// `[1, 1, H, W]` or `[H, W]`, any float dtype and device.
///
/// # Errors
/// Those of [`save_png8`].
#[cfg(feature = "tiff")]
pub fn save_tiff16(path: &Path, image: &Tensor) -> Result<()> {
    let raster = raster_to_save(image, &[1])?;
    let values: Vec<u16> = png::quantize(&raster, 65535.0)?.map(|v| v as u16).collect();
    files::write_atomically(path, &tiff::encode_u16(&raster, &values)?)
}

/// Saves a greyscale image as an 8-bit TIFF: `round(255 clamp(v, 0, 1))`.
///
/// # Shapes
/// `[1, 1, H, W]` or `[H, W]`, any float dtype and device.
///
/// # Errors
/// Those of [`save_png8`].
#[cfg(feature = "tiff")]
pub fn save_tiff8(path: &Path, image: &Tensor) -> Result<()> {
    let raster = raster_to_save(image, &[1])?;
    let values: Vec<u8> = png::quantize(&raster, 255.0)?.map(|v| v as u8).collect();
    files::write_atomically(path, &tiff::encode_u8(&raster, &values)?)
}

fn decode(path: &Path, bytes: Vec<u8>) -> Result<Raster> {
    match &bytes[..] {
        [] => Err(Error::content(path, "the file is empty", SAVE_AGAIN)),
        [0x89, b'P', b'N', b'G', ..] => png::decode(path, &bytes),
        _ if is_tiff(&bytes) => {
            #[cfg(feature = "tiff")]
            return tiff::decode(path, bytes);
            #[cfg(not(feature = "tiff"))]
            Err(Error::Feature { path: path.to_owned(), format: "TIFF", feature: "tiff" })
        }
        _ => {
            let kind = image::guess_format(&bytes).map_or("of an unknown kind".into(), |f| format!("{f:?}"));
            let problem = format!("is neither a PNG nor a TIFF file (its first bytes: {kind})");
            Err(Error::content(path, problem, "convert it to PNG or TIFF"))
        }
    }
}

fn is_tiff(bytes: &[u8]) -> bool {
    matches!(bytes, [b'I', b'I', 42 | 43, 0, ..] | [b'M', b'M', 0, 42 | 43, ..])
}

fn gray(channels: usize, samples: Vec<f32>) -> Vec<f32> {
    match channels {
        1 => samples,
        2 => samples.chunks_exact(2).map(|pixel| pixel[0]).collect(),
        n => samples.chunks_exact(n).map(|pixel| luma(pixel[0], pixel[1], pixel[2])).collect(),
    }
}

fn luma(r: f32, g: f32, b: f32) -> f32 {
    if r == g && g == b {
        return r;
    }
    (0.299 * f64::from(r) + 0.587 * f64::from(g) + 0.114 * f64::from(b)) as f32
}

/// The pixels of a tensor that is to be saved, its channel count being one of `channels`.
fn raster_to_save(image: &Tensor, channels: &[i64]) -> Result<Raster> {
    const WHAT: &str = "image to save";
    let (c, h, w) = match image.size()[..] {
        [h, w] if channels.contains(&1) => (1, h, w),
        [1, c, h, w] if channels.contains(&c) => (c, h, w),
        _ => {
            let known = ["[H, W] or [1, 1, H, W]", "[1, 3, H, W]"];
            let known: Vec<_> = channels.iter().map(|&c| known[usize::from(c == 3)]).collect();
            return Err(Error::shape(WHAT, known.join(" or "), image.size()));
        }
    };
    if h * w == 0 {
        return Err(Error::shape(WHAT, "at least one pixel", image.size()));
    }
    if !image.is_floating_point() {
        return Err(Error::shape(WHAT, "float values, nominally in [0, 1]", image.kind()));
    }
    let interleaved = image.detach().f_to_device(Device::Cpu)?.f_to_kind(Kind::Float)?;
    let interleaved = interleaved.f_view([c, h, w])?.f_permute([1, 2, 0])?.f_contiguous()?.f_view([-1])?;
    let samples = Vec::<f32>::try_from(&interleaved)?;
    let stored = Stored::FLOAT;
    Ok(Raster { height: h as usize, width: w as usize, channels: c as usize, samples, stored })
}
