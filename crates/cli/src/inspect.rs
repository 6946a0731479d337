//! `smalti inspect`: what a file holds.

use crate::arguments::Inspect;
use crate::context::{Context, json};
use crate::fault::Fault;
use crate::images::{Measured, Place, short};
use crate::noise;
use serde::Serialize;
use serde_json::json;
use smalti_base::value_range::bits_used;
use smalti_base::{Error, Result, checkpoint, files, hdf5_file, npy_file, npz_file, pytorch_file};
use std::collections::BTreeMap;
use std::io::Read;
use tch::{Kind, Tensor};

/// An array or tensor of a file.
#[derive(Debug, Serialize)]
struct Part {
    name: String,
    kind: String,
    shape: Vec<u64>,
}

/// Metadata longer than this is cut for a terminal.
const LONGEST: usize = 100;

/// Runs the command.
pub(crate) fn run(options: &Inspect, context: &Context) -> Result<(), Fault> {
    let place = Place::parse(&options.file);
    let path = &place.path;
    let mut start = Vec::new();
    let file = std::fs::File::open(path).map_err(|e| Error::file(path, "reading", e))?;
    if path.is_dir() {
        return Err(Error::content(path, "is a folder", "name a file in it").into());
    }
    file.take(8).read_to_end(&mut start).map_err(|e| Error::file(path, "reading", e))?;
    let end = crate::images::end(path);
    let shape = |t: &Tensor| t.size().iter().map(|&n| n as u64).collect();
    let tensors = |all: BTreeMap<String, Tensor>| -> Vec<Part> {
        all.into_iter()
            .map(|(name, t)| Part { shape: shape(&t), kind: format!("{:?}", t.kind()), name })
            .collect()
    };
    let (what, parts, metadata) = match &start[..] {
        [0x89, b'H', b'D', b'F', ..] | [b'M', b'A', b'T', b'L', ..] if place.array.is_none() => {
            let all = hdf5_file::list(path)?;
            let parts =
                all.into_iter().map(|of| Part { name: of.name, kind: of.kind, shape: of.shape }).collect();
            ("HDF5", parts, BTreeMap::new())
        }
        [b'P', b'K', ..] if end == "npz" && place.array.is_none() => {
            ("archive of numpy (floats of it)", tensors(npz_file::load(path)?), BTreeMap::new())
        }
        [b'P', b'K', ..] if end != "npz" => {
            ("state of PyTorch", tensors(pytorch_file::load_state_dict(path)?), BTreeMap::new())
        }
        [0x80, ..] if ["pt", "pth"].contains(&end.as_str()) => {
            ("state of PyTorch", tensors(pytorch_file::load_state_dict(path)?), BTreeMap::new())
        }
        _ if end == "safetensors" => {
            let head = checkpoint::head(path)?;
            let part = |(name, kind, shape): (String, String, Vec<usize>)| Part {
                name,
                kind,
                shape: shape.into_iter().map(|n| n as u64).collect(),
            };
            let what = if head.metadata.contains_key("smalti_version") {
                "checkpoint of Smalti"
            } else {
                "safetensors"
            };
            (what, head.tensors.into_iter().map(part).collect(), head.metadata)
        }
        start if start.starts_with(npy_file::MAGIC) && npy_file::load(path)?.0.dim() < 2 => {
            let (values, stored) = npy_file::load(path)?;
            let part = Part { name: "array".into(), kind: stored.kind.into(), shape: shape(&values) };
            ("array of numpy", vec![part], BTreeMap::new())
        }
        _ => return image(&place, context),
    };
    let bytes = files::read(path)?;
    let mut text = format!("{}: {what}, {} bytes\n", path.display(), bytes.len());
    for Part { name, kind, shape } in &parts {
        text += &format!("  {name:40} {kind:10} {shape:?}\n");
    }
    for (key, value) in &metadata {
        let short: String = value.chars().take(LONGEST).collect();
        let more = if short.len() < value.len() { "..." } else { "" };
        text += &format!("  {key} = {short}{more}\n");
    }
    context.answer(&text, || {
        json!({
            "file": path.display().to_string(),
            "what": what,
            "sha256": checkpoint::bytes_hash(&bytes),
            "parts": json(&parts),
            "metadata": metadata,
        })
    })
}

/// An image, or what is said about a file that is none.
fn image(place: &Place, context: &Context) -> Result<(), Fault> {
    let image = Measured::read(place)?;
    let described = image.describe()?;
    let (mean, deviation) = moments(&image)?;
    let largest = [(image.extremes[1] / image.stored.unit) as f32];
    let bits = bits_used(&largest, image.stored.bits);
    let sigma = noise::estimate(&image.values).ok().map(|sigma| sigma * image.stored.unit);
    let mut text = format!("{}\n", described.line());
    text += &format!("  mean {}, standard deviation {}\n", short(mean), short(deviation));
    if let Some(bits) = bits {
        text +=
            &format!("  {bits} of {} bits are used: --range 0,{}\n", image.stored.bits, (1_u32 << bits) - 1);
    }
    if let Some(sigma) = sigma {
        text += &format!("  noise of standard deviation {} (if it is white)\n", short(sigma));
    }
    text += &format!("  sha256 of the values {}\n", described.sha256);
    context.answer(&text, || {
        json!({ "image": json(&described), "mean": mean, "standard_deviation": deviation, "bits_used": bits, "noise": sigma })
    })
}

/// Mean and standard deviation of the stored values.
fn moments(image: &Measured) -> Result<(f64, f64)> {
    let values = image.values.f_to_kind(Kind::Double)? * image.stored.unit;
    Ok((values.f_mean(Kind::Double)?.double_value(&[]), values.f_std(false)?.double_value(&[])))
}
