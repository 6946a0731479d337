//! Pictures in memory as PNG files: grey images and images with a palette of at most 256 colours.

use smalti_base::{Error, Result};
use tch::{Kind, Tensor};

/// A picture of one byte for every pixel: a grey value, or the number of a colour in `palette`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// `height * width` bytes, row by row.
    pub pixels: Vec<u8>,
    /// The colours (red, green, blue) that the bytes stand for; `None` for grey values.
    pub palette: Option<Vec<[u8; 3]>>,
}

impl Picture {
    /// The grey picture of an image `[1, 1, H, W]` whose values `window` become black and white; values beyond
    /// are cut, values that are not numbers become black.
    ///
    /// # Errors
    /// [`Error::Shape`] where the image is not `[1, 1, H, W]`.
    pub fn grey(image: &Tensor, [black, white]: [f64; 2]) -> Result<Self> {
        let (black, range) = (black as f32, (white - black) as f32);
        Self::from_tensor(image, None, |v| (((v - black) / range).clamp(0.0, 1.0) * 255.0).round() as u8)
    }

    /// The picture of an image `[1, 1, H, W]` whose values become bytes by `to_byte`.
    ///
    /// # Errors
    /// [`Error::Shape`] where the image is not `[1, 1, H, W]`.
    pub fn from_tensor(
        image: &Tensor,
        palette: Option<Vec<[u8; 3]>>,
        to_byte: impl Fn(f32) -> u8,
    ) -> Result<Self> {
        let [1, 1, height, width] = image.size()[..] else {
            return Err(Error::shape("picture", "[1, 1, H, W]", image.size()));
        };
        let flat = image.f_to_device(tch::Device::Cpu)?.f_to_kind(Kind::Float)?.f_flatten(0, -1)?;
        let values = Vec::<f32>::try_from(flat.f_contiguous()?)?;
        let pixels = values.into_iter().map(to_byte).collect();
        Ok(Self { height: height as usize, width: width as usize, pixels, palette })
    }

    /// The part of `height` x `width` pixels whose first pixel is (`top`, `left`), cut to what there is.
    pub fn part(&self, top: usize, left: usize, height: usize, width: usize) -> Self {
        let rows = top.min(self.height)..(top + height).min(self.height);
        let columns = left.min(self.width)..(left + width).min(self.width);
        let row = |y: usize| &self.pixels[y * self.width..][columns.clone()];
        Self {
            height: rows.len(),
            width: columns.len(),
            pixels: rows.flat_map(row).copied().collect(),
            palette: self.palette.clone(),
        }
    }

    /// Every pixel repeated `factor` times along rows and columns (nearest-neighbour enlargement).
    pub fn enlarged(&self, factor: usize) -> Self {
        let (height, width) = (self.height * factor, self.width * factor);
        let pixel = |i: usize| self.pixels[i / width / factor * self.width + i % width / factor];
        let pixels = (0..height * width).map(pixel).collect();
        Self { height, width, pixels, palette: self.palette.clone() }
    }

    /// The picture as the bytes of a PNG file.
    ///
    /// # Errors
    /// [`Error::Value`] where the picture is empty.
    pub fn to_png(&self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut encoder = ::png::Encoder::new(&mut bytes, self.width as u32, self.height as u32);
        encoder.set_depth(png::BitDepth::Eight);
        encoder.set_compression(png::Compression::High);
        match &self.palette {
            Some(colours) => {
                encoder.set_color(png::ColorType::Indexed);
                encoder.set_palette(colours.concat());
            }
            None => encoder.set_color(png::ColorType::Grayscale),
        }
        let wrong = |e: ::png::EncodingError| Error::value("picture", "something that PNG can hold", e);
        let mut writer = encoder.write_header().map_err(wrong)?;
        writer.write_image_data(&self.pixels).map_err(wrong)?;
        writer.finish().map_err(wrong)?;
        Ok(bytes)
    }
}

/// Bytes of a PNG file as a `data:` URI, which a page embeds.
pub fn data_uri(png: &[u8]) -> String {
    use base64::Engine;
    format!("data:image/png;base64,{}", base64::engine::general_purpose::STANDARD.encode(png))
}
