//! Samples brought as near to the data as the noise is.

use crate::wppnets::material::Affine;
use smalti_base::{Result, Seed};
use smalti_flows::{Bijection, DataConsistency, WppFlow};
use smalti_operators::{LinearOperator, PseudoInverse};
use smalti_solvers::flow_residual;
use tch::Tensor;

/// Samples, other than the drawn ones, that say how far samples for an observation are from it.
const SAMPLES: i64 = 4;

/// The layer of an operator, with the scale 1.
///
/// # Errors
/// Where there is none for it: its rows are dependent, or too nearly so.
pub(super) fn layer(operator: &Affine) -> Result<DataConsistency<&dyn LinearOperator>> {
    DataConsistency::new(operator.linear().as_ref(), 1.0, PseudoInverse::default())
}

/// The samples `drawn`, `[S, 1, H, W]`, for the observation `y`, as near to it as the noise is. How near the flow comes is
/// measured with the operator that it was `trained` with.
pub(super) fn consistent(
    flow: &WppFlow,
    drawn: &Tensor,
    y: &Tensor,
    (operator, trained): (&Affine, &Affine),
    noise: f64,
    seed: Seed,
) -> Result<Tensor> {
    let _no_grad = tch::no_grad_guard();
    let residual = flow_residual(flow, trained, &y.f_expand([SAMPLES, -1, -1, -1], false)?, seed)?;
    let layer = layer(operator)?.scaled_to_noise(residual, noise)?;
    let y = y.f_sub_scalar(operator.bias())?.f_to_kind(drawn.kind())?;
    let draws = (0..drawn.size()[0]).map(|i| Ok(layer.to_data(&drawn.f_narrow(0, i, 1)?, Some(&y))?.value));
    Ok(Tensor::f_cat(&draws.collect::<Result<Vec<_>>>()?, 0)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use smalti_base::Space;
    use smalti_flows::WppFlowShape;
    use smalti_operators::{Biased, Convolution, Extension, Operator};
    use tch::Kind;

    #[test]
    fn samples_come_near_observations_with_a_bias() {
        let shape = WppFlowShape { blocks: 1, hidden: 4, ..WppFlowShape::altekrueger_2023_x4().unwrap() };
        let flow = WppFlow::new(shape, Seed::new(1)).unwrap();
        let operator = |form| {
            let linear = Convolution::superresolution(Space::image(1, 96, 96), 16, 2.0, 4, form);
            Biased::new(linear.unwrap(), 0.3).unwrap().boxed()
        };
        let (periodic, trained) = (operator(Extension::WrapAfter), operator(Extension::Valid));
        let y = Seed::new(2).at("y", 0).uniform(&[1, 1, 24, 24]);
        let drawn = flow.sample(&y, 3, &mut Seed::new(3).at("latents", 0)).unwrap();
        let residual = |x: &Tensor| {
            let residual = periodic.apply(x).unwrap() - &y;
            residual.square().mean(Kind::Double).sqrt().double_value(&[])
        };
        let near = consistent(&flow, &drawn, &y, (&periodic, &trained), 0.01, Seed::new(4)).unwrap();
        let (before, after) = (residual(&drawn), residual(&near));
        // What other samples and the border say of these.
        assert!(before > 0.1 && (after / 0.01 - 1.0).abs() < 0.3, "{before} {after}");
    }
}
