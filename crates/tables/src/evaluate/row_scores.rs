//! What a row of the table adds up over images.

use crate::experiment::{EvaluationSet, RowSpec};
use crate::outcome::{Figure, Figures, ScoredImage, TableRow};
use smalti_base::lpips::{LEAST_SIDE, LpipsAlex};
use smalti_base::{Error, Result};
use smalti_methods::estimate::{ExtraImage, Metrics, Placement};
use smalti_methods::{Instrument, Prepared, Range, Region};
use std::collections::BTreeMap;
use tch::Tensor;

/// PSNR, SSIM and LPIPS of an image in every scored part, and its seconds.
struct Scored {
    figures: Vec<[Option<f64>; 3]>,
    seconds: Option<f64>,
}

/// What a row adds up over images.
pub(super) struct RowScores {
    key: String,
    /// What the keys of images beside the estimate begin with.
    stem: String,
    scores: Vec<Scored>,
    /// The figures of every estimate.
    pub(super) figures: Vec<Metrics>,
    pub(super) notes: Vec<String>,
    /// Rows of the same computation: key, title, place, scores.
    others: Vec<(String, String, Placement, Vec<Scored>)>,
    /// The method, where it learned from an observation.
    pub(super) own: Option<Prepared>,
}

/// How an image scores: by what, in which parts, against what.
pub(super) struct Scorer<'a> {
    pub(super) instrument: &'a dyn Instrument,
    pub(super) regions: &'a [Region],
    pub(super) truth: &'a Tensor,
    /// None without its weights.
    pub(super) lpips: Option<&'a LpipsAlex>,
}

impl Scorer<'_> {
    /// The figures in all parts, and all that is known of the last one.
    fn score(&self, image: &Tensor, seconds: Option<f64>) -> Result<(Scored, Metrics)> {
        let mut figures = Vec::new();
        let mut last = Metrics::new();
        for region in self.regions {
            last = self.instrument.score_in(region, image, self.truth)?;
            figures.push([Some(last["psnr"]), Some(last["ssim"]), self.lpips_in(region, image)?]);
        }
        Ok((Scored { figures, seconds }, last))
    }

    /// LPIPS of an image, clipped to its range of values as in a file; none of volumes and of parts that are too small for it.
    fn lpips_in(&self, region: &Region, image: &Tensor) -> Result<Option<f64>> {
        let Some(lpips) = self.lpips.filter(|_| image.dim() == 4 && [1, 3].contains(&image.size()[1])) else {
            return Ok(None);
        };
        let Range { low, high, .. } = self.instrument.range();
        let (x, truth) = (region.of(image)?, region.of(self.truth)?);
        if x.size()[2..].iter().any(|&side| side < LEAST_SIDE) {
            return Ok(None);
        }
        let scaled =
            |t: &Tensor| Ok::<Tensor, Error>((t.f_clamp(low, high)? - low) * (2.0 / (high - low)) - 1.0);
        lpips.distance(&scaled(&x)?, &scaled(&truth)?).map(Some)
    }
}

impl RowScores {
    /// The scores of `row`, one of the rows `all` of a profile.
    pub(super) fn of(row: &RowSpec, all: &BTreeMap<String, RowSpec>) -> Self {
        // `patchnr_mean` and `map` make `patchnr_map`, unless a row `patchnr` of the same method has a map, too.
        let taken = |stem: &&str| all.get(*stem).is_some_and(|other| other.method.key == row.method.key);
        let stem = row.key.strip_suffix("_mean").filter(|stem| !taken(stem)).unwrap_or(&row.key);
        Self {
            key: row.key.clone(),
            stem: stem.to_owned(),
            scores: Vec::new(),
            figures: Vec::new(),
            notes: Vec::new(),
            others: Vec::new(),
            own: None,
        }
    }

    pub(super) fn say(&mut self, notes: Vec<String>) {
        let said: Vec<String> = notes.into_iter().filter(|note| !note.is_empty()).collect();
        if !said.is_empty() {
            self.notes.push(said.join("; "));
        }
    }

    /// Scores the estimate of the row called `title`, which knows `figures` about itself.
    pub(super) fn estimate(
        &mut self,
        title: &str,
        (image, seconds): (Tensor, f64),
        figures: Metrics,
        judge: &Scorer<'_>,
    ) -> Result<ScoredImage> {
        let (scored, mut numbers) = judge.score(&image, Some(seconds))?;
        let (psnr, ssim) = (numbers["psnr"], numbers["ssim"]);
        numbers.extend(figures);
        self.scores.push(scored);
        self.figures.push(numbers);
        Ok(ScoredImage { key: self.key.clone(), title: title.to_owned(), image, psnr, ssim })
    }

    /// Scores an image beside the estimate.
    pub(super) fn other(&mut self, other: ExtraImage, judge: &Scorer<'_>) -> Result<ScoredImage> {
        let ExtraImage { key, title, image, seconds, place } = other;
        let key = format!("{}_{key}", self.stem);
        let (scored, numbers) = judge.score(&image, seconds)?;
        if place != Placement::Pictures {
            match self.others.iter_mut().find(|(known, ..)| *known == key) {
                Some((.., scores)) => scores.push(scored),
                None => self.others.push((key.clone(), title.clone(), place, vec![scored])),
            }
        }
        Ok(ScoredImage { key, title, image, psnr: numbers["psnr"], ssim: numbers["ssim"] })
    }

    /// The rows of the table for the scored part number `region`, of the images that `label` names; published figures stand beside
    /// them where they are `comparable`.
    pub(super) fn rows(
        &self,
        (row, summary): (&RowSpec, &str),
        (region, label): (usize, &str),
        set: &EvaluationSet,
        comparable: bool,
    ) -> Vec<TableRow> {
        let mut notes = self.notes.clone();
        notes.dedup();
        notes.extend((!summary.is_empty()).then(|| summary.to_owned()));
        let make = |key: &str, title: &str, scores: &[Scored], published: &str, note: String| {
            let over = |k: usize| {
                let figures = scores.iter().filter_map(|scored| scored.figures.get(region));
                Figure::over(&figures.filter_map(|figures| figures[k]).collect::<Vec<f64>>())
            };
            let seconds: Vec<f64> = scores.iter().filter_map(|scored| scored.seconds).collect();
            let published = if comparable { set.published(region, published) } else { Figures::default() };
            TableRow {
                method: key.into(),
                title: title.into(),
                images: scores.len(),
                ours: Figures { psnr: over(0), ssim: over(1), lpips: over(2) },
                seconds_mean: Figure::over(&seconds).map(|f| f.mean),
                published,
                distance: None,
                data: label.into(),
                note,
            }
        };
        let beside = |place: Placement| {
            let others = self.others.iter().filter(move |(_, _, at, _)| *at == place);
            others.map(|(key, title, _, scores)| make(key, title, scores, key, String::new()))
        };
        let main = make(&row.key, &row.title, &self.scores, &row.published, notes.join("; "));
        beside(Placement::Before).chain([main]).chain(beside(Placement::After)).collect()
    }
}
