//! The comparisons of the Wasserstein engine with PyTorch (closed form and back-propagation), KeOps and POT: same rows, same potentials.

use crate::answer::Answer;
use crate::compare::Comparison;
use crate::fixtures;
use crate::peer::PeerSpec;
use smalti_base::checkpoint::Checkpoint;
use smalti_base::{Error, Result};
use smalti_kernels::error::KernelError;
use smalti_kernels::rows::Rows;
use smalti_kernels::transport::{DualMethod, DualSolver, Queries, References};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;
use tch::{Kind, Tensor};

/// The names of the comparisons.
pub const NAMES: [&str; 5] =
    ["c_transform_sic_10k", "c_transform_sic_354k", "c_transform_noise_10k", "w2_sic_2k", "w2_sic_5k"];

/// Side of a patch.
pub(crate) const SIDE: i64 = 6;

/// Reference patches of the c-transforms.
pub(crate) const REFERENCES: usize = 10_000;

/// Evaluations in a row that one run of a transform takes the mean of, on both sides: what comes before a run (a peer that
/// ran, a core that slept) is no part of a solve. Fewer of those that build their indices.
pub(crate) const EVALUATIONS: u64 = 10;
const INDEXINGS: u64 = 4;

/// The images that patches are read from, `[1, 1, H, W]`.
#[derive(Debug)]
pub struct Images {
    /// The reference image.
    pub reference: Tensor,
    /// The image that is compared with it.
    pub image: Tensor,
    /// What they are, for the column of sizes.
    pub what: &'static str,
}

impl Images {
    /// Two synthetic slices of 600 x 600 pixels.
    ///
    /// # Errors
    /// Those of libtorch.
    pub fn synthetic() -> Result<Self> {
        Ok(Self { reference: fixtures::image()?, image: fixtures::other_image()?, what: "synthetic" })
    }
}

/// The comparisons of this name, for at most `rounds` rounds; their inputs are written into `folder`.
///
/// # Errors
/// [`Error::Value`] for a name that is not in [`NAMES`] or images with too few patches; where the inputs cannot be
/// written.
pub fn comparisons(
    name: &'static str,
    images: &Images,
    rounds: u64,
    folder: &Path,
) -> Result<Vec<Comparison>> {
    let of_images = |queries, psi, indexing| {
        let x = patches(&images.image, queries, "queries")?;
        let y = patches(&images.reference, Some(REFERENCES), "references")?;
        transform(name, images.what, (x, y), psi, indexing, rounds, folder)
    };
    let exact = |count| {
        let x = patches(&images.image, Some(count), "queries")?;
        let y = patches(&images.reference, Some(count), "references")?;
        distance(name, images.what, (x, y), folder)
    };
    match name {
        "c_transform_sic_10k" => [(Psi::Early, false), (Psi::Converged, false), (Psi::Converged, true)]
            .into_iter()
            .map(|(psi, indexing)| of_images(Some(REFERENCES), psi, indexing))
            .collect(),
        "c_transform_sic_354k" => {
            let mut comparison = of_images(None, Psi::Converged, true)?;
            // Autograd would keep a matrix of 14 GB and more; KeOps takes half a minute a run.
            comparison.peers.truncate(1);
            Ok(vec![comparison])
        }
        "c_transform_noise_10k" => {
            let noise = |what| fixtures::seed().at(what, 0).normal(&[REFERENCES as i64, SIDE * SIDE]);
            let rows = (noise("noise queries"), noise("noise references"));
            Ok(vec![transform(name, "Gaussian noise", rows, Psi::Early, false, rounds, folder)?])
        }
        "w2_sic_2k" => Ok(vec![exact(2_000)?]),
        "w2_sic_5k" => Ok(vec![exact(5_000)?]),
        _ => Err(Error::value("name of the comparison", NAMES.join(", "), name)),
    }
}

/// Which potential the c-transforms have; those of successive runs differ a little, as in a solver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Psi {
    /// After ten averaged supergradient steps of size 1.
    Early,
    /// With a gap of 1 % between the references and as many of the queries.
    Converged,
}

/// Value of the semi-dual, gradient in the rows and in the potential: the mean of several evaluations, each with another
/// potential, as inside of a solver. With `indexing` each of them builds both indices.
fn transform(
    name: &'static str,
    what: &str,
    (x, y): (Tensor, Tensor),
    kind: Psi,
    indexing: bool,
    rounds: u64,
    folder: &Path,
) -> Result<Comparison> {
    let (n, m) = (x.size()[0], y.size()[0]);
    let evaluations = match indexing {
        false => EVALUATIONS,
        true if n <= REFERENCES as i64 => INDEXINGS,
        true => 1,
    };
    let potentials = potentials(kind, &x, &y, (rounds + 1) * evaluations)?;
    let file = [("x", &x), ("y", &y), ("psi", &potentials)];
    let inputs = write(&file, &format!("{name}-{kind:?}-{indexing}"), folder)?;
    let (x, y) = (rows(&x)?, rows(&y)?);
    let index = move |x| -> Result<Queries, KernelError> { Queries::new(&Arc::new(References::new(&y)?), x) };
    let mut kept = None;
    let ours = move |run: u64| {
        // Peers find their inputs in memory, too: ours are copied before the clock starts.
        let psi = |k: u64| {
            Vec::<f64>::try_from(potentials.get((k as i64) % potentials.size()[0]).to_kind(Kind::Double))
        };
        let psi = (run * evaluations..(run + 1) * evaluations).map(psi).collect::<Result<Vec<_>, _>>()?;
        let given = |k: usize| (indexing || kept.is_none() && k == 0).then(|| x.clone());
        let given: Vec<_> = (0..psi.len()).map(given).collect();
        if indexing {
            kept = None;
        }
        let start = Instant::now();
        let mut last = (f64::NAN, Vec::new(), Vec::new());
        for (psi, given) in psi.iter().zip(given) {
            if let Some(x) = given {
                kept = Some(index(x).map_err(refused)?);
            }
            let Some(queries) = &mut kept else { return Err(Error::value("queries", "some", "none")) };
            last = evaluate(queries, psi).map_err(refused)?;
        }
        let seconds = start.elapsed().as_secs_f64() / evaluations as f64;
        let (value, in_rows, in_psi) = last;
        let norms = [("gradient norm", norm(&in_rows)), ("psi gradient norm", norm(&in_psi))];
        Ok(answer(seconds, &[&[("value", value)][..], &norms].concat()))
    };
    let when = match (kind, indexing) {
        (Psi::Early, false) => "early psi",
        (Psi::Early, true) => "early psi with indexing",
        (Psi::Converged, false) => "converged psi",
        (Psi::Converged, true) => "converged psi with indexing",
    };
    Ok(Comparison {
        name,
        size: format!("{n} x {m} of {} {what} {when}", SIDE * SIDE),
        // Float32 sums, and float32 ties that another place wins.
        tolerance: 1e-2,
        inputs,
        ours: Box::new(ours),
        peers: peers(evaluations, "cpu"),
    })
}

/// The peers of a c-transform, so many evaluations a run, on a device in PyTorch's words.
pub(crate) fn peers(evaluations: u64, device: &str) -> Vec<PeerSpec> {
    let peer = |(name, how): (_, &str)| {
        let arguments = vec![how.into(), evaluations.to_string(), device.into()];
        PeerSpec { name, script: "transport.py", arguments }
    };
    let all = [
        ("pytorch-dense", "dense"),
        ("pytorch-autograd-psi", "autograd-psi"),
        ("pytorch-autograd", "autograd"),
        ("pykeops", "keops"),
    ];
    all.into_iter().map(peer).collect()
}

/// The semi-dual, its gradient in the rows, its gradient in the potential.
pub(crate) fn evaluate(queries: &mut Queries, psi: &[f64]) -> Result<(f64, Vec<f64>, Vec<f64>), KernelError> {
    let found = queries.c_transform(psi)?;
    let in_rows = queries.gradient(&found, None)?;
    let in_psi = found.shares(psi.len()).iter().map(|s| 1.0 / psi.len() as f64 - s).collect();
    Ok((found.mean() + psi.iter().sum::<f64>() / psi.len() as f64, in_rows, in_psi))
}

/// The squared distance between two sets of as many rows, from nothing to a certified gap of 1e-3: both bounds are compared
/// with the exact value.
fn distance(name: &'static str, what: &str, (x, y): (Tensor, Tensor), folder: &Path) -> Result<Comparison> {
    let (n, m) = (x.size()[0], y.size()[0]);
    let inputs = write(&[("x", &x), ("y", &y)], name, folder)?;
    let (x, y) = (rows(&x)?, rows(&y)?);
    let ours = move |_| {
        let start = Instant::now();
        let references = Arc::new(References::new(&y).map_err(refused)?);
        let mut queries = Queries::new(&references, x.clone()).map_err(refused)?;
        let mut dual = DualSolver::new(&references, DualMethod::default()).map_err(refused)?;
        let solution = dual.solve(&mut queries, None).map_err(refused)?;
        let seconds = start.elapsed().as_secs_f64();
        if !solution.converged {
            return Err(Error::value("gap of the dual solver", "1e-3", format!("{:?}", solution.gap())));
        }
        let upper = solution.upper.unwrap_or(f64::NAN);
        Ok(answer(seconds, &[("value", solution.value), ("upper", upper)]))
    };
    Ok(Comparison {
        name,
        size: format!("{n} x {m} of {} {what}", SIDE * SIDE),
        tolerance: 1e-3,
        inputs,
        ours: Box::new(ours),
        peers: vec![PeerSpec { name: "pot-emd2", script: "exact_transport.py", arguments: vec![] }],
    })
}

/// At most `count` rows at even distances.
fn spread_over(x: &Tensor, count: i64) -> Result<Tensor> {
    let (total, count) = (x.size()[0], count.min(x.size()[0]));
    let positions: Vec<i64> = (0..count).map(|i| i * total / count).collect();
    Ok(x.f_index_select(0, &Tensor::f_from_slice(&positions)?)?)
}

/// `[runs, M]`, float32; a converged one is that of as many rows of `x` as there are references.
pub(crate) fn potentials(kind: Psi, x: &Tensor, y: &Tensor, runs: u64) -> Result<Tensor> {
    let references = Arc::new(References::new(&rows(y)?).map_err(refused)?);
    let psi = match kind {
        Psi::Early => {
            let method = DualMethod::AveragedSgd { steps: 10, step: 1.0 };
            let mut dual = DualSolver::new(&references, method).map_err(refused)?;
            let mut queries = Queries::new(&references, rows(x)?).map_err(refused)?;
            dual.solve(&mut queries, None).map_err(refused)?;
            dual.potential().to_vec()
        }
        Psi::Converged => {
            let method = DualMethod::Converge { gap: 1e-2, evaluations: 1000 };
            let mut dual = DualSolver::new(&references, method).map_err(refused)?;
            let mut queries =
                Queries::new(&references, rows(&spread_over(x, y.size()[0])?)?).map_err(refused)?;
            let solution = dual.solve(&mut queries, None).map_err(refused)?;
            if !solution.converged {
                let got = format!("{:?} after {} evaluations", solution.gap(), solution.evaluations);
                return Err(Error::value("gap of a converged potential", "1e-2", got));
            }
            dual.potential().to_vec()
        }
    };
    let psi = Tensor::f_from_slice(&psi)?;
    let (m, spread) = (y.size()[0], psi.std(true).double_value(&[]));
    let change = fixtures::seed().at("changes of psi", 0).normal(&[runs as i64, m]);
    Ok((psi.unsqueeze(0) + change * (0.02 * spread)).to_kind(Kind::Float))
}

/// `count` patches of 6 x 6 at random positions (drawn for the purpose `what`), or all, `[N, 36]`.
///
/// # Errors
/// [`Error::Value`] where there are fewer.
pub fn patches(image: &Tensor, count: Option<usize>, what: &str) -> Result<Tensor> {
    let unfolded = image.f_unfold(2, SIDE, 1)?.f_unfold(3, SIDE, 1)?;
    let all = unfolded.f_reshape([-1, SIDE * SIDE])?.f_contiguous()?;
    let Some(count) = count else { return Ok(all) };
    let total = all.size()[0];
    if count as i64 > total {
        return Err(Error::value("patches of an image", format!("at least {count}"), total));
    }
    let drawn = fixtures::seed().at(what, 0).distinct_indices(total, count);
    Ok(all.f_index_select(0, &Tensor::from_slice(&drawn))?)
}

/// The rows of a matrix, as the kernels read them.
///
/// # Errors
/// [`Error::Value`] for values that are not finite.
pub fn rows(matrix: &Tensor) -> Result<Rows> {
    let flat = Vec::<f32>::try_from(matrix.f_to_kind(Kind::Float)?.f_contiguous()?.f_view(-1)?)?;
    Rows::dense(flat, matrix.size()[1] as usize).map_err(refused)
}

/// Writes the inputs of the peers of a comparison.
pub(crate) fn write(tensors: &[(&str, &Tensor)], name: &str, folder: &Path) -> Result<std::path::PathBuf> {
    let path = folder.join(format!("{name}.safetensors"));
    let mut file = Checkpoint::default();
    for (name, tensor) in tensors {
        file.tensors.insert((*name).into(), tensor.shallow_clone());
    }
    file.save(&path)?;
    Ok(path)
}

fn norm(values: &[f64]) -> f64 {
    values.iter().map(|v| v * v).sum::<f64>().sqrt()
}

/// An error of the kernels as one of the library.
pub fn refused(e: KernelError) -> Error {
    Error::Value { what: e.what, expected: e.expected, got: e.got }
}

/// An answer with these values.
pub(crate) fn answer(seconds: f64, values: &[(&str, f64)]) -> Answer {
    let values = values.iter().map(|&(name, value)| (name.to_owned(), value)).collect();
    Answer { seconds, values }
}
