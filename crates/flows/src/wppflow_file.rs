//! WPPFlows in files.

use crate::clamp::{ClampForm, SoftClamp};
use crate::patchnr_file::parameter_shapes;
use crate::wppflow::WppFlow;
use crate::wppflow_shape::WppFlowShape;
use smalti_base::checkpoint::Checkpoint;
use smalti_base::{Error, Result, Seed};
use std::path::Path;
use tch::{Kind, Tensor};

const KIND: &str = "WPPFlow";

impl WppFlow {
    /// The flow as a checkpoint: parameters and permutations as tensors; architecture, clamp forms and
    /// [`WppFlow::provenance`] as metadata.
    pub fn to_checkpoint(&self) -> Checkpoint {
        let mut file = Checkpoint::default();
        file.tensors = self
            .parameters()
            .into_iter()
            .map(|(name, t)| (format!("layer.{name}"), t.detach().to_kind(Kind::Float).copy()))
            .collect();
        for (k, permutation) in self.permutations().iter().enumerate() {
            file.tensors.insert(format!("permutation.{k}"), Tensor::from_slice(permutation));
        }
        file.metadata = self.provenance.clone();
        let shape = self.shape();
        file.set_meta("kind", KIND);
        file.set_meta("factor", shape.factor);
        file.set_meta("blocks", shape.blocks);
        file.set_meta("hidden", shape.hidden);
        file.set_meta("origin", shape.origin);
        for (name, clamp) in [("first_clamp", shape.first_clamp), ("clamp", shape.clamp)] {
            file.set_meta(name, clamp.alpha());
            file.set_meta(&format!("{name}_form"), clamp.form());
        }
        file.set_meta("initialised", self.is_initialised());
        file
    }

    /// Writes [`WppFlow::to_checkpoint`] to a safetensors file, atomically.
    ///
    /// # Errors
    /// [`Error::File`] where it cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        self.to_checkpoint().save(path)
    }

    /// The flow of a file written by [`WppFlow::save`], in float32 on the CPU.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::Content`] where the file is not such a checkpoint.
    pub fn load(path: &Path) -> Result<Self> {
        Self::from_checkpoint(Checkpoint::load(path)?, path)
    }

    /// The flow of a checkpoint that was read from `path`, in float32 on the CPU.
    ///
    /// # Errors
    /// [`Error::Content`] where it is not a WPPFlow.
    pub fn from_checkpoint(mut file: Checkpoint, path: &Path) -> Result<Self> {
        let kind = file.meta("kind")?;
        if kind != KIND {
            let problem = format!("holds a {kind}, not a {KIND}");
            return Err(Error::content(path, problem, "give a file of a WPPFlow"));
        }
        let clamp = |name: &str| {
            let form: ClampForm = file.meta_parsed(&format!("{name}_form"))?;
            SoftClamp::new(form, file.meta_parsed(name)?)
        };
        let shape = WppFlowShape {
            factor: file.meta_parsed("factor")?,
            blocks: file.meta_parsed("blocks")?,
            hidden: file.meta_parsed("hidden")?,
            first_clamp: clamp("first_clamp")?,
            clamp: clamp("clamp")?,
            origin: file.meta_parsed("origin")?,
        };
        if shape.blocks > file.tensors.len() as i64 {
            let problem = format!("has {} tensors for {} blocks", file.tensors.len(), shape.blocks);
            return Err(Error::content(path, problem, "give a file of a WPPFlow"));
        }
        let mut permutations = Vec::new();
        for (k, channels) in shape.permuted()?.into_iter().enumerate() {
            let name = format!("permutation.{k}");
            let permutation = file.take(&name, &[channels], Kind::Int64)?;
            permutations.push(Vec::<i64>::try_from(&permutation)?);
            file.tensors.insert(name, permutation);
        }
        // Before memory is taken for as many hidden channels as the file announces.
        let shapes = parameter_shapes(shape.hidden, |hidden| {
            let narrow = WppFlowShape { hidden, ..shape };
            let flow = Self::with_permutations(narrow, permutations.clone(), Seed::new(0))?;
            Ok(flow.parameters().into_iter().map(|(name, t)| (name, t.size())).collect())
        })?;
        for (name, size) in shapes {
            file.check(&format!("layer.{name}"), &size, Kind::Float)?;
        }
        let mut flow = Self::with_permutations(shape, permutations, Seed::new(0))?;
        flow.take_parameters(&mut file)?;
        flow.initialised = file.meta_parsed("initialised")?;
        flow.provenance = file.metadata;
        Ok(flow)
    }

    /// Takes all parameters out of a checkpoint of a flow of the same architecture and with the same permutations.
    ///
    /// # Errors
    /// [`Error::Content`], [`Error::Value`] where it is not one.
    pub fn take_parameters(&mut self, file: &mut Checkpoint) -> Result<()> {
        for (k, ours) in self.permutations().iter().enumerate() {
            let kept = file.take(&format!("permutation.{k}"), &[ours.len() as i64], Kind::Int64)?;
            if Vec::<i64>::try_from(kept)? != *ours {
                let expected = "those of this flow (make it with the same seed)";
                return Err(Error::value("permutations in a file", expected, "others"));
            }
        }
        let mut parts = Vec::new();
        for (name, parameter) in self.parameters() {
            let part = file.take(&format!("layer.{name}"), &parameter.size(), Kind::Float)?;
            parts.push(part.f_reshape([-1])?);
        }
        let _no_grad = tch::no_grad_guard();
        self.flat_parameters().shallow_clone().f_copy_(&Tensor::f_cat(&parts, 0)?)?;
        Ok(())
    }
}
