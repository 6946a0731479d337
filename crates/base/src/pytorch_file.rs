//! State dicts that PyTorch has written (`.pt`, `.pth`), read without running any code that is in them.

use crate::error::{Error, Result};
use crate::files::{check_room, deflated_at_most};
use pytorch_reader::{DType, PytorchReader};
use std::collections::BTreeMap;
use std::path::Path;
use tch::{Kind, Tensor};

/// All float32, float64 and int64 tensors of a file that `torch.save` has written, by their names, where the keys of
/// nested dicts are joined by dots; other entries are left out. On the CPU.
///
/// # Errors
/// [`Error::File`] where the file cannot be read; [`Error::Content`] where it is no PyTorch file, is damaged, or announces more than it can
/// hold (a view that repeats what is stored may be 1032 times as large).
pub fn load_state_dict(path: &Path) -> Result<BTreeMap<String, Tensor>> {
    let bad = |e: String| {
        Error::content(
            path,
            format!("not a readable PyTorch file ({e})"),
            "give a file written by torch.save, or save it again under a name of another length",
        )
    };
    let length = std::fs::metadata(path).map_err(|e| Error::file(path, "reading", e))?.len();
    let reader = PytorchReader::new(path).map_err(|e| bad(e.to_string()))?;
    let mut dict = BTreeMap::new();
    let mut most = deflated_at_most(length);
    for (name, tensor) in reader.tensors() {
        let kind = match tensor.dtype() {
            DType::F32 => Kind::Float,
            DType::F64 => Kind::Double,
            DType::I64 => Kind::Int64,
            _ => continue,
        };
        let size = tensor.shape().iter().try_fold(tensor.dtype().size() as u64, |product, &n| {
            product.checked_mul(u64::try_from(n).ok()?)
        });
        check_room(path, &format!("tensor {name} of shape {:?}", tensor.shape()), size, most, 3)?;
        most -= size.unwrap_or(0);
        let bytes = tensor.read().map_err(|e| bad(e.to_string()))?;
        let shape: Vec<i64> = tensor.shape().iter().map(|&n| n as i64).collect();
        dict.insert(name.clone(), Tensor::f_from_data_size(&bytes, &shape, kind)?);
    }
    Ok(dict)
}
