//! What share of the circle of directions every view stands for.

use std::f64::consts::PI;

/// Directions that are closer than this (radians) count as one.
const SAME: f64 = 1e-9;

/// A gap wider than so many typical ones was not measured.
const WIDE: f64 = 3.0;

/// More than one range is taken for missing only where there are so many directions to each.
const DIRECTIONS: usize = 8;

/// A gap between neighbouring views that is worth a word, in radians.
const SPARSE: f64 = 4.0 / 180.0 * PI;

/// An interval of directions between two neighbouring views, in radians.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Gap {
    /// The view before.
    pub(super) from: f64,
    /// To the next one.
    pub(super) width: f64,
}

/// The parts of a circle of directions that views stand for.
#[derive(Debug)]
pub(super) struct Shares {
    /// The share of every view in radians, in the order of the angles.
    pub(super) weights: Vec<f64>,
    /// The gaps that belong to no view, widest first.
    pub(super) missing: Vec<Gap>,
    /// The gaps that are shared by views but wider than [`SPARSE`] and than the least gap by half, widest first.
    pub(super) sparse: Vec<Gap>,
    /// The widest gap of all.
    pub(super) widest: f64,
    /// The median gap.
    pub(super) median: f64,
}

impl Shares {
    /// The shares of a circle of directions that repeat after `period`: `pi` for lines, `2 pi` for directed rays.
    ///
    /// A view has half of the gaps on both sides of its direction; views of one direction share alike. What is
    /// *typical* is reached from the median gap in steps of a factor of at most three; gaps beyond were not measured
    /// and count as the median, where it is one, or there are at least eight directions to each and they are less than
    /// half of the circle (else the sampling is irregular).
    pub(super) fn of(angles: &[f64], period: f64) -> Self {
        let n = angles.len();
        let folded: Vec<f64> = angles.iter().map(|angle| angle.rem_euclid(period)).collect();
        let mut order: Vec<usize> = (0..n).collect();
        order.sort_by(|&a, &b| folded[a].total_cmp(&folded[b]));
        // The gap after the i-th angle in order; the last one leads round to the first.
        let gap = |i: usize| match order.get(i + 1) {
            Some(&next) => folded[next] - folded[order[i]],
            None => folded[order[0]] + period - folded[order[i]],
        };
        let gaps: Vec<f64> = (0..n).map(gap).collect();
        let mut different: Vec<f64> = gaps.iter().copied().filter(|gap| *gap > SAME).collect();
        different.sort_by(f64::total_cmp);
        let median = different.get(different.len() / 2).copied().unwrap_or(period);
        let bound = WIDE * typical(&different, median, period);
        let wide: Vec<f64> = gaps.iter().map(|&gap| if gap > bound { median } else { gap }).collect();
        let mut weights = vec![0.0; n];
        // Runs of views of one direction, from one that begins a run.
        let first = gaps.iter().position(|gap| *gap > SAME).map_or(0, |i| i + 1);
        let (mut run, mut before) = (Vec::new(), wide[(first + n - 1) % n]);
        for i in (first..first + n).map(|i| i % n) {
            run.push(order[i]);
            if gaps[i] > SAME || run.len() == n {
                for &k in &run {
                    weights[k] = 0.5 * (wide[i] + before) / run.len() as f64;
                }
                before = wide[i];
                run.clear();
            }
        }
        let all = (0..n).map(|i| Gap { from: folded[order[i]], width: gaps[i] });
        let (mut missing, mut shared): (Vec<Gap>, Vec<Gap>) = all.partition(|gap| gap.width > bound);
        let least = different.first().copied().unwrap_or(period);
        shared.retain(|gap| gap.width > SPARSE && gap.width > 1.5 * least);
        for gaps in [&mut missing, &mut shared] {
            gaps.sort_by(|a, b| b.width.total_cmp(&a.width));
        }
        let widest = different.last().copied().unwrap_or(period);
        Self { weights, missing, sparse: shared, widest, median }
    }

    /// What there is to say about gaps, in one line.
    pub(super) fn warning(&self) -> Option<String> {
        let total = |gaps: &[Gap]| gaps.iter().map(|gap| gap.width).sum::<f64>().to_degrees();
        let missing = format!(
            "{:.1} of 180 degrees were not measured ({}): nothing is made up for them, and what their rays carry is missing",
            total(&self.missing),
            named(&self.missing)
        );
        match (self.missing.is_empty(), self.said_of_sparse()) {
            (true, sparse) => sparse,
            (false, None) => Some(missing),
            (false, Some(sparse)) => Some(format!("{missing}; {sparse}")),
        }
    }

    /// What there is to say about gaps that are shared.
    pub(super) fn said_of_sparse(&self) -> Option<String> {
        let widest = self.sparse.first()?.width.to_degrees();
        Some(format!(
            "views are as far apart as {widest:.1} degrees ({}): each stands for half of the gaps beside it, with streaks",
            named(&self.sparse)
        ))
    }
}

/// The widest gap that is typical, see [`Shares::of`]; `different` in rising order.
fn typical(different: &[f64], median: f64, period: f64) -> f64 {
    let mut widest = median;
    for (i, &gap) in different.iter().enumerate() {
        let wide = different.len() - i;
        // Several gaps together are less than half of the circle: more of it lies between bursts of frames at one stop
        // each.
        let missing =
            || wide * DIRECTIONS <= different.len() && different[i..].iter().sum::<f64>() < 0.5 * period;
        if gap > WIDE * widest && (wide == 1 || missing()) {
            break;
        }
        widest = widest.max(gap);
    }
    widest
}

/// The first three of some gaps, in degrees.
pub(super) fn named(gaps: &[Gap]) -> String {
    let one = |gap: &Gap| {
        let from = gap.from.to_degrees();
        format!("{from:.1} to {:.1}", from + gap.width.to_degrees())
    };
    let first: Vec<String> = gaps.iter().take(3).map(one).collect();
    match gaps.len() {
        0..=3 => first.join(", "),
        more => format!("{} and {} more", first.join(", "), more - 3),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use smalti_base::Seed;
    use smalti_kernels::radon::ParallelBeam;

    fn degrees(angles: &[f64]) -> Shares {
        let angles: Vec<f64> = angles.iter().map(|angle| angle.to_radians()).collect();
        Shares::of(&angles, PI)
    }

    fn close(a: &[f64], b: f64) -> bool {
        a.iter().all(|w| (w - b).abs() < 1e-12)
    }

    fn sum(shares: &Shares) -> f64 {
        shares.weights.iter().sum()
    }

    #[test]
    fn equal_parts_have_equal_shares_and_a_missing_wedge_stays_one() {
        let full = ParallelBeam::lodopab();
        let whole = Shares::of(full.angle_list(), PI);
        assert!(close(&whole.weights, PI / 1000.0) && whole.warning().is_none());
        for (range, wedge) in [(100..900, 36.0), (0..1000, 0.0), (300..400, 162.0), (5..995, 1.8)] {
            let shares = Shares::of(full.angles(range).unwrap().angle_list(), PI);
            assert!(close(&shares.weights, PI / 1000.0), "{wedge}");
            let width = shares.missing.first().map_or(0.0, |gap| gap.width.to_degrees() - 0.18);
            assert!((width - wedge).abs() < 1e-9, "{width} {wedge}");
        }
        // Two and three wedges.
        for wedges in [2, 3] {
            let seen = |k: &i32| k % (180 / wedges) < 120 / wedges;
            let angles: Vec<f64> = (0..180).filter(seen).map(f64::from).collect();
            let shares = degrees(&angles);
            assert!(close(&shares.weights, PI / 180.0) && shares.missing.len() == wedges as usize);
            let line = shares.warning().unwrap();
            assert!(line.contains("of 180 degrees were not measured") && line.lines().count() == 1, "{line}");
        }
    }

    #[test]
    fn irregular_views_have_their_own_shares() {
        let two = (0..23).map(|k| 2.0 * f64::from(k));
        let angles: Vec<f64> = two.chain((0..20).map(|k| 45.0 + 7.0 * f64::from(k))).collect();
        let shares = degrees(&angles);
        assert!(close(&[sum(&shares)], PI) && shares.missing.is_empty());
        assert!(close(&shares.weights[1..22], 2_f64.to_radians()));
        assert!(close(&shares.weights[24..42], 7_f64.to_radians()));
        // Hardly any views: what there is covers the half turn, and that is said.
        let few = degrees(&[0.0, 1.0, 2.0, 3.0, 4.0, 60.0, 120.0]);
        assert!(close(&[sum(&few)], PI));
        let line = few.warning().unwrap();
        let named = ["60.0 to 120.0", "120.0 to 180.0", "4.0 to 60.0"];
        assert!(named.iter().all(|gap| line.contains(gap)), "{line}");
        // Golden angles; three frames at each of 46 stops, the encoder not quite still.
        let golden: Vec<f64> = (0..55).map(|k| f64::from(k) * 111.246_117_975).collect();
        assert!(close(&[sum(&degrees(&golden))], PI));
        let frames: Vec<f64> =
            (0..138).map(|k| f64::from(k / 3) * 180.0 / 46.0 + f64::from(k % 3) * 1e-3).collect();
        assert!(close(&[sum(&degrees(&frames))], PI));
        // Ten frames at each of 20 stops; 200 views close together and then few.
        let bursts: Vec<f64> = (0..200).map(|k| f64::from(k / 10) * 9.0 + f64::from(k % 10) * 1e-3).collect();
        let dense = (0..200).map(|k| 0.1 * f64::from(k)).chain((0..20).map(|k| 28.0 + 8.0 * f64::from(k)));
        for angles in [bursts, dense.collect()] {
            let shares = degrees(&angles);
            assert!(close(&[sum(&shares)], PI) && shares.missing.is_empty(), "{}", sum(&shares) / PI);
        }
    }

    #[test]
    fn directions_seen_twice_share() {
        // The whole turn in any order, the last view on the first, and 200 degrees.
        let turn: Vec<f64> = (0..40).map(|k| f64::from((k * 7) % 40) * PI / 20.0).collect();
        assert!(close(&Shares::of(&turn, PI).weights, PI / 40.0));
        let closed: Vec<f64> = (0..=180).map(f64::from).collect();
        let shares = degrees(&closed);
        assert!(close(&[shares.weights[0], shares.weights[180]], 0.5_f64.to_radians()));
        assert!(close(&shares.weights[1..180], 1_f64.to_radians()));
        let more: Vec<f64> = (0..200).map(f64::from).collect();
        let shares = degrees(&more);
        assert!(close(&shares.weights[..20], 0.5_f64.to_radians()));
        assert!(close(&shares.weights[20..180], 1_f64.to_radians()));
        assert!(close(&Shares::of(&[0.3], PI).weights, PI));
        assert!(close(&Shares::of(&[0.3, 0.3, 0.3 + PI], PI).weights, PI / 3.0));
    }

    /// Views anywhere, few and many, even and in a cluster: without gaps of 4 degrees all of the half turn is shared.
    #[test]
    fn random_views_cover_the_half_turn_or_are_warned_of() {
        let (mut narrow, mut told) = (0, 0);
        for k in 0..200_u64 {
            let count = 40 + 4 * k as i64;
            let draw = Seed::new(5).at("angles", k).uniform(&[count]).to_kind(tch::Kind::Double);
            let draw = if k % 3 == 0 { draw.square() } else { draw };
            let angles: Vec<f64> = (0..count).map(|i| 180.0 * draw.double_value(&[i])).collect();
            let shares = degrees(&angles);
            if shares.widest < SPARSE {
                narrow += 1;
                assert!((sum(&shares) / PI - 1.0).abs() < 0.03, "{k}: {}", sum(&shares) / PI);
            } else {
                told += 1;
                assert!(shares.warning().is_some(), "{k}");
            }
        }
        assert!(narrow > 50 && told > 50, "{narrow} {told}");
    }
}
