//! The comparison of the c-transform on tensors with PyTorch and KeOps, all on one device: what a CUDA device is measured by.

use crate::compare::Comparison;
use crate::transport::{
    EVALUATIONS, Images, Psi, REFERENCES, SIDE, answer, patches, peers, potentials, write,
};
use smalti_base::Result;
use smalti_priors::wpp::c_transform;
use std::path::Path;
use std::time::Instant;
use tch::{Cuda, Device, Kind, Tensor};

/// The name of the comparison.
pub const NAME: &str = "c_transform_tensor_10k";

/// Value of the semi-dual, gradient in the rows and in the potential, of 10,000 patches against as many: the mean of ten
/// evaluations, each with another potential. All pairs are looked at on either side.
///
/// # Errors
/// Those of libtorch; [`smalti_base::Error::Value`] for images with too few patches; where the inputs cannot be written.
pub fn comparison(images: &Images, device: Device, rounds: u64, folder: &Path) -> Result<Comparison> {
    let x = patches(&images.image, Some(REFERENCES), "queries")?;
    let y = patches(&images.reference, Some(REFERENCES), "references")?;
    let potentials = potentials(Psi::Early, &x, &y, (rounds + 1) * EVALUATIONS)?;
    let inputs = write(&[("x", &x), ("y", &y), ("psi", &potentials)], NAME, folder)?;
    let [x, y, potentials] = [x, y, potentials].map(|t| t.to_device(device));
    let ours = move |run: u64| {
        synchronise(device);
        let start = Instant::now();
        let mut last = None;
        for k in run * EVALUATIONS..(run + 1) * EVALUATIONS {
            let psi = potentials.f_get(k as i64 % potentials.size()[0])?;
            last = Some(evaluate(&x, &y, &psi)?);
        }
        synchronise(device);
        let seconds = start.elapsed().as_secs_f64() / EVALUATIONS as f64;
        let values = last.iter().flat_map(|[value, in_rows, in_psi]| {
            [("value", value), ("gradient norm", in_rows), ("psi gradient norm", in_psi)]
        });
        let values = values.map(|(name, t)| Ok((name, t.f_norm()?.f_double_value(&[])?)));
        Ok(answer(seconds, &values.collect::<Result<Vec<_>>>()?))
    };
    let place = match device {
        Device::Cuda(index) => format!("cuda:{index}"),
        _ => "cpu".to_owned(),
    };
    Ok(Comparison {
        name: NAME,
        size: format!("{REFERENCES} x {REFERENCES} of {} {} early psi on {place}", SIDE * SIDE, images.what),
        // As for the kernels: float32 sums, and float32 ties that another place wins.
        tolerance: 1e-2,
        inputs,
        ours: Box::new(ours),
        peers: peers(EVALUATIONS, &place),
    })
}

/// The semi-dual, its gradient in the rows, its gradient in the potential.
fn evaluate(x: &Tensor, y: &Tensor, psi: &Tensor) -> Result<[Tensor; 3]> {
    let (n, m) = (x.size()[0], y.size()[0]);
    let (values, winners) = c_transform(x, y, psi)?;
    let value = values.f_mean(Kind::Double)? + psi.f_mean(Kind::Double)?;
    let in_rows = x.f_sub(&y.f_index_select(0, &winners)?)? * (2.0 / n as f64);
    let shares = winners.f_bincount(None::<Tensor>, m)?.f_to_kind(Kind::Double)? / n as f64;
    Ok([value, in_rows, shares * -1.0 + 1.0 / m as f64])
}

/// Waits until the device has done all it was asked to.
fn synchronise(device: Device) {
    if let Device::Cuda(index) = device {
        Cuda::synchronize(index as i64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::{evaluate as by_kernels, refused, rows};
    use smalti_base::Seed;
    use smalti_kernels::transport::{Queries, References};
    use std::sync::Arc;

    #[test]
    fn tensors_and_kernels_compute_the_same() {
        let draw = |name, size: &[i64]| Seed::new(5).at(name, 0).uniform(size);
        let (x, y) = (draw("x", &[50, 36]), draw("y", &[40, 36]));
        let psi = draw("psi", &[40]).to_kind(Kind::Double);
        let [value, in_rows, in_psi] = evaluate(&x, &y, &psi).unwrap();
        let references = Arc::new(References::new(&rows(&y).unwrap()).map_err(refused).unwrap());
        let mut queries = Queries::new(&references, rows(&x).unwrap()).map_err(refused).unwrap();
        let expected =
            by_kernels(&mut queries, &Vec::<f64>::try_from(&psi).unwrap()).map_err(refused).unwrap();
        assert!((value.double_value(&[]) - expected.0).abs() < 1e-9);
        for (found, expected) in [(in_rows, expected.1), (in_psi, expected.2)] {
            let off = found.to_kind(Kind::Double).view(-1) - Tensor::from_slice(&expected);
            assert!(off.abs().max().double_value(&[]) < 1e-7, "{off:?}");
        }
    }
}
