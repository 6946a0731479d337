//! The values of tensors as slices, for kernels that do without libtorch.
//!
//! A tensor to be, whose values a kernel computes, is a [`Buffer`]. The values of a tensor that is there are lent by
//! [`values`], [`values_mut`] and [`rows`], which are `unsafe`: any tensor may have copies that share its memory, which
//! neither the compiler nor libtorch can tell.

use crate::error::{Error, Result};
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use tch::{Device, Kind, Tensor, kind::Element};

/// The numbers that slices hold: `f32` and `f64`.
pub trait Float: Element + sealed::Sealed {}

impl Float for f32 {}
impl Float for f64 {}

mod sealed {
    /// Of types that any bits are a value of.
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
}

/// Whether [`values`] works for `f32`: float32, contiguous, in main memory.
pub fn readable(t: &Tensor) -> bool {
    holds::<f32>(t)
}

fn holds<T: Float>(t: &Tensor) -> bool {
    t.kind() == T::KIND && t.device() == Device::Cpu && t.is_contiguous()
}

fn check<T: Float>(t: &Tensor) -> Result<()> {
    if holds::<T>(t) {
        return Ok(());
    }
    let got = format!("{:?} on {:?}, strides {:?}", t.kind(), t.device(), t.stride());
    let expected = match T::KIND {
        Kind::Float => "contiguous float32 values in main memory",
        _ => "contiguous float64 values in main memory",
    };
    Err(Error::value("tensor for a kernel", expected, got))
}

/// The values of a new contiguous tensor in main memory, zero at first, which nobody else holds until it is given away by
/// [`Buffer::into_tensor`].
///
/// ```
/// use smalti_base::slices::Buffer;
/// let mut squares = Buffer::zeros(&[2, 2])?;
/// squares.iter_mut().enumerate().for_each(|(k, v)| *v = (k * k) as f32);
/// assert_eq!(squares.into_tensor().size(), [2, 2]);
/// # Ok::<(), smalti_base::Error>(())
/// ```
#[derive(Debug)]
pub struct Buffer<T: Float> {
    tensor: Tensor,
    of: PhantomData<T>,
}

impl<T: Float> Buffer<T> {
    /// Zeros, for a tensor of this size.
    ///
    /// # Errors
    /// Those of libtorch where there is not enough memory.
    pub fn zeros(size: &[i64]) -> Result<Self> {
        Ok(Self { tensor: Tensor::f_zeros(size, (T::KIND, Device::Cpu))?, of: PhantomData })
    }

    /// The tensor.
    pub fn into_tensor(self) -> Tensor {
        self.tensor
    }
}

impl<T: Float> Deref for Buffer<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: contiguous, initialised and of dtype T from `zeros` on; the tensor is not handed out before it is
        // given away, so that only this buffer, which is borrowed, leads to its memory.
        #[allow(unsafe_code)]
        unsafe {
            slice(&self.tensor, self.tensor.numel())
        }
    }
}

impl<T: Float> DerefMut for Buffer<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as for `deref`; the buffer is borrowed mutably.
        #[allow(unsafe_code)]
        unsafe {
            let length = self.tensor.numel();
            slice_mut(&mut self.tensor, length)
        }
    }
}

/// # Safety
/// From its first value on, the tensor has `length` values of the dtype `T` in main memory; those of [`values`].
#[allow(unsafe_code)]
unsafe fn slice<T: Float>(t: &Tensor, length: usize) -> &[T] {
    match (length, t.data_ptr()) {
        (1.., first) if !first.is_null() => {
            // SAFETY: promised by the caller, and `T` has no invalid values; the tensor keeps its memory alive as long as it
            // is borrowed.
            unsafe { std::slice::from_raw_parts(first.cast(), length) }
        }
        _ => &[],
    }
}

/// # Safety
/// That of [`slice`] and [`values_mut`].
#[allow(unsafe_code)]
unsafe fn slice_mut<T: Float>(t: &mut Tensor, length: usize) -> &mut [T] {
    match (length, t.data_ptr()) {
        (1.., first) if !first.is_null() => {
            // SAFETY: as in `slice`; promised by the caller, too, that no other reference to the values is in use.
            unsafe { std::slice::from_raw_parts_mut(first.cast(), length) }
        }
        _ => &mut [],
    }
}

/// The values of a contiguous tensor of the dtype `T` in main memory, in row-major order.
///
/// # Safety
/// As long as the slice is in use, nobody writes into the tensor's memory, neither through this tensor nor through a copy that
/// shares its memory.
///
/// # Errors
/// [`Error::Value`] for any other tensor.
#[allow(unsafe_code)]
pub unsafe fn values<T: Float>(t: &Tensor) -> Result<&[T]> {
    check::<T>(t)?;
    // SAFETY: checked, and promised by the caller.
    Ok(unsafe { slice(t, t.numel()) })
}

/// The same, to be changed.
///
/// # Safety
/// As long as the slice is in use, nobody reads or writes the tensor's memory by other means.
///
/// # Errors
/// [`Error::Value`] for any other tensor.
#[allow(unsafe_code)]
pub unsafe fn values_mut<T: Float>(t: &mut Tensor) -> Result<&mut [T]> {
    check::<T>(t)?;
    // SAFETY: checked, and promised by the caller.
    Ok(unsafe { slice_mut(t, t.numel()) })
}

/// Whether every tensor of `written` has memory to itself: it overlaps no other one of them and none of `read`.
pub fn are_disjoint<'a>(
    written: impl IntoIterator<Item = &'a Tensor>,
    read: impl IntoIterator<Item = &'a Tensor>,
) -> bool {
    let written = written.into_iter().map(|t| (span(t), true));
    let mut spans: Vec<_> = written.chain(read.into_iter().map(|t| (span(t), false))).collect();
    spans.retain(|((start, end), _)| start < end);
    spans.sort_unstable();
    // Where what was met so far ends: the written ones, and all.
    let (mut writes, mut all) = (0, 0);
    spans.into_iter().all(|((start, end), is_written)| {
        let apart = start >= if is_written { all } else { writes };
        all = end.max(all);
        writes = if is_written { end.max(writes) } else { writes };
        apart
    })
}

/// The addresses from a tensor's first value to behind its last one.
fn span(t: &Tensor) -> (usize, usize) {
    if t.numel() == 0 {
        return (0, 0);
    }
    let steps = t.size().iter().zip(t.stride()).map(|(n, stride)| (n - 1) * stride).sum::<i64>();
    let start = t.data_ptr() as usize;
    (start, start + (steps as usize + 1) * t.kind().elt_size_in_bytes())
}

/// The same matrix, copied only where its rows are not contiguous: ready for [`rows`].
///
/// # Errors
/// Those of libtorch.
pub fn with_rows(t: &Tensor) -> Result<Tensor> {
    match (&t.size()[..], &t.stride()[..]) {
        // Rows that overlap, as those of an expanded tensor do, are copied, too.
        (&[_, m], &[stride, 1]) if stride >= m => Ok(t.shallow_clone()),
        _ => Ok(t.f_contiguous()?),
    }
}

/// The values of a float32 matrix `[n, m]` in main memory whose rows are contiguous, such as a range of columns of a
/// contiguous one, and how far apart its rows begin: row `i` is `values[i stride..i stride + m]`.
///
/// # Safety
/// That of [`values`], for all of the columns.
///
/// # Errors
/// [`Error::Value`] for any other tensor.
#[allow(unsafe_code)]
pub unsafe fn rows(t: &Tensor) -> Result<(&[f32], usize)> {
    if let (&[n, m], &[stride, 1]) = (&t.size()[..], &t.stride()[..])
        && t.kind() == Kind::Float
        && t.device() == Device::Cpu
        && stride >= m
        && n > 0
        && m > 0
    {
        let length = ((n - 1) * stride + m) as usize;
        // SAFETY: checked; that many values lie between the first and the last one of the matrix. The rest is promised by
        // the caller.
        return Ok((unsafe { slice(t, length) }, stride as usize));
    }
    let columns = t.size().last().copied().unwrap_or(1).max(1);
    // SAFETY: promised by the caller.
    Ok((unsafe { values(t) }?, columns as usize))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::kind::FLOAT_CPU;

    /// Copies of what [`values`] and [`rows`] give.
    #[allow(unsafe_code)]
    fn copied<T: Float>(t: &Tensor) -> Result<Vec<T>> {
        // SAFETY: nothing is written before the slice is copied.
        Ok(unsafe { values::<T>(t) }?.to_vec())
    }

    #[allow(unsafe_code)]
    fn copied_rows(t: &Tensor) -> Result<(Vec<f32>, usize)> {
        // SAFETY: nothing is written before the slice is copied.
        let (values, stride) = unsafe { rows(t) }?;
        Ok((values.to_vec(), stride))
    }

    #[test]
    #[allow(unsafe_code)]
    fn slices_are_the_values() {
        let mut t = Tensor::arange(12, FLOAT_CPU).reshape([3, 4]);
        // SAFETY: nobody else knows the tensor.
        unsafe { values_mut::<f32>(&mut t) }.unwrap()[5] = -1.0;
        assert_eq!(copied::<f32>(&t).unwrap()[4..7], [4.0, -1.0, 6.0]);
        assert_eq!(copied::<f64>(&t.to_kind(Kind::Double)).unwrap()[4..7], [4.0, -1.0, 6.0]);
        let (all, stride) = copied_rows(&t.narrow(1, 1, 2)).unwrap();
        assert_eq!((all.len(), stride, all[2 * stride + 1]), (10, 4, 10.0));
        assert_eq!(copied_rows(&t.narrow(0, 1, 1)).unwrap().0, [4.0, -1.0, 6.0, 7.0]);
        for empty in [Tensor::zeros([0, 4], FLOAT_CPU), Tensor::zeros([4, 0], FLOAT_CPU)] {
            assert_eq!(copied_rows(&empty).unwrap().0.len(), 0);
        }
    }

    #[test]
    fn other_tensors_are_refused() {
        let t = Tensor::arange(12, FLOAT_CPU).reshape([3, 4]);
        assert!(copied::<f32>(&t.tr()).is_err() && copied_rows(&t.tr()).is_err());
        assert!(copied::<f64>(&t).unwrap_err().to_string().contains("contiguous float64 values"));
        assert_eq!(copied_rows(&with_rows(&t.tr()).unwrap()).unwrap().0[..3], [0.0, 4.0, 8.0]);
        let twice = t.narrow(0, 1, 1).expand([2, 4], false);
        let sliding = t.flatten(0, 1).unfold(0, 4, 1).narrow(0, 4, 2);
        for (rows_of, all) in [
            (twice, [4.0, 5.0, 6.0, 7.0, 4.0, 5.0, 6.0, 7.0]),
            (sliding, [4.0, 5.0, 6.0, 7.0, 5.0, 6.0, 7.0, 8.0]),
        ] {
            assert!(copied_rows(&rows_of).is_err());
            assert_eq!(copied_rows(&with_rows(&rows_of).unwrap()).unwrap(), (all.to_vec(), 4));
        }
        let line = copied::<f32>(&t.to_kind(Kind::Double)).unwrap_err().to_string();
        assert!(line.contains("contiguous float32 values") && line.contains("Double"), "{line}");
    }

    #[test]
    fn buffers_become_tensors_without_a_copy() {
        let mut buffer = Buffer::<f64>::zeros(&[2, 3]).unwrap();
        assert_eq!(*buffer, [0.0; 6]);
        buffer[4] = 7.0;
        let address = buffer.as_ptr() as usize;
        let t = buffer.into_tensor();
        assert_eq!((t.double_value(&[1, 1]), t.data_ptr() as usize, t.size()), (7.0, address, vec![2, 3]));
        assert!(Buffer::<f32>::zeros(&[0, 3]).unwrap().is_empty());
    }

    #[test]
    fn shared_memory_is_found() {
        let t = Tensor::zeros([4, 3], FLOAT_CPU);
        let [first, last, column, other] =
            [t.narrow(0, 0, 2), t.narrow(0, 2, 2), t.narrow(1, 1, 1), t.copy()];
        assert!(are_disjoint([&first, &last, &other], [&t.narrow(0, 0, 0)]));
        assert!(are_disjoint([&other, &first], [&last, &last, &last.shallow_clone()]));
        assert!(!are_disjoint([&first, &first], []));
        assert!(!are_disjoint([&last, &other], [&t]));
        assert!(!are_disjoint([&first, &column], []));
        assert!(!are_disjoint([&other, &column], [&first, &last]));
    }
}
