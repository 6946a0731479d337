//! The values of tensors as slices, for kernels that do without libtorch.

use crate::error::{Error, Result};
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

/// The values of a contiguous tensor of the dtype `T` in main memory, in row-major order.
///
/// Nobody may change the tensor in place, through a copy that shares its memory, while the slice is in use.
///
/// # Errors
/// [`Error::Value`] for any other tensor.
#[allow(unsafe_code)]
pub fn values<T: Float>(t: &Tensor) -> Result<&[T]> {
    check::<T>(t)?;
    // SAFETY: checked, also that the values are of the type T; the tensor keeps its memory alive as long as it is borrowed.
    Ok(if t.numel() == 0 {
        &[]
    } else {
        unsafe { std::slice::from_raw_parts(t.data_ptr().cast(), t.numel()) }
    })
}

/// The same, to be changed. Nobody may read or change the tensor through a copy that shares its memory meanwhile.
///
/// # Errors
/// [`Error::Value`] for any other tensor.
#[allow(unsafe_code)]
pub fn values_mut<T: Float>(t: &mut Tensor) -> Result<&mut [T]> {
    check::<T>(t)?;
    // SAFETY: as for `values`.
    Ok(if t.numel() == 0 {
        &mut []
    } else {
        unsafe { std::slice::from_raw_parts_mut(t.data_ptr().cast(), t.numel()) }
    })
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
/// The condition of [`values`] holds here, too.
///
/// # Errors
/// [`Error::Value`] for any other tensor.
#[allow(unsafe_code)]
pub fn rows(t: &Tensor) -> Result<(&[f32], usize)> {
    if let (&[n, m], &[stride, 1]) = (&t.size()[..], &t.stride()[..])
        && t.kind() == Kind::Float
        && t.device() == Device::Cpu
        && stride >= m
        && n > 0
    {
        let length = ((n - 1) * stride + m) as usize;
        // SAFETY: checked; that many values lie between the first and the last one of the matrix.
        return Ok((unsafe { std::slice::from_raw_parts(t.data_ptr().cast(), length) }, stride as usize));
    }
    let columns = t.size().last().copied().unwrap_or(1).max(1);
    Ok((values(t)?, columns as usize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_are_the_values() {
        let mut t = Tensor::arange(12, tch::kind::FLOAT_CPU).reshape([3, 4]);
        values_mut::<f32>(&mut t).unwrap()[5] = -1.0;
        assert_eq!(values::<f32>(&t).unwrap()[4..7], [4.0, -1.0, 6.0]);
        assert_eq!(values::<f64>(&t.to_kind(Kind::Double)).unwrap()[4..7], [4.0, -1.0, 6.0]);
        let half = t.narrow(1, 1, 2);
        let (all, stride) = rows(&half).unwrap();
        assert_eq!((all.len(), stride, all[2 * stride + 1]), (10, 4, 10.0));
        assert_eq!(rows(&t.narrow(0, 1, 1)).unwrap().0, [4.0, -1.0, 6.0, 7.0]);
        assert_eq!(rows(&Tensor::zeros([0, 4], tch::kind::FLOAT_CPU)).unwrap().0.len(), 0);
    }

    #[test]
    fn other_tensors_are_refused() {
        let t = Tensor::arange(12, tch::kind::FLOAT_CPU).reshape([3, 4]);
        assert!(values::<f32>(&t.tr()).is_err() && rows(&t.tr()).is_err());
        assert!(values::<f64>(&t).unwrap_err().to_string().contains("contiguous float64 values"));
        assert_eq!(rows(&with_rows(&t.tr()).unwrap()).unwrap().0[..3], [0.0, 4.0, 8.0]);
        let twice = t.narrow(0, 1, 1).expand([2, 4], false);
        let sliding = t.flatten(0, 1).unfold(0, 4, 1).narrow(0, 4, 2);
        for (rows_of, all) in [
            (twice, [4.0, 5.0, 6.0, 7.0, 4.0, 5.0, 6.0, 7.0]),
            (sliding, [4.0, 5.0, 6.0, 7.0, 5.0, 6.0, 7.0, 8.0]),
        ] {
            assert!(rows(&rows_of).is_err());
            assert_eq!(rows(&with_rows(&rows_of).unwrap()).unwrap(), (&all[..], 4));
        }
        let line = values::<f32>(&t.to_kind(Kind::Double)).unwrap_err().to_string();
        assert!(line.contains("contiguous float32 values") && line.contains("Double"), "{line}");
    }
}
