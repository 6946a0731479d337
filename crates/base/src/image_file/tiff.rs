//! TIFF: decoding a page or a stack, encoding float32.

mod directory;

use super::raster::{Raster, SAVE_AGAIN};
use crate::error::{Error, Result};
use crate::files::{LARGEST_DECODED_BYTES, check_room};
use crate::value_range::Stored;
use directory::Page;
use std::{io::Cursor, path::Path};
use tiff::decoder::{ChunkType, Decoder, DecodingResult, Limits};
use tiff::encoder::colortype::{ColorType as Encoded, Gray8, Gray16, Gray32Float};
use tiff::encoder::{TiffEncoder, TiffValue};
use tiff::tags::{CompressionMethod, Tag};
use tiff::{ColorType, TiffError};

const SAVE_PLAIN: &str =
    "save it as a grey or RGB image of 8, 16 or 32 bits, without compression or with zlib";

/// The first page.
pub(super) fn decode(path: &Path, mut bytes: Vec<u8>) -> Result<Raster> {
    let pages = directory::rewrite(&mut bytes);
    let mut reader = Reader::new(path, &bytes)?;
    let (raster, others) = (reader.page(pages.first())?, reader.images_of_imagej()?);
    let (number, kind) = match pages.len() {
        0 | 1 => (others, "images (a stack of ImageJ)"),
        n => (n as u64, "pages"),
    };
    if number > 1 {
        tracing::warn!("{}: has {number} {kind}, only the first is read; a stack reads all", path.display());
    }
    Ok(raster)
}

/// All pages, one below the other, and their number.
pub(super) fn decode_stack(path: &Path, mut bytes: Vec<u8>) -> Result<(Raster, usize)> {
    let pages = directory::rewrite(&mut bytes);
    let mut reader = Reader::new(path, &bytes)?;
    if let ([page], number @ 2..) = (&pages[..], reader.images_of_imagej()?) {
        // One page stands for all, whose pixels follow those of the first: so it is made to have all rows.
        let rows = reader.rows_of_imagej(number)?;
        directory::set(&mut bytes, page, &rows);
        let raster = Reader::new(path, &bytes)?.page(Some(page))?;
        return Ok((raster, usize::try_from(number).unwrap_or(1)));
    }
    let mut all = reader.page(pages.first())?;
    let (values, bytes_each) = (all.samples.len() as u64, 4 * pages.len() as u64);
    check_room(path, &format!("{} pages", pages.len()), values.checked_mul(bytes_each), u64::MAX, 3)?;
    let first = all.height;
    for (k, page) in pages.iter().enumerate().skip(1) {
        reader.next()?;
        let next = reader.page(Some(page))?;
        let of = |raster: &Raster, height| (height, raster.width, raster.channels, raster.stored.kind);
        let (expected, got) = (of(&all, first), of(&next, next.height));
        if got != expected {
            let problem = format!(
                "page {k} (counted from 0) is {got:?} (rows, columns, samples, type), the first {expected:?}"
            );
            return Err(Error::content(path, problem, "give a file whose pages are of one kind"));
        }
        all.samples.extend(next.samples);
    }
    all.height *= pages.len();
    Ok((all, pages.len()))
}

struct Reader<'a> {
    path: &'a Path,
    bytes: &'a [u8],
    decoder: Decoder<Cursor<&'a [u8]>>,
}

/// What a page is like.
struct Head {
    width: u64,
    height: u64,
    samples: u64,
    bits: u64,
    planar: bool,
    compression: CompressionMethod,
}

impl Head {
    /// Samples that lie side by side.
    fn interleaved(&self) -> u64 {
        if self.planar { 1 } else { self.samples }
    }

    /// Bytes of `columns` pixels of one row, and plane if there are planes.
    fn row_bytes(&self, columns: u64) -> Option<u64> {
        Some(columns.checked_mul(self.interleaved())?.checked_mul(self.bits)?.div_ceil(8))
    }
}

impl<'a> Reader<'a> {
    fn new(path: &'a Path, bytes: &'a [u8]) -> Result<Self> {
        let mut limits = Limits::default();
        limits.decoding_buffer_size = LARGEST_DECODED_BYTES as usize;
        limits.intermediate_buffer_size = LARGEST_DECODED_BYTES as usize;
        limits.ifd_value_size = bytes.len();
        let decoder = Decoder::new(Cursor::new(bytes)).map_err(|e| refuse(path, e))?.with_limits(limits);
        Ok(Self { path, bytes, decoder })
    }

    fn next(&mut self) -> Result<()> {
        self.decoder.next_image().map_err(|e| refuse(self.path, e))
    }

    fn number(&mut self, tag: Tag) -> Result<Option<u64>> {
        self.decoder.find_tag_unsigned(tag).map_err(|e| refuse(self.path, e))
    }

    fn numbers(&mut self, tag: Tag) -> Result<Vec<u64>> {
        let found = self.decoder.find_tag_unsigned_vec(tag).map_err(|e| refuse(self.path, e))?;
        Ok(found.unwrap_or_default())
    }

    fn unsupported(&self, what: impl std::fmt::Display) -> Error {
        Error::content(self.path, format!("holds {what}"), SAVE_PLAIN)
    }

    fn damaged(&self, problem: impl Into<String>) -> Error {
        Error::content(self.path, problem, SAVE_AGAIN)
    }

    /// How many images ImageJ says to have written one after the other as this one page; 1 where it says nothing.
    fn images_of_imagej(&mut self) -> Result<u64> {
        let said = self.decoder.find_tag(Tag::ImageDescription).map_err(|e| refuse(self.path, e))?;
        let text = said.and_then(|value| value.into_string().ok()).unwrap_or_default();
        let number = text
            .strip_prefix("ImageJ=")
            .and_then(|text| text.lines().find_map(|line| line.trim().strip_prefix("images=")?.parse().ok()));
        Ok(number.unwrap_or(1))
    }

    /// The tags of a page of ImageJ, as if all its images were one below the other.
    fn rows_of_imagej(&mut self, images: u64) -> Result<[(u16, u32); 3]> {
        let head = self.head()?;
        let single = [directory::STRIP_OFFSETS, directory::STRIP_BYTE_COUNTS];
        let mut strips = single.map(|tag| self.numbers(Tag::from_u16_exhaustive(tag)).map(|of| of.len()));
        if head.compression != CompressionMethod::None
            || head.planar
            || !strips.iter_mut().all(|n| matches!(n, Ok(1)))
        {
            return Err(
                self.unsupported(format!("{images} images as one page (ImageJ), compressed or in pieces"))
            );
        }
        let rows = head.height.checked_mul(images);
        let bytes = rows.and_then(|rows| head.row_bytes(head.width)?.checked_mul(rows));
        let what = format!("{images} images of {} x {} pixels", head.width, head.height);
        check_room(self.path, &what, bytes, self.bytes.len() as u64, 1)?;
        let number = |n: Option<u64>| n.and_then(|n| u32::try_from(n).ok()).unwrap_or(u32::MAX);
        let (rows, bytes) = (number(rows), number(bytes));
        Ok([
            (directory::IMAGE_LENGTH, rows),
            (directory::ROWS_PER_STRIP, rows),
            (directory::STRIP_BYTE_COUNTS, bytes),
        ])
    }

    fn head(&mut self) -> Result<Head> {
        let (width, height) = self.decoder.dimensions().map_err(|e| refuse(self.path, e))?;
        let (bits, samples) = match self.decoder.colortype().map_err(|e| refuse(self.path, e))? {
            ColorType::Gray(bits) => (bits, 1),
            ColorType::Multiband { bit_depth, num_samples } => (bit_depth, num_samples),
            other => return Err(self.unsupported(format!("{other:?} pixels, which are not supported"))),
        };
        let compression = match self.number(Tag::Compression)?.map(u16::try_from) {
            None => CompressionMethod::None,
            Some(number) => CompressionMethod::from_u16_exhaustive(number.unwrap_or(0)),
        };
        Ok(Head {
            width: width.into(),
            height: height.into(),
            samples: samples.into(),
            bits: bits.into(),
            planar: self.number(Tag::PlanarConfiguration)? == Some(2) && samples > 1,
            compression,
        })
    }

    /// Decodes the page where the decoder is; `page` says what its directory was before it was rewritten.
    fn page(&mut self, page: Option<&Page>) -> Result<Raster> {
        let head = self.head()?;
        let Some(photometric) = page.and_then(|page| page.photometric) else {
            return Err(
                self.unsupported("pixels whose meaning it does not say (tag PhotometricInterpretation)")
            );
        };
        if !matches!(head.bits, 1..=8 | 16 | 32 | 64) {
            return Err(self.unsupported(format!("pixels of {} bits", head.bits)));
        }
        if self.number(Tag::FillOrder)?.is_some_and(|order| order != 1) {
            return Err(self.unsupported("bits in reversed order (tag FillOrder)"));
        }
        self.check_meaning(&head, photometric, page.is_some_and(|page| page.alpha))?;
        self.check_size(&head)?;
        if self.number(Tag::Orientation)?.is_some_and(|orientation| orientation != 1) {
            tracing::warn!("{}: asks to be turned or mirrored, which is not done", self.path.display());
        }
        let mut stored = DecodingResult::U8(Vec::new());
        self.decoder.read_image_to_buffer(&mut stored).map_err(|e| refuse(self.path, e))?;
        let (width, height) = (head.width as usize, head.height as usize);
        let (mut channels, rows) =
            (head.samples as usize, if head.planar { head.samples * head.height } else { head.height });
        if head.bits < 8 {
            let DecodingResult::U8(packed) = stored else {
                return Err(self.unsupported(format!("signed pixels of {} bits", head.bits)));
            };
            stored = DecodingResult::U8(unpack(
                &packed,
                rows as usize,
                width * head.interleaved() as usize,
                head.bits,
            ));
        }
        if head.planar {
            stored = interleave(stored, channels);
        }
        use DecodingResult as D;
        let map = if photometric == 3 { self.palette(&head)? } else { Vec::new() };
        let (mut samples, stored) = match (photometric, stored) {
            (0, D::I8(_) | D::I16(_) | D::I32(_) | D::I64(_)) => {
                return Err(self.unsupported("signed integers of which 0 is white"));
            }
            (0, stored) => numbers(stored, head.bits as u32, true),
            (3, D::U8(index)) => (colours(&map, index.into_iter().map(usize::from)), PALETTE),
            (3, D::U16(index)) => (colours(&map, index.into_iter().map(usize::from)), PALETTE),
            (3, _) => return Err(self.unsupported("a palette whose numbers are no integers of 8 or 16 bits")),
            (_, stored) => numbers(stored, head.bits as u32, false),
        };
        match photometric {
            3 => channels = 3,
            // Y is the luma.
            6 => {
                samples = samples.chunks_exact(3).map(|pixel| pixel[0]).collect();
                channels = 1;
            }
            _ => {}
        }
        if samples.len() != width * height * channels {
            let problem = format!("holds {} of {} samples", samples.len(), width * height * channels);
            return Err(self.damaged(problem));
        }
        Ok(Raster { height, width, channels, samples, stored })
    }

    /// Whether grey values can be made of these samples.
    fn check_meaning(&mut self, head: &Head, photometric: u16, alpha: bool) -> Result<()> {
        let name = match photometric {
            0 | 1 if head.samples == 1 || (head.samples == 2 && alpha) => return Ok(()),
            0 | 1 => {
                return Err(self.unsupported(format!("{} samples a pixel that are no colour", head.samples)));
            }
            2 if head.samples >= 3 => return Ok(()),
            3 if head.samples == 1 => return Ok(()),
            6 if head.samples == 3 => {
                let whole = self.numbers(Tag::ChromaSubsampling)? == [1, 1];
                if head.compression == CompressionMethod::ModernJPEG || whole {
                    return Ok(());
                }
                "YCbCr, subsampled,"
            }
            2 => "RGB",
            3 => "palette",
            4 => "mask",
            5 => "CMYK",
            6 => "YCbCr",
            8..=10 => "CIE Lab",
            32803 => "colour filter",
            32844 | 32845 => "LogLuv",
            _ => "unknown",
        };
        let n = head.samples;
        Err(self.unsupported(format!(
            "{name} pixels of {n} samples (interpretation {photometric}), which are not supported"
        )))
    }

    /// Whether the pieces of the page are in the file, and can be as large as its head announces.
    fn check_size(&mut self, head: &Head) -> Result<()> {
        let (tiles, (piece_width, piece_height)) =
            (self.decoder.get_chunk_type() == ChunkType::Tile, self.decoder.chunk_dimensions());
        let (piece_width, piece_height) = (u64::from(piece_width), u64::from(piece_height));
        let [offsets, counts] = if tiles {
            [self.numbers(Tag::TileOffsets)?, self.numbers(Tag::TileByteCounts)?]
        } else {
            [self.numbers(Tag::StripOffsets)?, self.numbers(Tag::StripByteCounts)?]
        };
        if head.planar && tiles && !head.height.is_multiple_of(piece_height) {
            return Err(self.unsupported("separate colour planes in tiles that do not fit its height"));
        }
        let factor = match head.compression {
            CompressionMethod::None => 1,
            CompressionMethod::PackBits => 64,
            CompressionMethod::Deflate | CompressionMethod::OldDeflate => 1032,
            // A row of any width, a block of a Zstandard file, is a few bits.
            _ => 1 << 16,
        };
        let planes = if head.planar { head.samples } else { 1 };
        let bytes =
            head.row_bytes(head.width).and_then(|row| row.checked_mul(head.height)?.checked_mul(planes));
        let stored = counts.iter().fold(0_u64, |sum, &count| sum.saturating_add(count));
        let what = format!("{} x {} pixels", head.width, head.height);
        check_room(self.path, &what, bytes, stored.saturating_mul(factor), 1)?;
        // Decoded, as floats, as grey ones and as a tensor.
        let copies = head.samples * (head.bits.div_ceil(8) + 4) + 8;
        let floats = head.width.checked_mul(head.height).and_then(|n| n.checked_mul(4));
        check_room(self.path, &what, floats, u64::MAX, copies.div_ceil(4))?;

        let down = head.height.div_ceil(piece_height).max(1);
        let piece = if tiles { "tile" } else { "strip" };
        for (k, (&offset, &count)) in offsets.iter().zip(&counts).enumerate() {
            // The last strip of a plane may be shorter.
            let above = if tiles { 0 } else { k as u64 % down * piece_height };
            let rows = piece_height.min(head.height.saturating_sub(above).max(1));
            let whole = self.bytes.len() as u64;
            let range = offset
                .checked_add(count)
                .filter(|&end| end <= whole)
                .map(|end| offset as usize..end as usize);
            let Some(stored) =
                range.and_then(|range| self.bytes.get(range)).filter(|stored| !stored.is_empty())
            else {
                let problem =
                    format!("{piece} {k} is not in the file: {count} bytes from {offset} of {whole}");
                return Err(self.damaged(problem));
            };
            if head.compression == CompressionMethod::None {
                let rows = if tiles { piece_height } else { rows };
                let needed = head.row_bytes(piece_width).and_then(|row| row.checked_mul(rows));
                if needed.is_none_or(|needed| needed > count) {
                    return Err(self.damaged(format!("{piece} {k} has only {count} bytes")));
                }
            }
            if head.compression == CompressionMethod::ModernJPEG {
                let (samples, width) = (head.interleaved(), piece_width);
                let fits = jpeg_size(stored).is_some_and(|(bits, h, w, n)| {
                    bits == 8 && w == width && (rows..=piece_height).contains(&h) && n == samples
                });
                if !fits || head.bits != 8 {
                    let problem = format!(
                        "the JPEG of {piece} {k} is no image of {width} x {rows} pixels of {samples} x 8 bits"
                    );
                    return Err(self.damaged(problem));
                }
            }
        }
        Ok(())
    }

    /// The colours of a palette, red, green and blue each, in `[0, 1]`.
    fn palette(&mut self, head: &Head) -> Result<Vec<[f32; 3]>> {
        let map = self.numbers(Tag::ColorMap)?;
        let n = 1_usize << head.bits.min(16);
        if map.len() != 3 * n || map.iter().any(|&v| v > u64::from(u16::MAX)) {
            return Err(self.damaged(format!("has a palette of {} numbers, expected {}", map.len(), 3 * n)));
        }
        // Some programs write numbers of 8 bits.
        let largest = if map.iter().all(|&v| v < 256) { f32::from(u8::MAX) } else { f32::from(u16::MAX) };
        Ok((0..n).map(|k| [0, 1, 2].map(|c| map[c * n + k] as f32 / largest)).collect())
    }
}

fn refuse(path: &Path, e: TiffError) -> Error {
    let answer = e.to_string().replace('\n', " ");
    let (how, remedy) = match e {
        TiffError::UnsupportedError(_) => ("is a TIFF file of a kind that is not supported", SAVE_PLAIN),
        _ => ("cannot be decoded as TIFF", SAVE_AGAIN),
    };
    Error::content(path, format!("{how} ({answer})"), remedy)
}

const PALETTE: Stored = Stored { kind: "palette", unit: u16::MAX as f64, bits: 0 };

fn colours(map: &[[f32; 3]], index: impl Iterator<Item = usize>) -> Vec<f32> {
    index.filter_map(|k| map.get(k)).flatten().copied().collect()
}

/// Bits of a sample, rows, columns and samples a pixel of a JPEG file, as its first frame says.
fn jpeg_size(bytes: &[u8]) -> Option<(u64, u64, u64, u64)> {
    let mut at = 2;
    loop {
        while bytes.get(at)? == &0xff && bytes.get(at + 1)? == &0xff {
            at += 1;
        }
        let &[0xff, marker, high, low] = bytes.get(at..)?.first_chunk()? else { return None };
        if matches!(marker, 0xc0..=0xcf) && !matches!(marker, 0xc4 | 0xc8 | 0xcc) {
            let &[bits, a, b, c, d, n] = bytes.get(at + 4..)?.first_chunk()?;
            let [height, width] = [[a, b], [c, d]].map(|size| u64::from(u16::from_be_bytes(size)));
            return Some((bits.into(), height, width, n.into()));
        }
        at += 2 + usize::from(u16::from_be_bytes([high, low]));
    }
}

/// Samples of fewer than 8 bits, the first one in the highest bits, every row beginning with a byte.
fn unpack(packed: &[u8], rows: usize, columns: usize, bits: u64) -> Vec<u8> {
    let row_bytes = (columns * bits as usize).div_ceil(8);
    let mut samples = Vec::with_capacity(rows * columns);
    for row in packed.chunks_exact(row_bytes.max(1)).take(rows) {
        samples.extend((0..columns).map(|k| {
            let bit = |b: usize| row[b / 8] >> (7 - b % 8) & 1;
            (0..bits as usize).fold(0, |sample, b| sample << 1 | bit(k * bits as usize + b))
        }));
    }
    samples
}

/// Planes one after the other become pixels.
fn interleave(stored: DecodingResult, channels: usize) -> DecodingResult {
    fn each<T: Copy>(planes: &[T], channels: usize) -> Vec<T> {
        let n = planes.len() / channels;
        (0..n).flat_map(|k| (0..channels).map(move |c| planes[c * n + k])).collect()
    }
    use DecodingResult as D;
    match stored {
        D::U8(v) => D::U8(each(&v, channels)),
        D::U16(v) => D::U16(each(&v, channels)),
        D::U32(v) => D::U32(each(&v, channels)),
        D::U64(v) => D::U64(each(&v, channels)),
        D::I8(v) => D::I8(each(&v, channels)),
        D::I16(v) => D::I16(each(&v, channels)),
        D::I32(v) => D::I32(each(&v, channels)),
        D::I64(v) => D::I64(each(&v, channels)),
        D::F16(v) => D::F16(each(&v, channels)),
        D::F32(v) => D::F32(each(&v, channels)),
        D::F64(v) => D::F64(each(&v, channels)),
    }
}

/// Samples divided by the largest value of their type; unsigned integers of images where white is 0 are inverted.
fn numbers(stored: DecodingResult, bits: u32, white_is_zero: bool) -> (Vec<f32>, Stored) {
    fn each<T: Copy>(stored: Vec<T>, value: impl Fn(T) -> f32) -> Vec<f32> {
        stored.into_iter().map(value).collect()
    }
    let w = white_is_zero;
    let small = ((1_u16 << bits.min(8)) - 1) as u8;
    match stored {
        DecodingResult::U8(v) => {
            (each(v, |v| f32::from(if w { small - v } else { v }) / f32::from(small)), Stored::unsigned(bits))
        }
        DecodingResult::U16(v) => {
            (each(v, |v| f32::from(if w { !v } else { v }) / f32::from(u16::MAX)), Stored::unsigned(16))
        }
        DecodingResult::U32(v) => (
            each(v, |v| (f64::from(if w { !v } else { v }) / f64::from(u32::MAX)) as f32),
            Stored::unsigned(32),
        ),
        DecodingResult::U64(v) => {
            (each(v, |v| ((if w { !v } else { v }) as f64 / u64::MAX as f64) as f32), Stored::unsigned(64))
        }
        DecodingResult::I8(v) => (each(v, |v| f32::from(v) / f32::from(i8::MAX)), Stored::signed(8)),
        DecodingResult::I16(v) => (each(v, |v| f32::from(v) / f32::from(i16::MAX)), Stored::signed(16)),
        DecodingResult::I32(v) => {
            (each(v, |v| (f64::from(v) / f64::from(i32::MAX)) as f32), Stored::signed(32))
        }
        DecodingResult::I64(v) => (each(v, |v| (v as f64 / i64::MAX as f64) as f32), Stored::signed(64)),
        DecodingResult::F16(v) => (each(v, |v| v.to_f32()), Stored::FLOAT),
        DecodingResult::F32(v) => (v, Stored::FLOAT),
        DecodingResult::F64(v) => (each(v, |v| v as f32), Stored::FLOAT),
    }
}

/// Floats as they are.
pub(super) fn encode_f32(raster: &Raster) -> Result<Vec<u8>> {
    encode::<Gray32Float>(raster, &raster.samples)
}

/// Integers of 8 bits.
pub(super) fn encode_u8(raster: &Raster, values: &[u8]) -> Result<Vec<u8>> {
    encode::<Gray8>(raster, values)
}

/// Integers of 16 bits.
pub(super) fn encode_u16(raster: &Raster, values: &[u16]) -> Result<Vec<u8>> {
    encode::<Gray16>(raster, values)
}

fn encode<C: Encoded>(raster: &Raster, values: &[C::Inner]) -> Result<Vec<u8>>
where
    [C::Inner]: TiffValue,
{
    let mut file = Cursor::new(Vec::new());
    TiffEncoder::new(&mut file)
        .and_then(|mut encoder| encoder.write_image::<C>(raster.width as u32, raster.height as u32, values))
        .map_err(|e| Error::value("image to save as TIFF", "an image that TIFF can hold", e))?;
    Ok(file.into_inner())
}
