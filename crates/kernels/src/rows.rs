//! Rows of values read out of a flat slice: a matrix, windows of an image or of a volume, listed positions.

use crate::{
    error::{KernelError, check_finite},
    prefetch::prefetch,
};

/// `len` rows of `dim` values each over a flat float32 array: value `k` of row `i` is `data[base_i + offset_k]`.
///
/// Overlapping windows of an image are rows without ever being copied side by side: a 600 x 600 image and its
/// 354,025 windows of 6 x 6 need 4 MB.
#[derive(Debug, Clone)]
pub struct Rows {
    data: Vec<f32>,
    bases: Vec<usize>,
    /// Runs of values that follow each other: the offset of the first one, and how many.
    runs: Vec<(usize, usize)>,
    dim: usize,
    /// The largest offset plus 1.
    span: usize,
    centred: bool,
}

impl Rows {
    /// The rows of a row-major matrix `[len, dim]`.
    ///
    /// # Errors
    /// An empty matrix, a length that is no multiple of `dim`, values that are not finite.
    pub fn dense(data: Vec<f32>, dim: usize) -> Result<Self, KernelError> {
        if dim == 0 || !data.len().is_multiple_of(dim) {
            let expected = format!("a multiple of the row length {dim}, itself at least 1");
            return Err(KernelError::new("number of values of a matrix", expected, data.len()));
        }
        let bases = (0..data.len() / dim).map(|i| i * dim).collect();
        Self::from_offsets(data, bases, (0..dim).collect())
    }

    /// All windows of `window` values at every `step`-th position of a row-major array of `shape`, with any number of
    /// axes: `shape = [H, W]` for images, `[D, H, W]` for volumes. Windows lie wholly inside; both the windows and
    /// the values of each are in row-major order, as `unfold` has them.
    ///
    /// # Errors
    /// `shape`, `window` and `step` of different lengths, a window larger than the array, a zero, a number of
    /// values other than the product of `shape`, values that are not finite.
    pub fn windows(
        data: Vec<f32>,
        shape: &[usize],
        window: &[usize],
        step: &[usize],
    ) -> Result<Self, KernelError> {
        let axes = shape.len();
        if axes == 0 || window.len() != axes || step.len() != axes || window.contains(&0) || step.contains(&0)
        {
            let expected = format!("{axes} (at least one) positive numbers each for window and step");
            return Err(KernelError::new("window", expected, format!("{window:?} with steps {step:?}")));
        }
        let values = shape.iter().try_fold(1_usize, |values, n| values.checked_mul(*n));
        if values != Some(data.len()) {
            let expected = format!("the product of the shape {shape:?}");
            return Err(KernelError::new("number of values of an array", expected, data.len()));
        }
        if shape.iter().zip(window).any(|(s, w)| w > s) {
            let expected = format!("at most the array's {shape:?}; take a smaller window or a larger image");
            return Err(KernelError::new("window size", expected, format!("{window:?}")));
        }
        let places: Vec<usize> =
            shape.iter().zip(window).zip(step).map(|((s, w), t)| (s - w) / t + 1).collect();
        let bases = grid(shape, &places, step);
        let offsets = grid(shape, window, &vec![1; axes]);
        Self::from_offsets(data, bases, offsets)
    }

    /// Rows with any bases and offsets: random positions of an image, dilated windows, masks.
    ///
    /// # Errors
    /// No base or no offset, one that leads outside `data`, values that are not finite.
    pub fn from_offsets(data: Vec<f32>, bases: Vec<usize>, offsets: Vec<usize>) -> Result<Self, KernelError> {
        let (Some(last), Some(reach)) = (bases.iter().max(), offsets.iter().max()) else {
            let got = format!("{} rows of {}", bases.len(), offsets.len());
            return Err(KernelError::new("rows", "at least one row of at least one value", got));
        };
        if last.checked_add(*reach).is_none_or(|end| end >= data.len()) {
            let expected = format!("positions below the {} values of the data", data.len());
            return Err(KernelError::new("rows", expected, format!("base {last} plus offset {reach}")));
        }
        if bases.len() > u32::MAX as usize / 2 {
            return Err(KernelError::new("rows", "at most 2^31; take a sample of them", bases.len()));
        }
        check_finite("values of the rows", &data)?;
        let span = reach + 1;
        let following = offsets.chunk_by(|a, b| a + 1 == *b);
        let runs = following.map(|run| (run[0], run.len())).collect();
        Ok(Self { data, bases, runs, dim: offsets.len(), span, centred: false })
    }

    /// The same rows with each row's own mean taken away (computed in float64, the difference rounded to float32).
    #[must_use]
    pub fn centred(self) -> Self {
        Self { centred: true, ..self }
    }

    /// Some of the rows, read from the same array, in the order given; any may come several times.
    ///
    /// # Errors
    /// No row, or one that there is not.
    pub fn at(mut self, rows: &[usize]) -> Result<Self, KernelError> {
        if rows.is_empty() || rows.iter().any(|&i| i >= self.bases.len()) {
            let expected = format!("at least one number below the {} rows", self.bases.len());
            return Err(KernelError::new("chosen rows", expected, format!("{} numbers", rows.len())));
        }
        self.bases = rows.iter().map(|&i| self.bases[i]).collect();
        Ok(self)
    }

    /// Number of rows, at least 1.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.bases.len()
    }

    /// Values of a row, at least 1.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// The flat array.
    pub fn data(&self) -> &[f32] {
        &self.data
    }

    /// New values in the same places: the next iterate of an image.
    ///
    /// # Errors
    /// Another number of values, values that are not finite; the old values then stay.
    pub fn replace(&mut self, data: &[f32]) -> Result<(), KernelError> {
        if data.len() != self.data.len() {
            let expected = format!("{} as before; build new rows for another size", self.data.len());
            return Err(KernelError::new("number of new values", expected, data.len()));
        }
        check_finite("new values of the rows", data)?;
        self.data.copy_from_slice(data);
        Ok(())
    }

    /// Writes row `i` to the first `dim` places of `row` and leaves the rest alone.
    ///
    /// # Panics
    /// If `i` is not below `len` or `row` is shorter than `dim`.
    #[inline]
    pub fn read(&self, i: usize, row: &mut [f32]) {
        let row = &mut row[..self.dim];
        let base = self.bases[i];
        let window = &self.data[base..base + self.span];
        let mut rest = &mut *row;
        for &(offset, length) in &self.runs {
            let (run, behind) = rest.split_at_mut(length);
            run.copy_from_slice(&window[offset..offset + length]);
            rest = behind;
        }
        if self.centred {
            let mean = row.iter().map(|&v| f64::from(v)).sum::<f64>() / row.len() as f64;
            for value in row {
                *value = (f64::from(*value) - mean) as f32;
            }
        }
    }

    /// Asks for row `i`, if there is one, to be brought into the second-level cache: neighbours in an order of their values
    /// are anywhere in an image.
    #[inline(always)]
    pub(crate) fn prefetch(&self, i: Option<u32>) {
        let Some(&base) = i.and_then(|i| self.bases.get(i as usize)) else { return };
        for &(offset, length) in &self.runs {
            prefetch(&self.data[base + offset..], length);
        }
    }

    /// The range of the data that some rows are read from.
    pub(crate) fn places(&self, rows: std::ops::Range<usize>) -> std::ops::Range<usize> {
        let bases = &self.bases[rows];
        let first = bases.iter().min().copied().unwrap_or(0);
        let last = bases.iter().max().copied().unwrap_or(0);
        first..last + self.span
    }

    /// Adds `gradient`, a gradient with respect to row `i` as [`Rows::read`] gives it, to the places that the row was
    /// read from: the adjoint of reading. `sum` is laid out as the data from position `first` on.
    #[inline]
    pub(crate) fn add_adjoint(&self, i: usize, gradient: &[f64], first: usize, sum: &mut [f64]) {
        let gradient = &gradient[..self.dim];
        let mean = if self.centred { gradient.iter().sum::<f64>() / gradient.len() as f64 } else { 0.0 };
        let base = self.bases[i] - first;
        let window = &mut sum[base..base + self.span];
        let mut rest = gradient;
        for &(offset, length) in &self.runs {
            let (run, behind) = rest.split_at(length);
            for (sum, g) in window[offset..offset + length].iter_mut().zip(run) {
                *sum += g - mean;
            }
            rest = behind;
        }
    }
}

/// Flat positions of a grid of `places` at every `step` in a row-major array of `shape`, in row-major order.
fn grid(shape: &[usize], places: &[usize], step: &[usize]) -> Vec<usize> {
    let mut positions = vec![0];
    for ((&size, &places), &step) in shape.iter().zip(places).zip(step) {
        positions = positions.iter().flat_map(|&p| (0..places).map(move |k| p * size + k * step)).collect();
    }
    positions
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(rows: &Rows) -> Vec<Vec<f32>> {
        (0..rows.len())
            .map(|i| {
                let mut row = vec![0.0; rows.dim()];
                rows.read(i, &mut row);
                row
            })
            .collect()
    }

    #[test]
    fn windows_of_an_image_are_its_patches() -> Result<(), KernelError> {
        let image: Vec<f32> = (0..20).map(|v| v as f32).collect();
        let rows = Rows::windows(image, &[4, 5], &[2, 3], &[2, 1])?;
        assert_eq!((rows.len(), rows.dim()), (6, 6));
        assert_eq!(all(&rows)[1], [1., 2., 3., 6., 7., 8.]);
        assert_eq!(all(&rows)[3], [10., 11., 12., 15., 16., 17.]);
        Ok(())
    }

    #[test]
    fn runs_of_any_lengths_are_read_and_nothing_behind_the_row() -> Result<(), KernelError> {
        let data: Vec<f32> = (0..200).map(|v| v as f32).collect();
        for lengths in [[6, 6, 6], [1, 9, 3], [8, 8, 8], [7, 1, 8], [20, 2, 1], [3, 4, 30]] {
            let starts = lengths.iter().enumerate().map(|(run, &length)| (31 * run, length));
            let offsets: Vec<usize> = starts.flat_map(|(first, length)| first..first + length).collect();
            let rows = Rows::from_offsets(data.clone(), vec![0, 50, 200 - 62 - lengths[2]], offsets.clone())?;
            for (i, base) in [0, 50, 200 - 62 - lengths[2]].into_iter().enumerate() {
                let mut row = vec![-1.0; rows.dim() + 16];
                rows.read(i, &mut row);
                let expected: Vec<f32> = offsets.iter().map(|offset| (base + offset) as f32).collect();
                assert_eq!(row[..rows.dim()], expected, "{lengths:?}");
                assert_eq!(row[rows.dim()..], [-1.0; 16], "{lengths:?}");
            }
        }
        Ok(())
    }

    #[test]
    fn windows_of_a_volume() -> Result<(), KernelError> {
        let volume: Vec<f32> = (0..27).map(|v| v as f32).collect();
        let rows = Rows::windows(volume, &[3, 3, 3], &[2, 2, 2], &[1, 1, 1])?;
        assert_eq!(rows.len(), 8);
        assert_eq!(all(&rows)[7], [13., 14., 16., 17., 22., 23., 25., 26.]);
        Ok(())
    }

    #[test]
    fn some_of_the_rows() -> Result<(), KernelError> {
        let rows = Rows::windows((0..20).map(|v| v as f32).collect(), &[4, 5], &[2, 3], &[1, 1])?;
        let some = rows.clone().at(&[7, 0, 7])?;
        let (some, every) = (all(&some), all(&rows));
        assert_eq!(some, [every[7].clone(), every[0].clone(), every[7].clone()]);
        assert!(rows.clone().at(&[]).is_err() && rows.at(&[9]).is_err());
        Ok(())
    }

    #[test]
    fn adjoint_of_reading() -> Result<(), KernelError> {
        for centred in [false, true] {
            let image: Vec<f32> = (0..30).map(|v| (v * v % 17) as f32).collect();
            let rows = Rows::windows(image.clone(), &[5, 6], &[3, 2], &[1, 2])?;
            let rows = if centred { rows.centred() } else { rows };
            let (mut sum, mut product) = (vec![0.0; 30], 0.0);
            for (i, row) in all(&rows).iter().enumerate() {
                let g: Vec<f64> = (0..6).map(|k| f64::from((i * 5 + k * 7) as u32 % 11)).collect();
                product += row.iter().zip(&g).map(|(r, g)| f64::from(*r) * g).sum::<f64>();
                rows.add_adjoint(i, &g, 0, &mut sum);
            }
            let back: f64 = sum.iter().zip(&image).map(|(s, v)| s * f64::from(*v)).sum();
            assert!((back - product).abs() < 1e-4 * product.abs(), "{back} {product}");
        }
        Ok(())
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert!(Rows::dense(vec![], 3).is_err());
        assert!(Rows::dense(vec![1.0; 4], 3).is_err());
        assert!(Rows::dense(vec![1.0; 4], 0).is_err());
        assert!(Rows::dense(vec![1.0, f32::NAN], 2).is_err());
        assert!(Rows::dense(vec![1.0, f32::INFINITY], 2).is_err());
        assert!(Rows::windows(vec![0.0; 6], &[2, 3], &[3, 1], &[1, 1]).is_err());
        assert!(Rows::windows(vec![0.0; 6], &[2, 3], &[1, 1], &[0, 1]).is_err());
        assert!(Rows::windows(vec![0.0; 7], &[2, 3], &[1, 1], &[1, 1]).is_err());
        assert!(Rows::windows(vec![], &[1 << 32, 1 << 32], &[1, 1], &[1, 1]).is_err());
        assert!(Rows::from_offsets(vec![0.0; 7], vec![5], vec![2]).is_err());
        assert!(Rows::from_offsets(vec![0.0; 7], vec![usize::MAX], vec![2]).is_err());
        let error = Rows::dense(vec![0.0, f32::INFINITY], 1).map(|_| ()).unwrap_err();
        assert!(error.to_string().contains("inf at position 1"), "{error}");
    }
}
