//! TensorBoard event files: scalars and images over the steps of a training.
//!
//! A file is a list of records, each an `Event` message of TensorFlow's protocol buffers between its length and
//! two masked CRC-32C checksums; the messages needed are so small that they are written here by hand.

use crate::error::{Error, Result};
use crate::image_file;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};
use tch::Tensor;

/// A file that `tensorboard --logdir FOLDER` shows.
///
/// Every record is given to the operating system at once: what was logged is there after a crash. A resumed run
/// begins another file in the same folder, and TensorBoard shows them as one.
///
/// ```
/// use smalti_base::{Seed, tensorboard::EventFile};
/// # fn main() -> smalti_base::Result<()> {
/// # let folder = tempfile::tempdir().unwrap();
/// let mut events = EventFile::create(folder.path())?;
/// events.scalar(10, "loss/training", 0.25)?;
/// events.image(10, "prediction", &Seed::new(1).at("image", 0).uniform(&[1, 1, 8, 8]))?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct EventFile {
    path: PathBuf,
    file: File,
}

impl EventFile {
    /// A new file in `folder`, which is made where it is missing.
    ///
    /// # Errors
    /// [`Error::File`] where it cannot be written.
    pub fn create(folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder).map_err(|e| Error::file(folder, "writing", e))?;
        let mut attempt = 0_u32;
        let (path, file) = loop {
            // TensorBoard knows such files by this beginning, and sorts them by name.
            let path = folder.join(format!("events.out.tfevents.{:010}.{attempt:03}", now() as u64));
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(file) => break (path, file),
                Err(e) if e.kind() == ErrorKind::AlreadyExists && attempt < 999 => attempt += 1,
                Err(e) => return Err(Error::file(&path, "writing", e)),
            }
        };
        let mut events = Self { path, file };
        events.event(0, 3, b"brain.Event:2")?;
        Ok(events)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Logs a number, rounded to float32.
    ///
    /// # Errors
    /// [`Error::File`] where it cannot be written.
    pub fn scalar(&mut self, step: u64, tag: &str, value: f64) -> Result<()> {
        let simple_value = [&[2 << 3 | 5][..], &(value as f32).to_le_bytes()].concat();
        self.value(step, tag, &simple_value)
    }

    /// Logs an image as an 8-bit PNG, `round(255 clamp(v, 0, 1))`.
    ///
    /// # Shapes
    /// `[1, 1, H, W]`, `[H, W]` or `[1, 3, H, W]`, any float dtype and device.
    ///
    /// # Errors
    /// Those of [`image_file::encode_png8`]; [`Error::File`] where it cannot be written.
    pub fn image(&mut self, step: u64, tag: &str, image: &Tensor) -> Result<()> {
        let png = image_file::encode_png8(image)?;
        let colours = if let [_, 3, _, _] = image.size()[..] { 3 } else { 1 };
        let (height, width) = match image.size()[..] {
            [.., h, w] => (h as u64, w as u64),
            _ => (0, 0),
        };
        let mut message = Vec::new();
        for (field, number) in [(1, height), (2, width), (3, colours)] {
            varint(&mut message, field << 3);
            varint(&mut message, number);
        }
        bytes(&mut message, 4, &png);
        let mut value = Vec::new();
        bytes(&mut value, 4, &message);
        self.value(step, tag, &value)
    }

    /// An event whose summary has one value: the tag and the encoded fields `content`.
    fn value(&mut self, step: u64, tag: &str, content: &[u8]) -> Result<()> {
        let (mut value, mut summary) = (Vec::new(), Vec::new());
        bytes(&mut value, 1, tag.as_bytes());
        value.extend_from_slice(content);
        bytes(&mut summary, 1, &value);
        self.event(step, 5, &summary)
    }

    /// A record: an event with wall time, step, and one field of bytes.
    fn event(&mut self, step: u64, field: u64, content: &[u8]) -> Result<()> {
        let mut event = [&[1 << 3 | 1][..], &now().to_le_bytes()].concat();
        varint(&mut event, 2 << 3);
        varint(&mut event, step);
        bytes(&mut event, field, content);
        let length = (event.len() as u64).to_le_bytes();
        let sum = |data: &[u8]| masked(crc32c::crc32c(data)).to_le_bytes();
        let record = [&length[..], &sum(&length), &event, &sum(&event)].concat();
        self.file.write_all(&record).map_err(|e| Error::file(&self.path, "writing", e))
    }
}

/// The checksum as the format wants it: rotated and shifted, so that sums of sums are no special values.
fn masked(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

/// Seconds since 1970.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |t| t.as_secs_f64())
}

/// A number in the variable-length code of protocol buffers: 7 bits a byte, the lowest first.
fn varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// A field that holds bytes.
fn bytes(out: &mut Vec<u8>, field: u64, content: &[u8]) {
    varint(out, field << 3 | 2);
    varint(out, content.len() as u64);
    out.extend_from_slice(content);
}
