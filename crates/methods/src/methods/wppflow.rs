//! WPPFlow: samples from a posterior, by a conditional flow that was trained by the Wasserstein patch prior, without pairs.

use crate::estimate::{Estimate, ExtraImage, Placement, UncertaintyMap};
use crate::instrument::{Instrument, TrainingData};
use crate::method::{Learned, Learns, Method, Prepared, Reconstructor};
use crate::problem::InverseProblem;
use crate::run::Run;
use crate::settings::{SettingFault, to_toml};
use crate::trained::Trained;
use crate::wpp_training::{CropTrainingSettings, TrainingInputs, downsampling};
use garde::Validate;
use serde::{Deserialize, Serialize};
use smalti_base::{Error, Result, Seed, Space};
use smalti_flows::{Bijection, DataConsistency, WppFlowShape};
use smalti_operators::{LinearOperator, Operator, PixelGrid, PseudoInverse};
use smalti_solvers::{WppFlowGenerator, flow_residual};
use std::time::Instant;
use tch::{Kind, Tensor};

/// WPPFlow.
#[derive(Debug)]
pub struct WppFlowSampling;

/// Samples, other than the drawn ones, that say how far samples for an observation are from it.
const SAMPLES: i64 = 4;

/// Keys and titles of the draws that are shown.
const DRAWS: [(&str, &str); 3] =
    [("draw", "WPPFlow, one draw"), ("draw_2", "WPPFlow, second draw"), ("draw_3", "WPPFlow, third draw")];

/// The flow is [`smalti_flows::WppFlow`], trained as [`WppFlowGenerator`] says; the estimate is the mean of its draws.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct WppFlowSettings {
    /// Samples drawn for an observation, 3 to 1000.
    #[garde(range(min = 3, max = 1000))]
    pub draws: i64,
    /// Whether a last layer brings the samples as near to the data as the noise is ([`DataConsistency::scaled_to_noise`]); not
    /// where not given.
    #[serde(default)]
    #[garde(skip)]
    pub consistency: bool,
    /// The architecture.
    #[garde(dive)]
    pub flow: FlowArchitecture,
    /// Largest norm of a gradient in the training, above 0, at most 1e9.
    #[garde(range(min = 1e-12, max = 1e9))]
    pub clip: f64,
    /// The training.
    #[garde(dive)]
    pub training: CropTrainingSettings,
}

/// The architecture of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct FlowArchitecture {
    /// Blocks of a level, 1 to 64.
    #[garde(range(min = 1, max = 64))]
    pub blocks: i64,
    /// Hidden channels of a subnet, 1 to 1024.
    #[garde(range(min = 1, max = 1024))]
    pub hidden: i64,
    /// Where the interpolated condition has the pixels of the observation.
    #[garde(skip)]
    pub centres: Centres,
}

/// Pixel centres of the condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Centres {
    /// Those of the operator.
    Operator,
    /// `(factor - 1)/2`, as in the authors' code, whatever the operator.
    Authors,
}

impl Method for WppFlowSampling {
    const KEY: &'static str = "wppflow";
    const TITLE: &'static str = "WPPFlow";
    const PAPERS: &'static [&'static str] = super::wppnet::WppNet::PAPERS;
    const LEARNS: Learns = Learns::Observations;
    const SAMPLES: bool = true;
    type Settings = WppFlowSettings;

    fn applies(instrument: &dyn Instrument) -> std::result::Result<(), String> {
        let downsampling = downsampling(instrument)?;
        if !matches!(downsampling.factor, 2 | 4 | 8 | 16) {
            return Err(format!("it enlarges by 2, 4, 8 or 16, not by {}", downsampling.factor));
        }
        if downsampling.noise <= 0.0 {
            return Err("without noise its posterior has no density".into());
        }
        Ok(())
    }

    fn check(
        settings: &WppFlowSettings,
        _instrument: &dyn Instrument,
        _domain: Option<Space>,
    ) -> std::result::Result<(), SettingFault> {
        settings.training.check()
    }

    fn prepare(settings: &WppFlowSettings, from: &TrainingData<'_>, run: &Run) -> Result<Prepared> {
        let inputs = settings.training.inputs(from, run)?;
        if settings.consistency {
            // What is wrong with the operator is said before the training.
            layer(from.instrument.pose("an observed crop", &inputs.crop()?, None)?.operator.as_ref())?;
        }
        // Numbers of CUDA devices say nothing about results.
        let device = if run.device.is_cuda() { "Cuda" } else { "Cpu" };
        let identity = format!("{} {} {} {device}", inputs.hash()?, to_toml(settings), inputs.instrument);
        let Trained { model: flow, seconds, .. } = run.once("wppflow", &identity, |run| {
            let seed = run.seed_of(Self::TITLE);
            let flow = on_device(smalti_flows::WppFlow::new(settings.flow.shape(&inputs)?, seed)?, run)?;
            let (noise, clip) = (inputs.downsampling.noise, Some(settings.clip));
            let generator = WppFlowGenerator { flow, noise, clip };
            let Trained { model, curve, seconds } = settings.training.train(generator, &inputs, seed, run)?;
            Ok(Trained { model: model.flow, curve, seconds })
        })?;
        let note =
            format!("trained once: {} steps of {} crops in {seconds:.0} s", inputs.steps, inputs.batch);
        let learned = Learned { identity, curve: None, note };
        let WppFlowSettings { draws, consistency, .. } = *settings;
        Prepared::ready(Sampler {
            flow: on_device(flow, run)?,
            draws,
            consistency,
            unseen: inputs.unseen(),
            learned,
        })
    }
}

impl FlowArchitecture {
    fn shape(self, inputs: &TrainingInputs) -> Result<WppFlowShape> {
        let factor = inputs.downsampling.factor;
        let origin = match self.centres {
            Centres::Operator => inputs.operator.grid().origin.0,
            Centres::Authors => (factor - 1) as f64 / 2.0,
        };
        let Self { blocks, hidden, .. } = self;
        Ok(WppFlowShape::altekrueger_2023_x4()
            .with_factor(factor)
            .with_blocks(blocks)
            .with_hidden(hidden)
            .with_origin(origin))
    }
}

/// The flow on the device of the run.
fn on_device(mut flow: smalti_flows::WppFlow, run: &Run) -> Result<smalti_flows::WppFlow> {
    let kind = flow.kind();
    flow.to(run.device, kind)?;
    Ok(flow)
}

struct Sampler {
    flow: smalti_flows::WppFlow,
    draws: i64,
    consistency: bool,
    /// Rows and columns at the end of an observation that the training had no operator for.
    unseen: [i64; 2],
    learned: Learned,
}

impl Reconstructor for Sampler {
    fn reconstruct(&self, problem: &InverseProblem, run: &Run) -> Result<Estimate> {
        let clock = Instant::now();
        let (y, operator) = (&problem.observation, problem.operator.as_ref());
        // The same latents for all problems.
        let mut latents = run.seed.derive("samples of the WPPFlow", 0).at("latents", 0);
        let drawn = self.flow.sample(y, self.draws, &mut latents)?;
        problem.domain().check("samples of a WPPFlow", &drawn)?;
        let residual = |x: &Tensor| root_mean_square(&operator.apply(x)?.f_sub(y)?);
        let (draws, note) = match self.consistency {
            false => (drawn.shallow_clone(), String::new()),
            true => {
                let seed = run.seed.derive("residual of the WPPFlow", 0);
                (
                    self.consistent(&drawn, problem, seed)?,
                    format!("{:.4} before data consistency, ", residual(&drawn)?),
                )
            }
        };
        let mean = draws.f_mean_dim(0i64, true, None::<Kind>)?;
        let seconds = clock.elapsed().as_secs_f64();
        let mut estimate = Estimate::of(mean, seconds);
        estimate.note = format!(
            "{} draws; residual of the draws {:.4} ({note}noise {})",
            self.draws,
            residual(&draws)?,
            problem.noise.scale()
        );
        for (i, (key, title)) in (0..self.draws).zip(DRAWS) {
            let (place, seconds) = match i {
                0 => (Placement::After, Some(seconds / self.draws as f64)),
                _ => (Placement::Pictures, None),
            };
            let image = draws.f_narrow(0, i, 1)?;
            estimate.others.push(ExtraImage { key: key.into(), title: title.into(), image, seconds, place });
        }
        estimate.maps.push(deviation(&draws)?);
        estimate.draws = Some(draws);
        Ok(estimate)
    }

    fn learned(&self) -> Option<&Learned> {
        Some(&self.learned)
    }
}

impl Sampler {
    /// The samples `drawn`, `[S, 1, H, W]`, as near to the observation as the noise is. How near the flow comes is measured where it
    /// had an operator in its training.
    fn consistent(&self, drawn: &Tensor, problem: &InverseProblem, seed: Seed) -> Result<Tensor> {
        let _no_grad = tch::no_grad_guard();
        let (y, operator) = (&problem.observation, problem.operator.as_ref());
        let seen = CroppedOperator { operator, unseen: self.unseen };
        let residual = flow_residual(&self.flow, &seen, &y.f_expand([SAMPLES, -1, -1, -1], false)?, seed)?;
        let layer = layer(operator)?.scaled_to_noise(residual, problem.noise.scale())?;
        let y = y.f_to_kind(drawn.kind())?;
        let near =
            (0..drawn.size()[0]).map(|i| Ok(layer.to_data(&drawn.f_narrow(0, i, 1)?, Some(&y))?.value));
        Ok(Tensor::f_cat(&near.collect::<Result<Vec<_>>>()?, 0)?)
    }
}

/// The layer of an operator, with the scale 1.
///
/// # Errors
/// Where there is none for it: its rows are dependent, or too nearly so.
fn layer(operator: &dyn LinearOperator) -> Result<DataConsistency<&dyn LinearOperator>> {
    DataConsistency::new(operator, 1.0, PseudoInverse::default())
}

/// An operator without the last rows and columns of its range.
struct CroppedOperator<'a> {
    operator: &'a dyn LinearOperator,
    unseen: [i64; 2],
}

impl Operator for CroppedOperator<'_> {
    fn domain(&self) -> Space {
        self.operator.domain()
    }

    fn range(&self) -> Space {
        let (range, [rows, columns]) = (self.operator.range(), self.unseen);
        Space { height: range.height - rows, width: range.width - columns, ..range }
    }

    fn apply(&self, x: &Tensor) -> Result<Tensor> {
        let Space { height, width, .. } = self.range();
        Ok(self.operator.apply(x)?.f_narrow(2, 0, height)?.f_narrow(3, 0, width)?)
    }

    fn vjp(&self, x: &Tensor, v: &Tensor) -> Result<Tensor> {
        let [rows, columns] = self.unseen;
        self.operator.vjp(x, &v.f_constant_pad_nd([0, columns, 0, rows])?)
    }
}

fn root_mean_square(t: &Tensor) -> Result<f64> {
    Ok(t.f_square()?.f_mean(Kind::Double)?.f_double_value(&[])?.sqrt())
}

/// The standard deviation over draws (unbiased) as a picture: white is what 99.5 % of the pixels stay below, in steps of 0.01.
fn deviation(draws: &Tensor) -> Result<UncertaintyMap> {
    let deviation = draws.f_std_dim(0i64, true, true)?;
    let (sorted, _) = deviation.f_to_kind(Kind::Double)?.f_flatten(0, -1)?.f_sort(0, false)?;
    let high = sorted.f_double_value(&[(sorted.size()[0] - 1) * 995 / 1000])?;
    if !high.is_finite() {
        return Err(Error::value("standard deviation of the draws", "finite numbers", high));
    }
    let scale = (high * 100.0).ceil().max(1.0) / 100.0;
    Ok(UncertaintyMap {
        key: "standard-deviation".into(),
        title: "Standard deviation".into(),
        caption: format!("black 0, white {scale:.2} or more"),
        image: deviation.f_div_scalar(scale)?.f_clamp(0.0, 1.0)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ProblemEntry, Range};
    use toml::de::Deserializer;

    /// With a bias taken off the observation, the operator is linear.
    #[test]
    fn samples_come_near_observations() {
        let shape = WppFlowShape::altekrueger_2023_x4().with_blocks(1).with_hidden(4);
        let settings =
            "kernel_size = 16\nsigma = 2.0\nstride = 4\nform = 'wrap-after'\nnoise = 0.01\ncrop = 8";
        let problem = ProblemEntry::find("superresolution").unwrap();
        let camera = (problem.read)(Deserializer::parse(settings).unwrap()).unwrap();
        let camera = camera.instrument(None).unwrap();
        let y = Seed::new(2).at("y", 0).uniform(&[1, 1, 24, 24]) - 0.3;
        let problem = camera.pose("noise", &y, None).unwrap();
        assert_eq!(problem.range, Range::UNIT);
        let flow = smalti_flows::WppFlow::new(shape, Seed::new(1)).unwrap();
        let drawn = flow.sample(&y, 3, &mut Seed::new(3).at("latents", 0)).unwrap();
        let sampler =
            Sampler { flow, draws: 3, consistency: true, unseen: [3, 3], learned: Learned::default() };
        let residual = |x: &Tensor| root_mean_square(&(problem.operator.apply(x).unwrap() - &y)).unwrap();
        let near = sampler.consistent(&drawn, &problem, Seed::new(4)).unwrap();
        let (before, after) = (residual(&drawn), residual(&near));
        // What other samples and the border say of these.
        assert!(before > 0.1 && (after / 0.01 - 1.0).abs() < 0.3, "{before} {after}");
    }

    #[test]
    fn the_picture_has_the_scale_that_it_names() {
        // Deviations of 0.1 and 0.04 over the root of 2, the smaller of which decides on the scale.
        let draws = Tensor::from_slice(&[0.4f32, 0.54, 0.5, 0.5]).reshape([2, 1, 1, 2]);
        let map = deviation(&draws).unwrap();
        assert_eq!(map.caption, "black 0, white 0.03 or more");
        let expected = Tensor::from_slice(&[1.0, 0.04 / 0.03 * 0.5f64.sqrt()]).reshape([1, 1, 1, 2]);
        let wrong = (&map.image - expected).abs().max().double_value(&[]);
        assert!(wrong < 1e-5, "{:?}", Vec::<f32>::try_from(map.image.flatten(0, -1)));
    }
}
