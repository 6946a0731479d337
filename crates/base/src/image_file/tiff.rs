//! TIFF: decoding the first page, encoding float32.

use super::raster::{LARGEST_DECODED_BYTES, Raster, SAVE_AGAIN};
use crate::error::{Error, Result};
use std::{io::Cursor, path::Path};
use tiff::decoder::{Decoder, DecodingResult, Limits};
use tiff::encoder::{TiffEncoder, colortype::Gray32Float};
use tiff::tags::Tag;
use tiff::{ColorType, TiffError};

pub(super) fn decode(path: &Path, bytes: &[u8]) -> Result<Raster> {
    let refuse = |e: TiffError| {
        let answer = e.to_string().replace('\n', " ");
        let (how, remedy) = match e {
            TiffError::UnsupportedError(_) => ("is a TIFF file of a kind that is not supported", SAVE_PLAIN),
            _ => ("cannot be decoded as TIFF", SAVE_AGAIN),
        };
        Error::content(path, format!("{how} ({answer})"), remedy)
    };
    let mut limits = Limits::default();
    limits.decoding_buffer_size = LARGEST_DECODED_BYTES;
    limits.intermediate_buffer_size = LARGEST_DECODED_BYTES;
    limits.ifd_value_size = bytes.len();
    let mut decoder = Decoder::new(Cursor::new(bytes)).map_err(refuse)?.with_limits(limits);
    if decoder.more_images() {
        tracing::warn!("{}: has more than one page, only the first is read", path.display());
    }
    let (width, height) = decoder.dimensions().map_err(refuse)?;
    let color = decoder.colortype().map_err(refuse)?;
    let planar = decoder.find_tag_unsigned::<u16>(Tag::PlanarConfiguration).map_err(refuse)? == Some(2);
    let unsupported = |what: String| Error::content(path, format!("holds {what}"), SAVE_PLAIN);
    let channels = match color {
        ColorType::Gray(8 | 16 | 32 | 64) => 1,
        _ if planar => return Err(unsupported("separate colour planes".into())),
        ColorType::GrayA(8 | 16 | 32 | 64) => 2,
        ColorType::RGB(8 | 16 | 32 | 64) => 3,
        ColorType::RGBA(8 | 16 | 32 | 64) => 4,
        other => return Err(unsupported(format!("{other:?} pixels, which are not supported"))),
    };
    let samples = scale(decoder.read_image().map_err(refuse)?);
    Ok(Raster { height: height as usize, width: width as usize, channels, samples })
}

const SAVE_PLAIN: &str =
    "save it as a grey or RGB image of 8, 16 or 32 bits, without compression or with zlib";

fn scale(stored: DecodingResult) -> Vec<f32> {
    fn each<T: Copy>(stored: Vec<T>, value: impl Fn(T) -> f32) -> Vec<f32> {
        stored.into_iter().map(value).collect()
    }
    match stored {
        DecodingResult::U8(v) => each(v, |v| f32::from(v) / f32::from(u8::MAX)),
        DecodingResult::U16(v) => each(v, |v| f32::from(v) / f32::from(u16::MAX)),
        DecodingResult::U32(v) => each(v, |v| (f64::from(v) / f64::from(u32::MAX)) as f32),
        DecodingResult::U64(v) => each(v, |v| (v as f64 / u64::MAX as f64) as f32),
        DecodingResult::I8(v) => each(v, |v| f32::from(v) / f32::from(i8::MAX)),
        DecodingResult::I16(v) => each(v, |v| f32::from(v) / f32::from(i16::MAX)),
        DecodingResult::I32(v) => each(v, |v| (f64::from(v) / f64::from(i32::MAX)) as f32),
        DecodingResult::I64(v) => each(v, |v| (v as f64 / i64::MAX as f64) as f32),
        DecodingResult::F16(v) => each(v, |v| v.to_f32()),
        DecodingResult::F32(v) => v,
        DecodingResult::F64(v) => each(v, |v| v as f32),
    }
}

pub(super) fn encode_f32(raster: &Raster) -> Result<Vec<u8>> {
    let mut file = Cursor::new(Vec::new());
    TiffEncoder::new(&mut file)
        .and_then(|mut encoder| {
            encoder.write_image::<Gray32Float>(raster.width as u32, raster.height as u32, &raster.samples)
        })
        .map_err(|e| Error::value("image to save as TIFF", "an image that TIFF can hold", e))?;
    Ok(file.into_inner())
}
