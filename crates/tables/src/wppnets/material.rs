//! What WPPNets learn from and are tested on: crops, operators, test images.

use crate::data::DataSource;
use crate::experiment::wppnets::{Crops, Forward, Network, Observed, Test};
use crate::run::RunOptions;
use smalti_base::{Error, Result, Seed, Space, hdf5_file::load_crops};
use smalti_methods::problems::superresolution::Form;
use smalti_operators::{Biased, Convolution, Extension, Grid, LinearOperator, Operator};
use tch::Tensor;

/// Side of training crops cut from synthetic observations.
const SYNTHETIC_CROP: i64 = 25;

/// Noise of synthetic observations.
const SYNTHETIC_NOISE: f64 = 0.01;

/// A test image and what is observed of it.
pub(crate) struct Seen {
    /// The true image, `[1, 1, H, W]`.
    pub(crate) truth: Tensor,
    /// The observation, `[1, 1, h, w]`.
    pub(crate) observation: Tensor,
    /// Where observed pixels lie in the true image.
    pub(crate) grid: Grid,
    /// What it is called.
    pub(crate) label: String,
}

/// The forward operator of a network.
pub(crate) type Affine = Biased<Box<dyn LinearOperator>>;

/// The forward operator of a network, on images of `domain` that a Gaussian blur continues as `form` says.
pub(crate) fn operator(network: &Network, form: Form, domain: Space, data: &DataSource) -> Result<Affine> {
    affine(&network.operator, network.factor, form, domain, data)
}

fn affine(forward: &Forward, factor: i64, form: Form, domain: Space, data: &DataSource) -> Result<Affine> {
    let blur = |kernel_size, sigma| {
        let linear =
            Convolution::superresolution(domain, kernel_size, sigma, factor, form.extension(kernel_size))?;
        Ok(Biased::new(linear, 0.0)?.boxed())
    };
    match (forward, data) {
        (&Forward::Gaussian { kernel_size, sigma }, _) => blur(kernel_size, sigma),
        (Forward::Estimated(file), DataSource::Folder { folder, .. }) => {
            Ok(Biased::load(&folder.join(file), domain, factor)?.boxed())
        }
        // A stand-in of a similar width.
        (
            Forward::Estimated(_),
            DataSource::Synthetic | DataSource::SyntheticVolumes | DataSource::Drawn(_),
        ) => blur(15, 1.0),
    }
}

/// The observed crops that a network learns from, `[N, 1, h, w]`.
pub(crate) fn crops(network: &Network, data: &DataSource) -> Result<Tensor> {
    match (&network.crops, data.path(network.crops.file())) {
        (Crops::File(_), Some(path)) => load_crops(&path, None),
        (&Crops::Cut { ref image, size, step }, Some(_)) => cut(&data.load(image)?, size, step),
        (Crops::File(name), None) => {
            cut(&synthetic(name, network, data)?, SYNTHETIC_CROP, SYNTHETIC_CROP / 2)
        }
        (&Crops::Cut { ref image, size, step }, None) => cut(&synthetic(image, network, data)?, size, step),
    }
}

/// At most `count` observed crops of `size` that measure the training, drawn once.
pub(crate) fn validation(
    network: &Network,
    data: &DataSource,
    size: [i64; 2],
    count: usize,
    seed: Seed,
) -> Result<Tensor> {
    let observed = match data.path(&network.validation) {
        Some(path) => load_crops(&path, Some("obs"))?,
        None => synthetic(&network.validation, network, data)?,
    };
    let all = tiles(&observed, size, size)?;
    let order = seed.at("validation crops", 0).distinct_indices(all.size()[0], count);
    Ok(all.f_index_select(0, &Tensor::f_from_slice(&order)?)?)
}

/// A test image of `network`.
pub(crate) fn observe(
    test: &Test,
    network: &Network,
    data: &DataSource,
    options: &RunOptions,
) -> Result<Seen> {
    let truth = data.load(&test.truth)?;
    let domain = Space::of(&test.truth, &truth)?;
    let simulated = |kernel_size: i64, sigma: f64, noise: f64, seed: Seed| {
        let wrap = Extension::WrapAfter;
        let operator = Convolution::superresolution(domain, kernel_size, sigma, network.factor, wrap)?;
        let exact = operator.apply(&truth)?;
        let noise = seed.at("observation noise", 0).normal(&exact.size()) * noise;
        Ok::<_, Error>((exact + noise, operator.grid()))
    };
    let (kernel_size, sigma) = match *network.observed_with() {
        Forward::Gaussian { kernel_size, sigma } => (kernel_size, sigma),
        Forward::Estimated(_) => (15, 1.0),
    };
    let (observation, grid, label) = match (&test.observed, data) {
        (&Observed::Simulated { kernel_size, sigma, noise }, _) => {
            let seed = options.seed.derive(&test.truth, 0);
            let (observation, grid) = simulated(kernel_size, sigma, noise, seed)?;
            (
                observation,
                grid,
                format!("{} blurred with sigma {sigma}", data.label(&names(data, &test.truth))),
            )
        }
        (Observed::File(name), DataSource::Folder { .. }) => {
            let of = network.observed_with();
            let grid = affine(of, network.factor, Form::WrapAfter, domain, data)?.grid();
            (data.load(name)?, grid, data.label(std::slice::from_ref(name)))
        }
        (
            Observed::File(name),
            DataSource::Synthetic | DataSource::SyntheticVolumes | DataSource::Drawn(_),
        ) => {
            let (observation, grid) =
                simulated(kernel_size, sigma, SYNTHETIC_NOISE, Seed::new(1).derive(name, 0))?;
            (observation, grid, data.label(&names(data, name)))
        }
    };
    let expected = Space::image(1, domain.height / network.factor, domain.width / network.factor);
    expected.check(&format!("observation of {}", test.truth), &observation)?;
    let to = |t: Tensor| t.f_to_device(options.device);
    Ok(Seen { truth: to(truth)?, observation: to(observation)?, grid, label })
}

impl Crops {
    fn file(&self) -> &str {
        match self {
            Self::File(file) | Self::Cut { image: file, .. } => file,
        }
    }
}

/// What an image is called in these data.
fn names(data: &DataSource, name: &str) -> Vec<String> {
    data.names(&[name.to_owned()], None).unwrap_or_else(|_| vec![name.to_owned()])
}

/// A synthetic observation that stands for the file `name`.
fn synthetic(name: &str, network: &Network, data: &DataSource) -> Result<Tensor> {
    let image = data.load(name)?;
    let domain = Space::of(name, &image)?;
    let operator = affine(network.observed_with(), network.factor, Form::WrapAfter, domain, data)?;
    let exact = operator.apply(&image)?;
    let noise = Seed::new(1).derive(name, 0).at("observation noise", 0).normal(&exact.size());
    Ok(exact + noise * SYNTHETIC_NOISE)
}

/// Crops of `size x size` pixels of one image, `step` pixels apart.
fn cut(image: &Tensor, size: i64, step: i64) -> Result<Tensor> {
    tiles(image, [size; 2], [step; 2])
}

/// Crops of `size` of all images `[N, 1, H, W]`, `step` apart, one after another.
fn tiles(images: &Tensor, size: [i64; 2], step: [i64; 2]) -> Result<Tensor> {
    let space = Space::of("observation to cut", images)?;
    if space.height < size[0] || space.width < size[1] {
        let expected = format!("at least {} x {} pixels, those of a crop", size[0], size[1]);
        return Err(Error::shape("observation to cut", expected, images.size()));
    }
    let windows = images.f_unfold(2, size[0], step[0])?.f_unfold(3, size[1], step[1])?;
    Ok(windows.f_reshape([-1, 1, size[0], size[1]])?.f_contiguous()?)
}
