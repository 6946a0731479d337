//! Convolutions of networks whose weights are given.

use smalti_base::memory_format::to_fastest_memory_format;
use smalti_base::{Error, Result};
use std::collections::BTreeMap;
use std::path::Path;
use tch::{Device, Kind, Tensor};

/// A convolution, `[outputs, inputs, h, w]`, in the memory layout that is fastest where it is.
#[derive(Debug)]
pub(crate) struct Convolution {
    kernel: Tensor,
    bias: Option<Tensor>,
}

impl Convolution {
    pub(crate) fn new(kernel: &Tensor, bias: Option<&Tensor>) -> Result<Self> {
        let kernel = to_fastest_memory_format(&kernel.detach().f_to_kind(Kind::Float)?)?;
        let bias = bias.map(|bias| bias.detach().f_to_kind(Kind::Float)?.f_contiguous()).transpose()?;
        Ok(Self { kernel, bias })
    }

    /// `[outputs, inputs]` (of a transposed convolution the reverse).
    pub(crate) fn channels(&self) -> [i64; 2] {
        let size = self.kernel.size();
        [size[0], size[1]]
    }

    /// With `zeros` around the image, at every `stride`-th position.
    pub(crate) fn apply(&self, x: &Tensor, stride: i64, zeros: i64) -> Result<Tensor> {
        Ok(x.f_conv2d(&self.kernel, self.bias.as_ref(), [stride; 2], [zeros; 2], [1, 1], 1)?)
    }

    /// Transposed, at every second position.
    pub(crate) fn transposed(&self, x: &Tensor) -> Result<Tensor> {
        Ok(x.f_conv_transpose2d(&self.kernel, self.bias.as_ref(), [2, 2], [0, 0], [0, 0], 1, [1, 1])?)
    }

    pub(crate) fn move_to(&mut self, device: Device) -> Result<()> {
        self.kernel = to_fastest_memory_format(&self.kernel.f_to_device(device)?)?;
        self.bias = self.bias.as_ref().map(|bias| bias.f_to_device(device)).transpose()?;
        Ok(())
    }

    pub(crate) fn device(&self) -> Device {
        self.kernel.device()
    }

    pub(crate) fn tensors(&self) -> impl Iterator<Item = &Tensor> {
        [&self.kernel].into_iter().chain(&self.bias)
    }
}

/// The image with its last row and column repeated until `multiple` divides its sides.
pub(crate) fn padded(x: &Tensor, multiple: i64) -> Result<Tensor> {
    let size = x.size();
    let missing = |n: i64| (multiple - n % multiple) % multiple;
    let (rows, columns) = (missing(size[2]), missing(size[3]));
    let x = x.f_to_kind(Kind::Float)?;
    if (rows, columns) == (0, 0) {
        return Ok(x);
    }
    Ok(x.f_replication_pad2d([0, columns, 0, rows])?)
}

/// The first rows and columns of `y`, as many as `x` has.
pub(crate) fn cut_like(y: &Tensor, x: &Tensor) -> Result<Tensor> {
    let size = x.size();
    Ok(y.f_narrow(2, 0, size[2])?.f_narrow(3, 0, size[3])?.f_contiguous()?)
}

/// A state dict that is taken apart.
pub(crate) struct StateDict<'a> {
    path: &'a Path,
    /// What the file should hold, for readers.
    of: &'static str,
    dict: BTreeMap<String, Tensor>,
}

impl<'a> StateDict<'a> {
    pub(crate) fn load(path: &'a Path, of: &'static str) -> Result<Self> {
        Ok(Self { path, of, dict: smalti_base::pytorch_file::load_state_dict(path)? })
    }

    pub(crate) fn wrong(&self, problem: String) -> Error {
        Error::content(self.path, problem, format!("give a state dict of {}", self.of))
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.dict.contains_key(name)
    }

    /// The number of axes of the tensor `name`, where there is one.
    pub(crate) fn axes(&self, name: &str) -> Option<usize> {
        self.dict.get(name).map(Tensor::dim)
    }

    /// The tensor `name`, of as many axes as `size`, whose numbers are those of `size` where they are given.
    pub(crate) fn take(&mut self, name: &str, size: &[Option<i64>]) -> Result<Tensor> {
        let Some(tensor) = self.dict.remove(name) else {
            return Err(self.wrong(format!("has no tensor {name}")));
        };
        let found = tensor.size();
        let fits = found.len() == size.len()
            && found.iter().zip(size).all(|(&n, wanted)| n > 0 && wanted.is_none_or(|wanted| n == wanted));
        if !fits {
            let axis = |n: &Option<i64>| n.map_or("any".to_owned(), |n| n.to_string());
            let wanted: Vec<String> = size.iter().map(axis).collect();
            return Err(self.wrong(format!("has {name} of {found:?}, not of [{}]", wanted.join(", "))));
        }
        if !tensor.is_floating_point() || tensor.f_isfinite()?.f_all()?.f_int64_value(&[])? == 0 {
            return Err(self.wrong(format!("has {name} with values that are no finite numbers")));
        }
        Ok(tensor)
    }

    /// Nothing is left that the network does not know.
    pub(crate) fn finish(self) -> Result<()> {
        match self.dict.keys().next() {
            Some(name) => {
                let more = self.dict.len();
                Err(self.wrong(format!("has {more} tensors too many for {}, such as {name}", self.of)))
            }
            None => Ok(()),
        }
    }
}
