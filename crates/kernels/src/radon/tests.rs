//! The projector against its definition, its own transpose, and closed forms.

use super::*;
use std::f64::consts::PI;

pub(super) fn noise(n: usize, seed: u64) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1_u64 << 53) as f64 - 0.5
    };
    (0..n).map(|_| next()).collect()
}

pub(super) fn single(values: &[f64]) -> Vec<f32> {
    values.iter().map(|&v| v as f32).collect()
}

pub(super) fn inner<T: Into<f64> + Copy, U: Into<f64> + Copy>(a: &[T], b: &[U]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| a.into() * b.into()).sum()
}

/// Largest difference, relative to the largest value.
pub(super) fn gap<T: Into<f64> + Copy>(a: &[T], b: &[f64]) -> f64 {
    let largest = b.iter().fold(1e-300_f64, |m, b| m.max(b.abs()));
    a.iter().zip(b).map(|(&a, &b)| (a.into() - b).abs()).fold(0.0, f64::max) / largest
}

/// Angles everywhere, also beyond the half turn and on the axes and diagonals.
fn angles() -> Vec<f64> {
    let regular = (0..23).map(|k| f64::from(k) * 0.31 - 2.0);
    regular.chain([0.0, PI / 4.0, PI / 2.0, 3.0 * PI / 4.0, PI, -PI / 2.0, 1e-9]).collect()
}

/// Rectangular images; detectors fine and coarse, short and long, off centre.
fn beams() -> Vec<ParallelBeam> {
    let detectors = [
        (61, 1.0, 0.0),
        (48, 1.3, 2.7),
        (90, 0.7, -1.1),
        (20, 3.1, 0.4),
        (150, 0.4, 0.0),
        (7, 1.0, 15.0),
        (5, 1.0, 500.0),
        (40, 1e5, 0.0),
    ];
    let pixels = [(31, 44), (40, 17), (1, 20), (16, 1)];
    let mut all = Vec::new();
    for (rows, columns) in pixels {
        for (count, spacing, offset) in detectors {
            let size = 0.02;
            let detector = Detector { count, spacing: spacing * size, offset: offset * size };
            let beam = ParallelBeam::new(angles(), Pixels { rows, columns, size }, detector).unwrap();
            if beam.footprint() == Footprint::Strip {
                all.push(beam.clone());
            }
            all.push(beam.with_footprint(Footprint::Line));
        }
    }
    all
}

/// Means over the width of detector pixels, by so many rays of Joseph's model each.
fn by_many_rays(beam: &ParallelBeam, x: &[f64], rays: usize) -> Vec<f64> {
    let Detector { count, spacing, offset } = beam.detector();
    let fine = Detector { count: count * rays, spacing: spacing / rays as f64, offset };
    let fine = ParallelBeam::new(beam.angle_list().to_vec(), beam.pixels(), fine).unwrap();
    let fine = by_definition(&fine.with_footprint(Footprint::Line), x);
    fine.chunks(rays).map(|part| part.iter().sum::<f64>() / rays as f64).collect()
}

/// Joseph's model, from the ray's own points and nothing of `View`.
fn by_definition(beam: &ParallelBeam, x: &[f64]) -> Vec<f64> {
    let (Pixels { rows, columns, size }, detector) = (beam.pixels(), beam.detector());
    let at = |r: f64, c: f64| {
        let inside = r >= 0.0 && c >= 0.0 && (r as usize) < rows && (c as usize) < columns;
        if inside { x[r as usize * columns + c as usize] } else { 0.0 }
    };
    let mut y = Vec::new();
    for angle in beam.angle_list() {
        let (sin, cos) = angle.sin_cos();
        for j in 0..detector.count {
            let s = (j as f64 - 0.5 * (detector.count as f64 - 1.0)) * detector.spacing + detector.offset;
            let mut sum = 0.0;
            if sin.abs() <= cos.abs() {
                for r in 0..rows {
                    let up = (0.5 * (rows as f64 - 1.0) - r as f64) * size;
                    let c = (s - up * sin) / cos / size + 0.5 * (columns as f64 - 1.0);
                    let (low, w) = (c.floor(), c - c.floor());
                    sum += (1.0 - w) * at(r as f64, low) + w * at(r as f64, low + 1.0);
                }
            } else {
                for c in 0..columns {
                    let right = (c as f64 - 0.5 * (columns as f64 - 1.0)) * size;
                    let r = 0.5 * (rows as f64 - 1.0) - (s - right * cos) / sin / size;
                    let (low, w) = (r.floor(), r - r.floor());
                    sum += (1.0 - w) * at(low, c as f64) + w * at(low + 1.0, c as f64);
                }
            }
            y.push(sum * size / sin.abs().max(cos.abs()));
        }
    }
    y
}

#[test]
fn projections_are_those_of_the_definition() {
    let lines = beams().into_iter().filter(|beam| beam.footprint() == Footprint::Line);
    for (k, beam) in lines.enumerate() {
        let beam = &beam;
        let x = noise(beam.image_len(), k as u64 + 1);
        let expected = by_definition(beam, &x);
        let mut y = vec![0.0; beam.sinogram_len()];
        beam.forward(&x, &mut y).unwrap();
        assert!(gap(&y, &expected) < 1e-11, "{beam:?}: {}", gap(&y, &expected));
        for isa in [Isa::V4, Isa::V3, Isa::Plain] {
            let mut y = vec![f32::NAN; beam.sinogram_len()];
            beam.forward_with(isa, &single(&x), &mut y);
            assert!(gap(&y, &expected) < 4e-6, "{isa:?} {beam:?}: {}", gap(&y, &expected));
        }
    }
}

#[test]
fn wide_detector_pixels_see_the_mean_over_their_width() {
    let strips = beams().into_iter().filter(|beam| beam.footprint() == Footprint::Strip);
    for (k, beam) in strips.filter(|beam| beam.detector().spacing < 1.0).enumerate() {
        let x = noise(beam.image_len(), k as u64 + 21);
        let mut y = vec![0.0; beam.sinogram_len()];
        beam.forward(&x, &mut y).unwrap();
        // The midpoint rule has an error of order 1/n^2.
        let errors = [40, 160].map(|rays| gap(&y, &by_many_rays(&beam, &x, rays)));
        assert!(errors[1] < 2e-4 && errors[1] < 0.2 * errors[0].max(1e-6), "{beam:?}: {errors:?}");
        for isa in [Isa::V4, Isa::V3, Isa::Plain] {
            let mut single_y = vec![f32::NAN; y.len()];
            beam.forward_with(isa, &single(&x), &mut single_y);
            assert!(gap(&single_y, &y) < 4e-6, "{isa:?} {beam:?}: {}", gap(&single_y, &y));
        }
    }
}

#[test]
fn wide_detector_pixels_keep_the_mass_of_every_pixel() {
    let pixels = Pixels { rows: 9, columns: 12, size: 0.02 };
    for ratio in [1.01, 1.5, 2.0, 3.7, 20.0] {
        let detector = Detector { count: 41, spacing: ratio * pixels.size, offset: 0.003 };
        let beam = ParallelBeam::new(angles(), pixels, detector).unwrap();
        assert_eq!(beam.footprint(), Footprint::Strip);
        for pixel in [0, 5, 57, beam.image_len() - 1] {
            let mut x = vec![0.0; beam.image_len()];
            x[pixel] = 1.0;
            let mut y = vec![0.0; beam.sinogram_len()];
            beam.forward(&x, &mut y).unwrap();
            for projection in y.chunks(detector.count) {
                let mass = projection.iter().sum::<f64>() * detector.spacing / pixels.size.powi(2);
                assert!((mass - 1.0).abs() < 1e-12, "ratio {ratio}, pixel {pixel}: {mass}");
            }
        }
    }
    // Single rays as far apart see every other pixel twice, and none of the others.
    let detector = Detector { offset: 0.01, ..Detector::centred(8, 0.04) };
    let beam = ParallelBeam::new(vec![0.0], pixels, detector).unwrap();
    let masses = |beam: &ParallelBeam| {
        [0, 1].map(|pixel| {
            let (mut x, mut y) = (vec![0.0; beam.image_len()], vec![0.0; 8]);
            x[pixel] = 1.0;
            beam.forward(&x, &mut y).unwrap();
            y.iter().sum::<f64>() * 0.04 / 0.0004
        })
    };
    let close = |masses: [f64; 2], to: [f64; 2]| masses.iter().zip(to).all(|(m, t)| (m - t).abs() < 1e-9);
    assert!(close(masses(&beam.clone().with_footprint(Footprint::Line)), [0.0, 2.0]));
    assert!(close(masses(&beam), [1.0, 1.0]), "{:?}", masses(&beam));
}

#[test]
fn equal_and_finer_spacings_keep_single_rays() {
    let pixels = Pixels { rows: 4, columns: 4, size: 0.26 / 362.0 };
    let of =
        |spacing| ParallelBeam::new(vec![0.1], pixels, Detector::centred(5, spacing)).unwrap().footprint();
    assert_eq!((of(pixels.size), of(0.26 / 362.0 * (1.0 + 1e-12))), (Footprint::Line, Footprint::Line));
    assert_eq!((of(0.5 * pixels.size), of(1.01 * pixels.size)), (Footprint::Line, Footprint::Strip));
    assert_eq!(ParallelBeam::lodopab().footprint(), Footprint::Line);
    assert_eq!(ParallelBeam::lodopab_sized(1000).footprint(), Footprint::Line);
}

#[test]
fn the_axis_lies_where_it_is_said_to() {
    let detector = Detector::around(12.25, 20, 0.5);
    assert!(detector.position(12.25).abs() < 1e-12);
    assert_eq!(Detector::around(9.5, 20, 0.5), Detector::centred(20, 0.5));
}

#[test]
fn the_adjoint_is_the_transpose() {
    for (k, beam) in beams().iter().enumerate() {
        let (x, y) = (noise(beam.image_len(), k as u64 + 50), noise(beam.sinogram_len(), k as u64 + 90));
        let (mut ax, mut aty) = (vec![0.0; y.len()], vec![0.0; x.len()]);
        beam.forward(&x, &mut ax).unwrap();
        beam.adjoint(&y, &mut aty).unwrap();
        let (forward, backward) = (inner(&ax, &y), inner(&x, &aty));
        let scale = (inner(&ax, &ax) * inner(&y, &y)).sqrt().max(1e-300);
        assert!((forward - backward).abs() <= 1e-13 * scale, "{beam:?}: {forward} {backward}");
        for isa in [Isa::V4, Isa::V3, Isa::Plain] {
            let mut single_aty = vec![f32::NAN; x.len()];
            beam.back(isa, Spread::Transpose, &single(&y), &mut single_aty);
            assert!(gap(&single_aty, &aty) < 4e-6, "{isa:?} {beam:?}: {}", gap(&single_aty, &aty));
        }
    }
}

#[test]
fn float32_keeps_the_adjoint_identity_to_a_millionth() {
    let beam = ParallelBeam::lodopab_sized(90);
    // Noise, and an image and a sinogram of one sign, where no error cancels.
    let shift = |values: Vec<f64>, by: f64| single(&values.iter().map(|v| v + by).collect::<Vec<_>>());
    for by in [0.0, 0.5] {
        let (x, y) = (shift(noise(beam.image_len(), 3), by), shift(noise(beam.sinogram_len(), 4), by));
        let (mut ax, mut aty) = (vec![0.0; y.len()], vec![0.0; x.len()]);
        beam.forward(&x, &mut ax).unwrap();
        beam.adjoint(&y, &mut aty).unwrap();
        // |A x| is never above |A| |x|.
        let scale = (inner(&ax, &ax) * inner(&y, &y)).sqrt();
        let error = (inner(&ax, &y) - inner(&x, &aty)).abs() / scale;
        println!("shifted by {by}: {error:.1e}");
        assert!(error < 1e-6, "{error}");
    }
}

#[test]
fn back_projection_interpolates_between_detector_pixels() {
    for (k, beam) in beams().iter().enumerate() {
        let (Pixels { rows, columns, size }, detector) = (beam.pixels(), beam.detector());
        let y = noise(beam.sinogram_len(), k as u64 + 7);
        let mut expected = Vec::new();
        for r in 0..rows {
            for c in 0..columns {
                let right = (c as f64 - 0.5 * (columns as f64 - 1.0)) * size;
                let up = (0.5 * (rows as f64 - 1.0) - r as f64) * size;
                let value = |(k, angle): (usize, &f64)| {
                    let s = right * angle.cos() + up * angle.sin();
                    let u = (s - detector.offset) / detector.spacing + 0.5 * (detector.count as f64 - 1.0);
                    let at = |j: f64| {
                        let inside = j >= 0.0 && (j as usize) < detector.count;
                        if inside { y[k * detector.count + j as usize] } else { 0.0 }
                    };
                    (1.0 - (u - u.floor())) * at(u.floor()) + (u - u.floor()) * at(u.floor() + 1.0)
                };
                expected.push(beam.angle_list().iter().enumerate().map(value).sum::<f64>());
            }
        }
        let mut x = vec![f64::NAN; beam.image_len()];
        beam.back_project(&y, &mut x).unwrap();
        assert!(gap(&x, &expected) < 1e-9, "{beam:?}: {}", gap(&x, &expected));
        for isa in [Isa::V4, Isa::V3, Isa::Plain] {
            let mut x = vec![f32::NAN; beam.image_len()];
            beam.back(isa, Spread::Interpolate, &single(&y), &mut x);
            assert!(gap(&x, &expected) < 4e-6, "{isa:?} {beam:?}: {}", gap(&x, &expected));
        }
    }
}

/// Mean error of the projections of a disc beside its chords, relative to the longest chord.
fn disc_error(side: usize) -> f64 {
    let (radius, at, density) = (0.05, (0.03, -0.04), 2.0);
    let pixels = Pixels { rows: side, columns: side + side / 4, size: 0.26 / side as f64 };
    let detector = Detector { count: 200, spacing: 0.0022, offset: 0.013 };
    let beam = ParallelBeam::new(ParallelBeam::half_turn(40), pixels, detector)
        .unwrap()
        .with_footprint(Footprint::Line);
    // Pixels at the rim hold the share of the disc, by 8 x 8 points.
    let centre = |i: f64, n: usize| (i - 0.5 * (n as f64 - 1.0)) * pixels.size;
    let mut x = Vec::new();
    for r in 0..pixels.rows {
        for c in 0..pixels.columns {
            let inside = (0..64).filter(|k| {
                let (dr, dc) = (f64::from(k / 8) / 8.0 - 0.4375, f64::from(k % 8) / 8.0 - 0.4375);
                let right = centre(c as f64 + dc, pixels.columns) - at.0;
                let up = -centre(r as f64 + dr, pixels.rows) - at.1;
                right.hypot(up) < radius
            });
            x.push(density * inside.count() as f64 / 64.0);
        }
    }
    let mut y = vec![0.0; beam.sinogram_len()];
    beam.forward(&x, &mut y).unwrap();
    let mut sum = 0.0;
    for (angle, projection) in beam.angle_list().iter().zip(y.chunks(detector.count)) {
        for (j, value) in projection.iter().enumerate() {
            let s = (j as f64 - 99.5) * detector.spacing + detector.offset;
            let from_centre = s - (at.0 * angle.cos() + at.1 * angle.sin());
            let chord = 2.0 * (radius * radius - from_centre * from_centre).max(0.0).sqrt();
            sum += (value - density * chord).abs();
        }
    }
    sum / y.len() as f64 / (2.0 * radius * density)
}

#[test]
fn a_disc_has_its_chords_as_projections_and_refinement_helps() {
    let errors = [40, 80, 160, 320].map(disc_error);
    println!("{errors:?}");
    assert!(errors[3] < 1e-3, "{errors:?}");
    // The rim's error is that of one pixel: at least of order one.
    assert!(errors.windows(2).all(|e| e[1] < 0.6 * e[0]), "{errors:?}");
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    let beam = ParallelBeam::lodopab_sized(61).angles(100..130).unwrap();
    let x = single(&noise(beam.image_len(), 5));
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let (mut y, mut back) = (vec![0.0; beam.sinogram_len()], vec![0.0; beam.image_len()]);
        pool.install(|| beam.forward(&x, &mut y).and_then(|()| beam.adjoint(&y, &mut back))).unwrap();
        (y, back)
    };
    assert_eq!(run(1), run(3));
}

#[test]
fn bad_geometries_and_lengths_are_refused_in_one_line() {
    let pixels = Pixels { rows: 4, columns: 5, size: 0.1 };
    let detector = Detector::centred(6, 0.1);
    let line = |angles: &[f64], pixels, detector| {
        let line = ParallelBeam::new(angles.to_vec(), pixels, detector).unwrap_err().to_string();
        assert_eq!(line.lines().count(), 1);
        line
    };
    assert_eq!(
        line(&[], pixels, detector),
        "number of projection angles: expected between 1 and 2^20, got 0"
    );
    assert!(line(&[0.0, f64::NAN], pixels, detector).contains("NaN at position 1"));
    assert!(line(&[0.0], Pixels { rows: 0, ..pixels }, detector).contains("image rows"));
    assert!(line(&[0.0], Pixels { columns: 1 << 40, ..pixels }, detector).contains("image columns"));
    assert!(line(&[0.0], pixels, Detector { count: 0, ..detector }).contains("detector pixels"));
    for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(line(&[0.0], Pixels { size: bad, ..pixels }, detector).contains("size of a pixel"));
        assert!(line(&[0.0], pixels, Detector { spacing: bad, ..detector }).contains("detector spacing"));
    }
    for bad in [1e-18, 1e9] {
        let line = line(&[0.0], Pixels { size: bad, ..pixels }, detector);
        assert!(line.starts_with("detector spacing: expected 1e-4 to 1e6 times"), "{line}");
    }
    assert!(line(&[0.0], pixels, Detector { offset: f64::NAN, ..detector }).contains("detector offset"));
    let beam = ParallelBeam::new(vec![0.0, 1.0], pixels, detector).unwrap();
    assert!(beam.angles(1..1).is_err() && beam.angles(0..3).is_err() && beam.angles(1..2).is_ok());
    let (mut x, mut y) = ([0.0_f32; 20], [0.0_f32; 12]);
    assert!(beam.forward(&x, &mut y[1..]).unwrap_err().to_string().contains("expected 12"));
    assert!(beam.forward(&x[1..], &mut y).unwrap_err().to_string().contains("expected 20"));
    assert!(beam.adjoint(&y[1..], &mut x).is_err() && beam.back_project(&y, &mut x[1..]).is_err());
}

#[test]
fn truncated_projections_are_noticed() {
    assert_eq!(ParallelBeam::lodopab().truncation(), 0.0);
    let pixels = Pixels { rows: 10, columns: 20, size: 0.1 };
    let beam = |angles: &[f64], detector| ParallelBeam::new(angles.to_vec(), pixels, detector).unwrap();
    assert_eq!(beam(&[0.0], Detector::centred(20, 0.1)).truncation(), 0.0);
    assert_eq!(beam(&[PI / 2.0], Detector::centred(10, 0.1)).truncation(), 0.0);
    assert!((beam(&[0.0, PI / 2.0], Detector::centred(10, 0.1)).truncation() - 0.5).abs() < 1e-12);
    let moved = Detector { offset: -0.2, ..Detector::centred(20, 0.1) };
    assert!((beam(&[0.0], moved).truncation() - 0.2).abs() < 1e-12);
}
