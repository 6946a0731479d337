//! All methods and problems by name, as files name them.

use crate::instrument::{Instrument, Problem, TrainingData};
use crate::method::{Learns, Method, Prepared};
use crate::methods::{
    acnn::Acnn,
    alr::Alr,
    bicubic::Bicubic,
    dip_tv::DipTv,
    dpir::Dpir,
    epll::Epll,
    fbp::FilteredBackProjection,
    fbp_unet::FbpUnet,
    fill_in::FillIn,
    langevin::LangevinChains,
    one_image_net::OneImageNet,
    patchnr::PatchNrMap,
    ridge::{Crr, Wcrr},
    sinkhorn::SinkhornMap,
    smoothed_tv::SmoothedTv,
    tv::Tv,
    wpp::Wpp,
    wppflow::WppFlowSampling,
    wppnet::WppNet,
    zssr::Zssr,
};
use crate::problem::ProblemKey;
use crate::problems::{
    deblurring::Deblurring, inpainting::Inpainting, superresolution::Superresolution, tomography::Tomography,
    volume::Volume,
};
use crate::run::Run;
use crate::settings::{SettingFault, Settings, to_toml};
use smalti_base::{Error, Result, Space};
use std::path::Path;
use std::rc::Rc;
use toml::de::Deserializer;

/// All methods, in the order of tables.
pub static METHODS: &[MethodEntry] = &[
    MethodEntry::of::<Bicubic>(),
    MethodEntry::of::<FilteredBackProjection>(),
    MethodEntry::of::<FillIn>(),
    MethodEntry::of::<Tv>(),
    MethodEntry::of::<SmoothedTv>(),
    MethodEntry::of::<DipTv>(),
    MethodEntry::of::<Crr>(),
    MethodEntry::of::<Wcrr>(),
    MethodEntry::of::<Dpir>(),
    MethodEntry::of::<FbpUnet>(),
    MethodEntry::of::<OneImageNet>(),
    MethodEntry::of::<Zssr>(),
    MethodEntry::of::<Acnn>(),
    MethodEntry::of::<Epll>(),
    MethodEntry::of::<Alr>(),
    MethodEntry::of::<PatchNrMap>(),
    MethodEntry::of::<Wpp>(),
    MethodEntry::of::<SinkhornMap>(),
    MethodEntry::of::<LangevinChains>(),
    MethodEntry::of::<WppNet>(),
    MethodEntry::of::<WppFlowSampling>(),
];

/// All problems.
pub static PROBLEMS: &[ProblemEntry] = &[
    ProblemEntry::of::<Superresolution>(),
    ProblemEntry::of::<Deblurring>(),
    ProblemEntry::of::<Inpainting>(),
    ProblemEntry::of::<Tomography>(),
    ProblemEntry::of::<Volume>(),
];

/// A fault in the settings that a file holds, with its path.
pub type Fault = serde_path_to_error::Error<toml::de::Error>;

/// A method by name.
pub struct MethodEntry {
    /// The name in files.
    pub key: &'static str,
    /// The name for readers.
    pub title: &'static str,
    /// Where it comes from.
    pub papers: &'static [&'static str],
    /// What it learns from.
    pub learns: Learns,
    /// Whether it goes on from the start of a problem.
    pub starts: bool,
    /// Whether its estimates carry draws of the posterior.
    pub samples: bool,
    /// Whether it makes sense for what an instrument observes; else why not.
    pub applies: fn(&dyn Instrument) -> std::result::Result<(), String>,
    /// Reads its settings; ranges are not checked yet.
    pub read: fn(Deserializer<'_>) -> Result<Rc<dyn ConfiguredMethod>, Fault>,
}

impl std::fmt::Debug for MethodEntry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MethodEntry").field("key", &self.key).finish_non_exhaustive()
    }
}

/// A problem by name.
pub struct ProblemEntry {
    /// Its key.
    pub key: ProblemKey,
    /// The name in files.
    pub name: &'static str,
    /// The name for readers.
    pub title: &'static str,
    /// Reads its settings; ranges are not checked yet.
    pub read: fn(Deserializer<'_>) -> Result<Rc<dyn ConfiguredProblem>, Fault>,
}

impl std::fmt::Debug for ProblemEntry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProblemEntry").field("name", &self.name).finish_non_exhaustive()
    }
}

impl MethodEntry {
    const fn of<M: Method>() -> Self {
        Self {
            key: M::KEY,
            title: M::TITLE,
            papers: M::PAPERS,
            learns: M::LEARNS,
            starts: M::STARTS,
            samples: M::SAMPLES,
            applies: M::applies,
            read: |from| {
                let settings = serde_path_to_error::deserialize(from)?;
                Ok(Rc::new(OfMethod::<M>(settings)))
            },
        }
    }

    /// The method called `key`.
    pub fn find(key: &str) -> Option<&'static Self> {
        METHODS.iter().find(|entry| entry.key == key)
    }

    /// The method called `key` with the settings in `text`, TOML as in the section of a row of an experiment file.
    ///
    /// # Errors
    /// [`Error::Value`] where there is no such method, or naming the key that is missing, unknown or out of its range.
    pub fn configured(key: &str, text: &str) -> Result<Rc<dyn ConfiguredMethod>> {
        let keys = || METHODS.iter().map(|entry| entry.key).collect::<Vec<_>>().join(", ");
        let entry =
            Self::find(key).ok_or_else(|| Error::value("method", format!("one of {}", keys()), key))?;
        read(key, text, entry.read, |method| method.out_of_range())
    }
}

impl ProblemEntry {
    const fn of<P: Problem>() -> Self {
        Self {
            key: P::KEY,
            name: P::NAME,
            title: P::TITLE,
            read: |from| {
                let settings = serde_path_to_error::deserialize(from)?;
                Ok(Rc::new(OfProblem::<P>(settings)))
            },
        }
    }

    /// The problem called `name`.
    pub fn find(name: &str) -> Option<&'static Self> {
        PROBLEMS.iter().find(|entry| entry.name == name)
    }

    /// The problem called `name` with the settings in `text`, TOML as in `[problem.NAME]` of an experiment file.
    ///
    /// # Errors
    /// [`Error::Value`] where there is no such problem, or naming the key that is missing, unknown, out of its range or does not fit
    /// the others.
    pub fn configured(name: &str, text: &str) -> Result<Rc<dyn ConfiguredProblem>> {
        let names = || PROBLEMS.iter().map(|entry| entry.name).collect::<Vec<_>>().join(", ");
        let entry =
            Self::find(name).ok_or_else(|| Error::value("problem", format!("one of {}", names()), name))?;
        read(name, text, entry.read, |problem| problem.out_of_range().or_else(|| problem.check().err()))
    }
}

/// A method with its settings.
pub trait ConfiguredMethod: std::fmt::Debug {
    /// The first value that is out of its range: its key, and the problem.
    fn out_of_range(&self) -> Option<SettingFault>;

    /// Whether images of `domain`, observed by `instrument`, can be reconstructed.
    ///
    /// # Errors
    /// The key that does not fit, and the problem.
    fn check(
        &self,
        instrument: &dyn Instrument,
        domain: Option<Space>,
    ) -> std::result::Result<(), SettingFault>;

    /// The files that learning reads, see [`Method::files`].
    fn files(&self) -> Vec<(&'static str, String)>;

    /// Whether the method can learn from `from`, see [`Method::check_material`].
    ///
    /// # Errors
    /// Those of [`Method::check_material`].
    fn check_material(&self, from: &TrainingData<'_>) -> Result<()>;

    /// Learns what the method needs.
    ///
    /// # Errors
    /// Those of [`Method::prepare`].
    fn prepare(&self, from: &TrainingData<'_>, run: &Run) -> Result<Prepared>;

    /// The settings as TOML.
    fn to_toml(&self) -> String;
}

/// A problem with its settings.
pub trait ConfiguredProblem: std::fmt::Debug {
    /// The first value that is out of its range: its key, and the problem.
    fn out_of_range(&self) -> Option<SettingFault>;

    /// Whether the settings fit together.
    ///
    /// # Errors
    /// The key that does not fit, and the problem.
    fn check(&self) -> std::result::Result<(), SettingFault>;

    /// The files that the instrument reads, see [`Problem::files`].
    fn files(&self) -> Vec<(&'static str, String)>;

    /// The instrument, see [`Problem::instrument`].
    ///
    /// # Errors
    /// Those of making it.
    fn instrument(&self, folder: Option<&Path>) -> Result<Box<dyn Instrument>>;

    /// The settings as TOML.
    fn to_toml(&self) -> String;
}

struct OfMethod<M: Method>(M::Settings);

struct OfProblem<P: Problem>(P::Settings);

impl<M: Method> std::fmt::Debug for OfMethod<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple(M::KEY).field(&self.0).finish()
    }
}

impl<P: Problem> std::fmt::Debug for OfProblem<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple(P::NAME).field(&self.0).finish()
    }
}

impl<M: Method> ConfiguredMethod for OfMethod<M> {
    fn out_of_range(&self) -> Option<SettingFault> {
        out_of_range(&self.0)
    }

    fn check(
        &self,
        instrument: &dyn Instrument,
        domain: Option<Space>,
    ) -> std::result::Result<(), SettingFault> {
        M::check(&self.0, instrument, domain)
    }

    fn files(&self) -> Vec<(&'static str, String)> {
        M::files(&self.0)
    }

    fn check_material(&self, from: &TrainingData<'_>) -> Result<()> {
        M::check_material(&self.0, from)
    }

    fn prepare(&self, from: &TrainingData<'_>, run: &Run) -> Result<Prepared> {
        if M::LEARNS != Learns::Nothing {
            from.check()?;
        }
        M::prepare(&self.0, from, run)
    }

    fn to_toml(&self) -> String {
        to_toml(&self.0)
    }
}

impl<P: Problem> ConfiguredProblem for OfProblem<P> {
    fn out_of_range(&self) -> Option<SettingFault> {
        out_of_range(&self.0)
    }

    fn check(&self) -> std::result::Result<(), SettingFault> {
        P::check(&self.0)
    }

    fn files(&self) -> Vec<(&'static str, String)> {
        P::files(&self.0)
    }

    fn instrument(&self, folder: Option<&Path>) -> Result<Box<dyn Instrument>> {
        P::instrument(&self.0, folder)
    }

    fn to_toml(&self) -> String {
        to_toml(&self.0)
    }
}

/// Settings read from TOML and checked.
fn read<T: ?Sized>(
    of: &str,
    text: &str,
    read: fn(Deserializer<'_>) -> Result<Rc<T>, Fault>,
    check: impl Fn(&T) -> Option<SettingFault>,
) -> Result<Rc<T>> {
    let wrong = |key: &str, problem: &str| {
        let got = if matches!(key, "" | ".") { problem.to_owned() } else { format!("{key}: {problem}") };
        Error::value(format!("settings of {of}"), "those in its documentation", got)
    };
    let toml = Deserializer::parse(text).map_err(|e| wrong("", e.message()))?;
    let settings = read(toml).map_err(|e| wrong(&e.path().to_string(), e.inner().message()))?;
    match check(&settings) {
        Some((key, problem)) => Err(wrong(&key, &problem)),
        None => Ok(settings),
    }
}

fn out_of_range<S: Settings>(settings: &S) -> Option<SettingFault> {
    let report = settings.validate().err()?;
    let (path, error) = report.iter().next()?;
    Some((path.to_string(), error.message().to_owned()))
}
