//! PNG: decoding all kinds, encoding 8 and 16 bits.

use super::raster::{NonFinite, Raster, SAVE_AGAIN};
use crate::error::{Error, Result};
use crate::files::{LARGEST_DECODED_BYTES, check_room, deflated_at_most};
use crate::value_range::Stored;
use image::codecs::png::{CompressionType, FilterType, PngDecoder, PngEncoder};
use image::{DynamicImage, ExtendedColorType, ImageEncoder, ImageResult, Limits};
use std::{io::Cursor, path::Path};

pub(super) fn decode(path: &Path, bytes: &[u8]) -> Result<Raster> {
    check_size(path, bytes)?;
    let image = open(bytes).map_err(|e| {
        let answer = e.to_string().replace('\n', " ");
        Error::content(path, format!("cannot be decoded as PNG ({answer})"), SAVE_AGAIN)
    })?;
    let (width, height) = (image.width() as usize, image.height() as usize);
    let channels = usize::from(image.color().channel_count());
    let (samples, stored) = match &image {
        DynamicImage::ImageLuma16(_)
        | DynamicImage::ImageLumaA16(_)
        | DynamicImage::ImageRgb16(_)
        | DynamicImage::ImageRgba16(_) => {
            let value = |b: &[u8]| f32::from(u16::from_ne_bytes([b[0], b[1]])) / f32::from(u16::MAX);
            (image.as_bytes().chunks_exact(2).map(value).collect(), Stored::unsigned(16))
        }
        _ => {
            let value = |&v: &u8| f32::from(v) / f32::from(u8::MAX);
            // Grey of 1, 2 or 4 bits is decoded to as much of 255.
            let bits = match bytes.get(24..26) {
                Some(&[bits @ 1..8, 0]) => bits,
                _ => 8,
            };
            (image.as_bytes().iter().map(value).collect(), Stored::unsigned(u32::from(bits)))
        }
    };
    Ok(Raster { height, width, channels, samples, stored })
}

/// The library takes memory for whatever size the head of the file announces.
fn check_size(path: &Path, bytes: &[u8]) -> Result<()> {
    if bytes.get(12..16) != Some(b"IHDR") {
        return Ok(()); // no PNG, as decoding says
    }
    // Signature, length and name of the chunk IHDR, then width, height, bits of a sample and kind of colour.
    let Some(&[a, b, c, d, e, f, g, h, bits, colour]) = bytes.get(16..).and_then(|head| head.first_chunk())
    else {
        return Ok(());
    };
    let [width, height] = [[a, b, c, d], [e, f, g, h]].map(|size| u64::from(u32::from_be_bytes(size)));
    let samples = match colour {
        2 => 3,
        4 => 2,
        6 => 4,
        _ => 1,
    };
    let pixels = |bits: u64| width.checked_mul(bits)?.div_ceil(8).checked_mul(height);
    let what = format!("{width} x {height} pixels");
    let most = deflated_at_most(bytes.len() as u64);
    check_room(path, &what, pixels(samples * u64::from(bits)), most, 1)?;
    // A palette becomes colour, transparency a sample more; then floats of all samples, and of grey twice.
    let expanded = pixels(32 * if bits == 16 { 2 } else { 1 });
    check_room(path, &what, expanded, u64::MAX, 8)
}

fn open(bytes: &[u8]) -> ImageResult<DynamicImage> {
    let mut limits = Limits::default();
    limits.max_alloc = Some(LARGEST_DECODED_BYTES);
    DynamicImage::from_decoder(PngDecoder::with_limits(Cursor::new(bytes), limits)?)
}

pub(super) fn encode8(raster: &Raster) -> Result<Vec<u8>> {
    let bytes: Vec<u8> = quantize(raster, 255.0)?.map(|v| v as u8).collect();
    let color = if raster.channels == 3 { ExtendedColorType::Rgb8 } else { ExtendedColorType::L8 };
    encode(raster, &bytes, color)
}

pub(super) fn encode16(raster: &Raster) -> Result<Vec<u8>> {
    let bytes: Vec<u8> = quantize(raster, 65535.0)?.flat_map(|v| (v as u16).to_ne_bytes()).collect();
    encode(raster, &bytes, ExtendedColorType::L16)
}

pub(super) fn quantize(raster: &Raster, largest: f64) -> Result<impl Iterator<Item = f64>> {
    if let Some(mut found) = NonFinite::find(&raster.samples, raster.width * raster.channels) {
        found.column /= raster.channels;
        return Err(Error::value("image to save", "finite values", found));
    }
    Ok(raster.samples.iter().map(move |&v| (f64::from(v).clamp(0.0, 1.0) * largest).round()))
}

fn encode(raster: &Raster, bytes: &[u8], color: ExtendedColorType) -> Result<Vec<u8>> {
    let mut file = Vec::new();
    PngEncoder::new_with_quality(&mut file, CompressionType::Default, FilterType::Adaptive)
        .write_image(bytes, raster.width as u32, raster.height as u32, color)
        .map_err(|e| Error::value("image to save as PNG", "an image that PNG can hold", e))?;
    Ok(file)
}
