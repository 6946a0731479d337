//! patchNR flows in files: own checkpoints, and the authors' `.pth` state dicts.

use crate::clamp::{ClampForm, SoftClamp};
use crate::patchnr::{PatchNr, PatchNrShape};
use smalti_base::checkpoint::Checkpoint;
use smalti_base::pytorch_file::load_state_dict;
use smalti_base::{Error, Result, Seed};
use std::collections::BTreeMap;
use std::path::Path;
use tch::{Kind, Tensor};

const KIND: &str = "patchNR flow";

impl PatchNr {
    /// The flow as a checkpoint: parameters and permutations as tensors; patch size, architecture, clamp form
    /// and [`PatchNr::provenance`] as metadata.
    pub fn to_checkpoint(&self) -> Checkpoint {
        let shape = self.shape();
        let mut tensors: BTreeMap<String, Tensor> =
            self.parameters().into_iter().map(|(name, t)| (name, t.detach().to_kind(Kind::Float))).collect();
        for (k, perm) in self.permutations().iter().enumerate() {
            tensors.insert(format!("module_list.{}.perm", 2 * k + 1), Tensor::from_slice(perm));
        }
        let mut metadata = self.provenance.clone();
        for (key, value) in [
            ("kind", KIND.to_owned()),
            ("patch_size", shape.patch_size.to_string()),
            ("axes", shape.axes.to_string()),
            ("blocks", shape.blocks.to_string()),
            ("hidden", shape.hidden.to_string()),
            ("clamp", shape.clamp.alpha().to_string()),
            ("clamp_form", shape.clamp.form().to_string()),
        ] {
            metadata.insert(key.into(), value);
        }
        let mut file = Checkpoint::default();
        (file.tensors, file.metadata) = (tensors, metadata);
        file
    }

    /// Writes [`PatchNr::to_checkpoint`] to a safetensors file, atomically.
    ///
    /// # Errors
    /// [`Error::File`] where it cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        self.to_checkpoint().save(path)
    }

    /// The flow of a file written by [`PatchNr::save`].
    ///
    /// # Errors
    /// [`Error::File`], [`Error::Content`] where the file is not such a checkpoint.
    pub fn load(path: &Path) -> Result<Self> {
        Self::from_checkpoint(Checkpoint::load(path)?, path)
    }

    /// The flow of a checkpoint that was read from `path`.
    ///
    /// # Errors
    /// [`Error::Content`] where it is not a patchNR flow.
    pub fn from_checkpoint(mut file: Checkpoint, path: &Path) -> Result<Self> {
        if file.meta("kind")? != KIND {
            let found = file.meta("kind")?;
            return Err(Error::content(
                path,
                format!("holds a {found}, not a {KIND}"),
                "give a patchNR file",
            ));
        }
        let form: ClampForm = file.meta_parsed("clamp_form")?;
        let shape = PatchNrShape {
            patch_size: file.meta_parsed("patch_size")?,
            // Older files are all of square patches and do not say so.
            axes: if file.metadata.contains_key("axes") { file.meta_parsed("axes")? } else { 2 },
            blocks: file.meta_parsed("blocks")?,
            hidden: file.meta_parsed("hidden")?,
            clamp: SoftClamp::new(form, file.meta_parsed("clamp")?)?,
        };
        let mut permutations = Vec::new();
        for k in 0..shape.blocks {
            let name = format!("module_list.{}.perm", 2 * k + 1);
            let perm = file.take(&name, &[shape.dim()], Kind::Int64)?;
            permutations.push(integers(&perm, path)?);
        }
        for (name, size) in Self::parameter_shapes(shape, &permutations)? {
            file.check(&name, &size, Kind::Float)?;
        }
        let mut flow = Self::with_permutations(shape, permutations, Seed::new(0))?;
        flow.fill(|name, size| file.take(name, size, Kind::Float))?;
        flow.provenance = file.metadata;
        Ok(flow)
    }

    /// Checks that the flow is one on patches of side `patch_size` with so many `axes`.
    ///
    /// # Errors
    /// [`Error::Content`] naming `path`.
    pub fn expect_patches(&self, patch_size: i64, axes: i64, path: &Path) -> Result<()> {
        let shape = self.shape();
        if (shape.patch_size, shape.axes) == (patch_size, axes) {
            return Ok(());
        }
        let sides = |p: i64, axes: i64| vec![p.to_string(); axes.max(0) as usize].join("x");
        let (found, expected) = (sides(shape.patch_size, shape.axes), sides(patch_size, axes));
        let problem = format!("the flow is for {found} patches, expected {expected}");
        Err(Error::content(
            path,
            problem,
            "set the patch size of the experiment to that of the file, or train anew",
        ))
    }

    /// Reads the authors' `.pth` state dict, as FrEIA names it (`module_list.K.subnetJ.L.weight`, `.perm`),
    /// under any top-level key. Such a file does not say its clamp: give alpha and form.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::Content`] where it is not the state dict of a patchNR flow.
    pub fn import_freia(path: &Path, clamp: SoftClamp) -> Result<Self> {
        let dict = read_state_dict(path)?;
        let missing = |name: &str| {
            Error::content(path, format!("no tensor {name}"), "give the state dict of a patchNR flow")
        };
        let mut permutations = Vec::new();
        while let Some(perm) = dict.get(&format!("module_list.{}.perm", 2 * permutations.len() + 1)) {
            permutations.push(integers(perm, path)?);
        }
        let first = "module_list.0.subnet1.0.weight";
        let first = dict.get(first).ok_or_else(|| missing(first))?.size();
        let dim = permutations.first().map_or(0, |p: &Vec<i64>| p.len() as i64);
        let patch_size = (dim as f64).sqrt().round() as i64;
        if patch_size < 1 || patch_size * patch_size != dim || first.len() != 2 {
            let problem = format!("permutations of length {dim} are not those of square patches");
            return Err(Error::content(path, problem, "give the state dict of a patchNR flow"));
        }
        let shape =
            PatchNrShape { patch_size, axes: 2, blocks: permutations.len() as i64, hidden: first[0], clamp };
        for (name, size) in Self::parameter_shapes(shape, &permutations)? {
            let found = dict.get(&name).ok_or_else(|| missing(&name))?.size();
            if found != size {
                let problem = format!("{name}: expected {size:?}, got {found:?}");
                return Err(Error::content(
                    path,
                    problem,
                    "give a flow whose subnets have two equal hidden layers",
                ));
            }
        }
        let mut flow = Self::with_permutations(shape, permutations, Seed::new(0))?;
        flow.fill(|name, _| Ok(dict.get(name).ok_or_else(|| missing(name))?.f_to_kind(Kind::Float)?))?;
        flow.provenance.insert("imported_from".into(), "FrEIA state dict".into());
        Ok(flow)
    }

    /// Names and shapes of all parameters: a file is compared with them before memory is taken for what it announces.
    fn parameter_shapes(shape: PatchNrShape, permutations: &[Vec<i64>]) -> Result<Vec<(String, Vec<i64>)>> {
        parameter_shapes(shape.hidden, |hidden| {
            let flow = Self::with_permutations(
                PatchNrShape { hidden, ..shape },
                permutations.to_vec(),
                Seed::new(0),
            )?;
            Ok(flow.parameters().into_iter().map(|(name, t)| (name, t.size())).collect())
        })
    }

    /// Fills every parameter with what `source` gives for its name and shape.
    fn fill(&mut self, mut source: impl FnMut(&str, &[i64]) -> Result<Tensor>) -> Result<()> {
        let mut parts = Vec::new();
        for (name, parameter) in self.parameters() {
            parts.push(source(&name, &parameter.size())?.reshape([-1]));
        }
        let _no_grad = tch::no_grad_guard();
        let mut flat = self.flat_parameters().shallow_clone();
        flat.f_copy_(&Tensor::f_cat(&parts, 0)?.to_device(self.device()))?;
        self.refresh()
    }
}

/// Names and shapes of the parameters of something with `hidden` hidden units, which may be any number: what differs between two
/// `narrow` ones, of 2 and of 3 units, is `hidden`.
pub(crate) fn parameter_shapes(
    hidden: i64,
    narrow: impl Fn(i64) -> Result<Vec<(String, Vec<i64>)>>,
) -> Result<Vec<(String, Vec<i64>)>> {
    if hidden < 1 {
        return Err(Error::value("hidden units", "at least 1", hidden));
    }
    let (two, three) = (narrow(2)?, narrow(3)?);
    let size = |(two, three): (i64, i64)| if two == three { two } else { hidden };
    let of_both = |((name, two), (_, three)): ((String, Vec<i64>), (String, Vec<i64>))| {
        (name, two.into_iter().zip(three).map(size).collect())
    };
    Ok(two.into_iter().zip(three).map(of_both).collect())
}

fn integers(t: &Tensor, path: &Path) -> Result<Vec<i64>> {
    let unreadable = |e| Error::content(path, format!("permutation unreadable: {e}"), "export the flow anew");
    Vec::<i64>::try_from(t.to_kind(Kind::Int64).reshape([-1])).map_err(unreadable)
}

/// The tensors of a PyTorch file, with any common top-level key cut off their names.
fn read_state_dict(path: &Path) -> Result<BTreeMap<String, Tensor>> {
    let short = |name: &str| name.find("module_list.").map_or(name, |at| &name[at..]).to_owned();
    Ok(load_state_dict(path)?.into_iter().map(|(name, tensor)| (short(&name), tensor)).collect())
}
