//! The images of a command, read, and brought to common units.

use crate::arguments::MethodOptions;
use crate::fault::Fault;
use crate::images::{Measured, Place, RangeChoice, Units, expand, units};
use smalti_base::value_range::Stored;
use smalti_base::{Error, Result};
use smalti_methods::{Instrument, Learns, MethodEntry, ProblemEntry, ProblemKey};
use tch::Tensor;

/// The images of a command.
pub(crate) struct Material {
    pub(crate) observations: Vec<Measured>,
    pub(crate) references: Vec<Measured>,
    pub(crate) validation: Option<Measured>,
    /// For every type of stored values.
    pub(crate) units: Vec<Units>,
    /// Whether observations are projections, whose values are what they are.
    pub(crate) projections: bool,
}

impl Material {
    /// Reads the observations at `places`, and what a method learns from.
    ///
    /// # Errors
    /// Those of reading; images that the problem is not for; values without a range.
    pub(crate) fn read(
        problem: &ProblemEntry,
        method: &MethodEntry,
        options: &MethodOptions,
        places: &[Place],
        range: RangeChoice,
    ) -> Result<Self, Fault> {
        let all = |places: &[Place]| places.iter().map(Measured::read).collect::<Result<Vec<_>>>();
        let observations = all(places)?;
        let learns = method.learns != Learns::Nothing;
        let references = if learns { all(&expand(&options.references)?)? } else { Vec::new() };
        let validation = options.validation.as_deref().filter(|_| learns);
        let validation = validation.map(|path| Measured::read(&Place::parse(path))).transpose()?;
        let volume = problem.key == ProblemKey::Volume;
        for image in observations.iter().chain(&references).chain(&validation) {
            if (image.size().len() == 3) != volume {
                let expected = match volume {
                    true => "a volume [D, H, W], as .npy or HDF5",
                    false => "one image [H, W] (--problem volume is for volumes)",
                };
                return Err(Error::shape(image.place.label(), expected, image.size()).into());
            }
        }
        let projections = problem.key == ProblemKey::Tomography;
        let with_range = references.iter().chain(&validation);
        let images: Vec<&Measured> = with_range.chain(observations.iter().filter(|_| !projections)).collect();
        let mut kinds: Vec<&'static str> = images.iter().map(|image| image.stored.kind).collect();
        kinds.sort_unstable();
        kinds.dedup();
        let units = kinds.iter().map(|kind| units(range, kind, &images)).collect::<Result<Vec<Units>>>()?;
        Ok(Self { observations, references, validation, units, projections })
    }

    /// The units of an image.
    fn units_of(&self, image: &Measured) -> Units {
        let known = self.units.iter().find(|units| units.values == image.stored.kind);
        known.cloned().unwrap_or_else(|| Units::as_stored(image.stored.kind))
    }

    fn in_units(&self, image: &Measured) -> Result<Tensor> {
        image.in_units(&self.units_of(image))
    }

    /// The observations.
    ///
    /// # Errors
    /// [`Error::Content`] for projections that are no line integrals.
    pub(crate) fn seen(&self) -> Result<Vec<Tensor>> {
        let one = |image: &Measured| {
            if !self.projections {
                return self.in_units(image);
            }
            if image.stored.unit != 1.0 {
                let problem = format!("holds {}, and a sinogram holds line integrals", image.stored.kind);
                let remedy = "convert counts N to -log(N / N0) / mu_max in floats";
                return Err(Error::content(&image.place.path, problem, remedy));
            }
            Ok(image.values.shallow_clone())
        };
        self.observations.iter().map(one).collect()
    }

    /// The references.
    ///
    /// # Errors
    /// [`Error::Torch`].
    pub(crate) fn learned_from(&self) -> Result<Vec<Tensor>> {
        self.references.iter().map(|image| self.in_units(image)).collect()
    }

    /// References and validation image as an instrument takes them.
    ///
    /// # Errors
    /// Those of [`Instrument::reference`].
    pub(crate) fn for_instrument(
        &self,
        instrument: &dyn Instrument,
    ) -> Result<(Vec<Tensor>, Option<Tensor>)> {
        let one = |image: &Measured| instrument.reference(&image.place.label(), &self.in_units(image)?);
        let references = self.references.iter().map(one).collect::<Result<_>>()?;
        Ok((references, self.validation.as_ref().map(one).transpose()?))
    }

    /// The largest step between neighbouring grey values of the references.
    pub(crate) fn grey_step(&self) -> f64 {
        let integers = self.references.iter().filter(|image| image.stored.unit > 1.0);
        let steps = integers.map(|image| self.units_of(image)).map(|units| 1.0 / (units.high - units.low));
        // Of 16 bits and more it is nothing.
        steps.filter(|&step| step > 1e-4).fold(0.0, f64::max).min(0.1)
    }

    /// The units of a result of an observation, and the type of its stored values.
    pub(crate) fn of_result(&self, image: &Measured) -> (Units, Stored) {
        match self.projections {
            true => (Units::as_stored("float"), Stored::FLOAT),
            false => (self.units_of(image), image.stored),
        }
    }
}
