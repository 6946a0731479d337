//! What a profile of tomography must keep to, besides the ranges of its values.

use super::super::check::plain_name;
use super::super::parse::Misfit;
use super::super::raw::RawPublished;
use super::{Profile, Start};
use smalti_solvers::UNetSettings;
use std::collections::BTreeMap;

impl Profile {
    pub(super) fn check(&self, published: &BTreeMap<String, RawPublished>) -> Result<(), Misfit> {
        if 2 * self.scan.missing >= self.scan.angles {
            let problem = format!("nothing is left of {} angles", self.scan.angles);
            return Err(("scan.missing".into(), problem));
        }
        if let Some(problem) = self.patchnr.as_ref().and_then(|p| p.training.misfit()) {
            return Err(("patchnr.training.warmup_steps".into(), problem));
        }
        self.check_sizes()?;
        for (i, set) in self.sets.iter().enumerate() {
            for (k, image) in set.images.iter().enumerate() {
                plain_name(image, true).map_err(|problem| (format!("sets[{i}].images[{k}]"), problem))?;
            }
            if let Some(name) = set.published.as_ref().filter(|name| !published.contains_key(*name)) {
                return Err((format!("sets[{i}].published"), format!("no section published.{name}")));
            }
            if let Some(method) =
                set.methods.iter().find(|m| self.tv.is_none() && self.start(**m) == Start::Tv)
            {
                let problem = format!("{} starts at tv, which has no section in this profile", method.key());
                return Err((format!("sets[{i}].methods"), problem));
            }
            if let Some(method) = set.methods.iter().find(|m| !self.has(**m)) {
                let problem = format!("{0} has no section {0} in this profile", method.key());
                return Err((format!("sets[{i}].methods"), problem));
            }
        }
        Ok(())
    }

    /// Whether everything has room in the slices.
    fn check_sizes(&self) -> Result<(), Misfit> {
        let size = self.scan.size;
        let misfit = |key: &str, problem: String| Err((key.to_owned(), problem));
        if self.scan.simulation_size < size {
            return misfit("scan.simulation_size", format!("less than the {size} pixels of a slice"));
        }
        for (key, map) in self
            .patchnr
            .iter()
            .flat_map(|p| [("map", Some(p.map)), ("authors", p.authors)])
            .filter_map(|(k, m)| Some((k, m?)))
        {
            if map.padding >= size {
                return misfit(
                    &format!("patchnr.{key}.padding"),
                    format!("not less than the {size} pixels of a slice"),
                );
            }
        }
        if self.fbp_unet.as_ref().is_some_and(|unet| unet.crop > size) {
            return misfit("fbp_unet.crop", format!("larger than the slices of {size} pixels"));
        }
        if let Some(dip) = &self.dip_tv {
            let net = UNetSettings { channels: vec![dip.channels; dip.scales], ..UNetSettings::dip() };
            if let Err(problem) = net.check_size(size, size) {
                return misfit("dip_tv.scales", problem.to_string());
            }
        }
        Ok(())
    }
}
