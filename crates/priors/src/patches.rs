//! Patch extraction as a linear operator.

use smalti_base::{Error, Result, Space, seed::Stream};
use smalti_operators::{Grid, LinearOperator, Operator};
use tch::Tensor;

/// Which patches of an image are taken.
#[derive(Debug)]
enum Selection {
    /// Top-left corners at `offset + stride (i, j)`, `0 <= i < rows`, `0 <= j < columns`.
    Grid { offset: (i64, i64), stride: i64, rows: i64, columns: i64 },
    /// The pixels of every patch as indices into the flattened image: int64 `[n d]`.
    Listed { pixels: Tensor, count: i64 },
}

/// Extraction of square patches: `P: [B, C, H, W] -> [B, 1, n, d]`, `d = C p p`, row `i` the patch `P_i x` as
/// a vector (channel by channel, each row by row, as `torch.nn.functional.unfold` orders it).
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
        if size >= 1 && size <= domain.height.min(domain.width) {
            return Ok(());
        }
        let expected = format!("1 to the smaller side of the {}x{} image", domain.height, domain.width);
        Err(Error::value("patch size", expected, size))
    }

    /// All `(H - p + 1) (W - p + 1)` patches of side `size`.
    ///
    /// # Errors
    /// [`Error::Value`] where the patches do not fit into the image.
    pub fn all(domain: Space, size: i64) -> Result<Self> {
        Self::grid(domain, size, 1, (0, 0))
    }

    /// Every patch whose top-left corner lies at `offset + stride (i, j)`.
    ///
    /// # Errors
    /// [`Error::Value`] where the patches do not fit, `stride < 1`, or the offset is not in `0..stride`.
    pub fn grid(domain: Space, size: i64, stride: i64, offset: (i64, i64)) -> Result<Self> {
        Self::checked(domain, size)?;
        let inside = |o: i64| (0..stride).contains(&o);
        if stride < 1 || !inside(offset.0) || !inside(offset.1) {
            let got = format!("stride {stride}, offset {offset:?}");
            return Err(Error::value("patch grid", "stride >= 1 and an offset in 0..stride", got));
        }
        let steps = |length: i64, o: i64| (length - size - o).div_euclid(stride) + 1;
        let (rows, columns) = (steps(domain.height, offset.0), steps(domain.width, offset.1));
        if rows < 1 || columns < 1 {
            return Err(Error::value(
                "patch grid",
                "at least one patch in the image",
                format!("offset {offset:?}"),
            ));
        }
        Ok(Self { domain, size, selection: Selection::Grid { offset, stride, rows, columns } })
    }

    /// `count` patches at distinct random positions (all of them, in random order, where there are fewer).
    ///
    /// # Errors
    /// [`Error::Value`] where the patches do not fit or `count` is 0.
    pub fn random(domain: Space, size: i64, count: usize, stream: &mut Stream) -> Result<Self> {
        Self::checked(domain, size)?;
        let positions = stream.distinct_indices(Self::positions(domain, size), count);
        Self::listed(domain, size, &positions)
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
        Self::listed(domain, size, &positions)
    }

    /// The patches with the given numbers, where patch `r (W - p + 1) + c` has its top-left corner at `(r, c)`.
    ///
    /// # Errors
    /// [`Error::Value`] where there is none, or a number is out of range.
    pub fn listed(domain: Space, size: i64, numbers: &[i64]) -> Result<Self> {
        Self::checked(domain, size)?;
        let all = Self::positions(domain, size);
        let outside = numbers.iter().find(|i| !(0..all).contains(*i));
        if numbers.is_empty() || outside.is_some() {
            let got = outside.map_or("none".to_owned(), i64::to_string);
            return Err(Error::value("patch numbers", format!("at least one, each in 0..{all}"), got));
        }
        let across = domain.width - size + 1;
        let corners: Vec<i64> = numbers.iter().map(|i| i / across * domain.width + i % across).collect();
        let pattern: Vec<i64> = (0..domain.channels)
            .flat_map(|c| (0..size).map(move |r| (c, r)))
            .flat_map(|(c, r)| (0..size).map(move |k| (c * domain.height + r) * domain.width + k))
            .collect();
        let pixels = Tensor::from_slice(&corners).unsqueeze(1) + Tensor::from_slice(&pattern).unsqueeze(0);
        let selection = Selection::Listed { pixels: pixels.reshape([-1]), count: numbers.len() as i64 };
        Ok(Self { domain, size, selection })
    }

    /// How many patches of side `size` an image has.
    pub fn positions(domain: Space, size: i64) -> i64 {
        (domain.height - size + 1).max(0) * (domain.width - size + 1).max(0)
    }

    /// Number `n` of selected patches.
    pub fn count(&self) -> i64 {
        match &self.selection {
            Selection::Grid { rows, columns, .. } => rows * columns,
            Selection::Listed { count, .. } => *count,
        }
    }

    /// Length `d = C p p` of a patch as a vector.
    pub fn dim(&self) -> i64 {
        self.domain.channels * self.size * self.size
    }

    /// The patches of one image `[1, C, H, W]` as rows: `[n, d]`.
    ///
    /// # Errors
    /// [`Error::Shape`] where `x` is not one image of the domain.
    pub fn rows(&self, x: &Tensor) -> Result<Tensor> {
        if x.size().first() != Some(&1) {
            return Err(Error::shape("image to take patches from", self.domain.batch(1), x.size()));
        }
        Ok(self.apply(x)?.reshape([self.count(), self.dim()]))
    }

    /// The adjoint of [`Patches::rows`]: `[n, d] -> [1, C, H, W]`.
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
            &Selection::Grid { offset, stride, rows, columns } => x
                .slice(2, offset.0, None, 1)
                .slice(3, offset.1, None, 1)
                .f_unfold(2, self.size, stride)?
                .f_unfold(3, self.size, stride)?
                .narrow(2, 0, rows)
                .narrow(3, 0, columns)
                .permute([0, 2, 3, 1, 4, 5]),
            Selection::Listed { pixels, .. } => {
                x.reshape([b, -1]).f_index_select(1, &pixels.to_device(x.device()))?
            }
        };
        Ok(out.reshape(self.range().batch(b)))
    }

    fn vjp(&self, _x: &Tensor, v: &Tensor) -> Result<Tensor> {
        self.adjoint(v)
    }

    /// Patches are no pixels: the identity grid of the image is given.
    fn grid(&self) -> Grid {
        Grid::IDENTITY
    }
}

impl LinearOperator for Patches {
    fn adjoint(&self, v: &Tensor) -> Result<Tensor> {
        self.range().check("patches", v)?;
        let b = v.size()[0];
        let options = (v.kind(), v.device());
        match &self.selection {
            &Selection::Grid { offset, stride, rows, columns } => {
                let covered = [(rows - 1) * stride + self.size, (columns - 1) * stride + self.size];
                let columns_last = v.reshape([b, self.count(), self.dim()]).transpose(1, 2).contiguous();
                let p = self.size;
                let folded = columns_last.f_col2im(covered, [p, p], [1, 1], [0, 0], [stride, stride])?;
                let x = Tensor::zeros(self.domain.batch(b), options);
                x.narrow(2, offset.0, covered[0]).narrow(3, offset.1, covered[1]).copy_(&folded);
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
