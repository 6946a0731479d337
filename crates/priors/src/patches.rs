//! Patch extraction as a linear operator.

use crate::windows::{windows, windows_adjoint};
use smalti_base::{Error, Result, Space, seed::Stream};
use smalti_operators::{LinearOperator, Operator};
use tch::Tensor;

/// Which patches of an image are taken.
#[derive(Debug)]
enum Selection {
    /// First corners at `offset + stride i`, `0 <= i < places`, along every axis.
    Grid { offset: Vec<i64>, stride: i64, places: Vec<i64> },
    /// The pixels of every patch as indices into the flattened image: int64 `[n d]`.
    Listed { pixels: Tensor, count: i64 },
}

/// Extraction of square patches of images, `P: [B, C, H, W] -> [B, 1, n, d]`, `d = C p p`, or of cubic ones of volumes,
/// `P: [B, C, D, H, W] -> [B, 1, n, d]`, `d = C p p p`: row `i` is the patch `P_i x` as a vector (channel by channel, each
/// slice by slice and row by row, as `torch.nn.functional.unfold` orders those of images).
///
/// Its adjoint adds every patch back where it came from. Neither direction unfolds more than the selected
/// patches.
#[derive(Debug)]
pub struct Patches {
    domain: Space,
    size: i64,
    selection: Selection,
}

impl Patches {
    fn checked(domain: Space, size: i64) -> Result<()> {
        let sides = domain.axes();
        if size >= 1 && sides.iter().all(|n| size <= *n) {
            return Ok(());
        }
        let sides: Vec<String> = sides.iter().map(i64::to_string).collect();
        Err(Error::value("patch size", format!("1 to the smallest of the sides {}", sides.join("x")), size))
    }

    /// All patches of side `size`: `(H - p + 1) (W - p + 1)` of them, of volumes `D - p + 1` times as many.
    ///
    /// # Errors
    /// [`Error::Value`] where the patches do not fit into the image.
    pub fn all(domain: Space, size: i64) -> Result<Self> {
        Self::grid(domain, size, 1, &vec![0; domain.axes().len()])
    }

    /// Every patch whose first corner lies at `offset + stride i` along every axis: `offset` is `[row, column]`, of volumes
    /// `[slice, row, column]`.
    ///
    /// # Errors
    /// [`Error::Value`] where the patches do not fit, `stride < 1`, or the offset is not one number in `0..stride` for each
    /// axis.
    pub fn grid(domain: Space, size: i64, stride: i64, offset: &[i64]) -> Result<Self> {
        Self::checked(domain, size)?;
        let sides = domain.axes();
        if stride < 1 || offset.len() != sides.len() || !offset.iter().all(|o| (0..stride).contains(o)) {
            let got = format!("stride {stride}, offset {offset:?}");
            return Err(Error::value(
                "patch grid",
                "stride >= 1 and an offset in 0..stride for each axis",
                got,
            ));
        }
        let steps = |(n, o): (&i64, &i64)| (n - size - o).div_euclid(stride) + 1;
        let places: Vec<i64> = sides.iter().zip(offset).map(steps).collect();
        if places.iter().any(|&n| n < 1) {
            return Err(Error::value(
                "patch grid",
                "at least one patch in the image",
                format!("offset {offset:?}"),
            ));
        }
        Ok(Self { domain, size, selection: Selection::Grid { offset: offset.to_vec(), stride, places } })
    }

    /// `count` patches at distinct random positions (all of them, in random order, where there are fewer).
    ///
    /// # Errors
    /// [`Error::Value`] where the patches do not fit or `count` is 0.
    pub fn random(domain: Space, size: i64, count: usize, stream: &mut Stream) -> Result<Self> {
        Self::checked(domain, size)?;
        let positions = stream.distinct_indices(Self::positions(domain, size), count);
        Self::from_indices(domain, size, &positions)
    }

    /// `count` patches at independent random positions, which may repeat: cheap for training batches.
    ///
    /// # Errors
    /// [`Error::Value`] where the patches do not fit or `count` is 0.
    pub fn random_with_replacement(
        domain: Space,
        size: i64,
        count: usize,
        stream: &mut Stream,
    ) -> Result<Self> {
        Self::checked(domain, size)?;
        let positions = stream.indices(Self::positions(domain, size), count);
        Self::from_indices(domain, size, &positions)
    }

    /// The patches with the given numbers, where patch `r (W - p + 1) + c` has its first corner at `(r, c)`, and of volumes
    /// `(s (H - p + 1) + r) (W - p + 1) + c` at `(s, r, c)`.
    ///
    /// # Errors
    /// [`Error::Value`] where there is none, or a number is out of range.
    pub fn from_indices(domain: Space, size: i64, numbers: &[i64]) -> Result<Self> {
        Self::checked(domain, size)?;
        let all = Self::positions(domain, size);
        let outside = numbers.iter().find(|i| !(0..all).contains(*i));
        if numbers.is_empty() || outside.is_some() {
            let got = outside.map_or("none".to_owned(), i64::to_string);
            return Err(Error::value("patch numbers", format!("at least one, each in 0..{all}"), got));
        }
        let sides = domain.axes();
        let corner = |number: &i64| {
            // From the last axis to the first.
            let (mut at, mut left, mut step) = (0, *number, 1);
            for n in sides.iter().rev() {
                let places = n - size + 1;
                at += left % places * step;
                left /= places;
                step *= n;
            }
            at
        };
        let corners: Vec<i64> = numbers.iter().map(corner).collect();
        let channels: Vec<i64> = (0..domain.channels).collect();
        let pattern = sides.iter().fold(channels, |before, n| {
            before.iter().flat_map(|at| (0..size).map(move |k| at * n + k)).collect()
        });
        let pixels = Tensor::from_slice(&corners).unsqueeze(1) + Tensor::from_slice(&pattern).unsqueeze(0);
        let selection = Selection::Listed { pixels: pixels.reshape([-1]), count: numbers.len() as i64 };
        Ok(Self { domain, size, selection })
    }

    /// How many patches of side `size` an image has.
    pub fn positions(domain: Space, size: i64) -> i64 {
        domain.axes().iter().map(|n| (n - size + 1).max(0)).product()
    }

    /// Number `n` of selected patches.
    pub fn count(&self) -> i64 {
        match &self.selection {
            Selection::Grid { places, .. } => places.iter().product(),
            Selection::Listed { count, .. } => *count,
        }
    }

    /// Length `d = C p p`, of volumes `C p p p`, of a patch as a vector.
    pub fn dim(&self) -> i64 {
        self.domain.map_axes(|_| self.size).len()
    }

    /// The patches of one image `[1, C, H, W]` or volume `[1, C, D, H, W]` as rows: `[n, d]`.
    ///
    /// # Errors
    /// [`Error::Shape`] where `x` is not one image of the domain.
    pub fn rows(&self, x: &Tensor) -> Result<Tensor> {
        if x.size().first() != Some(&1) {
            return Err(Error::shape("image to take patches from", self.domain.batch(1), x.size()));
        }
        Ok(self.apply(x)?.reshape([self.count(), self.dim()]))
    }

    /// The adjoint of [`Patches::rows`]: `[n, d] -> [1, C, H, W]` or `[1, C, D, H, W]`.
    ///
    /// # Errors
    /// [`Error::Shape`] where the rows are not those of this selection.
    pub fn rows_adjoint(&self, rows: &Tensor) -> Result<Tensor> {
        if rows.size() != [self.count(), self.dim()] {
            return Err(Error::shape("patches", [self.count(), self.dim()], rows.size()));
        }
        self.adjoint(&rows.reshape([1, 1, self.count(), self.dim()]))
    }
}

impl Operator for Patches {
    fn domain(&self) -> Space {
        self.domain
    }

    fn range(&self) -> Space {
        Space::image(1, self.count(), self.dim())
    }

    fn apply(&self, x: &Tensor) -> Result<Tensor> {
        self.domain.check("image to take patches from", x)?;
        let b = x.size()[0];
        let out = match &self.selection {
            Selection::Grid { offset, stride, .. } => {
                let mut rest = x.shallow_clone();
                for (axis, &from) in (2..).zip(offset) {
                    rest = rest.f_slice(axis, from, None, 1)?;
                }
                windows(&rest, self.size, *stride)?
            }
            Selection::Listed { pixels, .. } => {
                x.reshape([b, -1]).f_index_select(1, &pixels.to_device(x.device()))?
            }
        };
        Ok(out.reshape(self.range().batch(b)))
    }

    fn vjp(&self, _x: &Tensor, v: &Tensor) -> Result<Tensor> {
        self.adjoint(v)
    }
}

impl LinearOperator for Patches {
    fn adjoint(&self, v: &Tensor) -> Result<Tensor> {
        self.range().check("patches", v)?;
        let b = v.size()[0];
        let options = (v.kind(), v.device());
        match &self.selection {
            Selection::Grid { offset, stride, places } => {
                let (p, s) = (self.size, *stride);
                let covered: Vec<i64> = places.iter().map(|n| (n - 1) * s + p).collect();
                let folded = if self.domain.depth.is_none() {
                    let columns_last = v.reshape([b, self.count(), self.dim()]).transpose(1, 2).contiguous();
                    columns_last.f_col2im(&covered, [p, p], [1, 1], [0, 0], [s, s])?
                } else {
                    windows_adjoint(v, &[&[b, self.domain.channels], &covered[..]].concat(), p, s)?
                };
                let x = Tensor::zeros(self.domain.batch(b), options);
                let mut part = x.shallow_clone();
                for ((axis, &from), &n) in (2..).zip(offset).zip(&covered) {
                    part = part.f_narrow(axis, from, n)?;
                }
                part.f_copy_(&folded)?;
                Ok(x)
            }
            Selection::Listed { pixels, .. } => {
                let pixels = pixels.to_device(v.device());
                let mut x = Tensor::zeros([b, self.domain.len()], options);
                if b == 1 {
                    // One-dimensional index_add is the fast path of libtorch.
                    let flat = x.reshape([-1]).f_index_add_(0, &pixels, &v.reshape([-1]))?;
                    return Ok(flat.reshape(self.domain.batch(1)));
                }
                let _ = x.f_index_add_(1, &pixels, &v.reshape([b, -1]))?;
                Ok(x.reshape(self.domain.batch(b)))
            }
        }
    }
}
