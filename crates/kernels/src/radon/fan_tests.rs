//! Fan beams against their definition, their own transpose, parallel beams, and closed forms.

use super::tests::{gap, inner, noise, single};
use super::*;
use std::f64::consts::{PI, TAU};

const CURVES: [Curve; 2] = [Curve::Flat, Curve::Curved];

fn angles() -> Vec<f64> {
    let regular = (0..19).map(|k| f64::from(k) * 0.37 - 2.0);
    regular.chain([0.0, PI / 4.0, PI / 2.0, PI, -PI / 2.0, 3.5]).collect()
}

/// Rectangular images; narrow and wide fans, sources near and far, detectors fine, coarse and off centre.
fn beams() -> Vec<FanBeam> {
    let size = 0.02;
    let cases = [
        // count, spacing, offset, source, detector, in pixels
        (61, 1.5, 0.0, 80.0, 40.0),
        (48, 1.4, 2.7, 60.0, 0.0),
        (90, 1.9, -7.1, 30.0, 35.0),
        (33, 4.0, 0.4, 50.0, 20.0),
        (240, 0.4, 0.0, 200.0, 1.0),
        (7, 1.0, 15.0, 90.0, 10.0),
        (5, 20.0, 0.0, 29.5, 20.0),
        // A fan of 164 degrees, with rays of both orientations at once.
        (120, 6.5, 3.0, 29.5, 25.0),
    ];
    let mut all = Vec::new();
    for (rows, columns) in [(31, 44), (40, 17), (1, 20), (16, 1)] {
        for (count, spacing, offset, source, beyond) in cases {
            for curve in CURVES {
                let detector = Detector { count, spacing: spacing * size, offset: offset * size };
                let pixels = Pixels { rows, columns, size };
                let distances = [source * size, beyond * size];
                let Ok(beam) = FanBeam::new(angles(), pixels, detector, curve, distances) else {
                    // As an arc the longest one would lead round the source.
                    assert!(curve == Curve::Curved && count == 120);
                    continue;
                };
                all.push(beam.clone().with_footprint(Footprint::Strip));
                all.push(beam.with_footprint(Footprint::Line));
            }
        }
    }
    all
}

/// Joseph's model from two points of each ray, the source and the detector, and nothing of the formulas of `FanBeam`.
fn by_definition(beam: &FanBeam, x: &[f64]) -> Vec<f64> {
    let (Pixels { rows, columns, size }, detector) = (beam.pixels(), beam.detector());
    let (near, far) = (beam.source_origin(), beam.source_origin() + beam.origin_detector());
    let at = |r: f64, c: f64| {
        let inside = r >= 0.0 && c >= 0.0 && (r as usize) < rows && (c as usize) < columns;
        if inside { x[r as usize * columns + c as usize] } else { 0.0 }
    };
    let between = |line: &dyn Fn(f64) -> f64, position: f64| {
        let (low, w) = (position.floor(), position - position.floor());
        (1.0 - w) * line(low) + w * line(low + 1.0)
    };
    let mut y = Vec::new();
    for angle in beam.angle_list() {
        let (sin, cos) = angle.sin_cos();
        let source = (near * sin, -near * cos);
        for j in 0..detector.count {
            let u = detector.position(j as f64);
            let (across, along) = match beam.curve() {
                Curve::Flat => (u, far),
                Curve::Curved => (far * (u / far).sin(), far * (u / far).cos()),
            };
            let (dx, dy) = (across * cos - along * sin, across * sin + along * cos);
            let long = dx.hypot(dy);
            let mut sum = 0.0;
            if dx.abs() <= dy.abs() {
                for r in 0..rows {
                    let up = (0.5 * (rows as f64 - 1.0) - r as f64) * size;
                    let right = source.0 + (up - source.1) / dy * dx;
                    let c = right / size + 0.5 * (columns as f64 - 1.0);
                    sum += between(&|c| at(r as f64, c), c) * long / dy.abs();
                }
            } else {
                for c in 0..columns {
                    let right = (c as f64 - 0.5 * (columns as f64 - 1.0)) * size;
                    let up = source.1 + (right - source.0) / dx * dy;
                    let r = 0.5 * (rows as f64 - 1.0) - up / size;
                    sum += between(&|r| at(r, c as f64), r) * long / dx.abs();
                }
            }
            y.push(sum * size);
        }
    }
    y
}

/// The same where a detector pixel of `beam` measures the mean over its width on every line that its middle ray crosses:
/// by so many positions on each line.
fn by_many_rays(beam: &FanBeam, x: &[f64], many: usize) -> Vec<f64> {
    let Pixels { rows, columns, .. } = beam.pixels();
    let mut y = Vec::new();
    for k in 0..beam.angle_list().len() {
        for j in 0..beam.detector().count {
            let ray = beam.ray(k, j as f64, None);
            let ends = [-0.5, 0.5].map(|aside| beam.ray(k, j as f64 + aside, Some(ray.transposed)));
            let (lines, width) = if ray.transposed { (columns, rows) } else { (rows, columns) };
            let mut sum = 0.0;
            for l in 0..lines {
                let value = |p: f64| {
                    let inside = p >= 0.0 && (p as usize) < width;
                    let place =
                        if ray.transposed { (p.max(0.0) as usize, l) } else { (l, p.max(0.0) as usize) };
                    if inside { x[place.0 * columns + place.1] } else { 0.0 }
                };
                let [low, high] = ends.map(|end| end.origin + end.per_line * l as f64);
                for i in 0..many {
                    let p = low + (high - low) * (i as f64 + 0.5) / many as f64;
                    let w = p - p.floor();
                    sum += ((1.0 - w) * value(p.floor()) + w * value(p.floor() + 1.0)) / many as f64;
                }
            }
            y.push(sum * ray.length);
        }
    }
    y
}

#[test]
fn projections_are_those_of_the_definition() {
    let lines = beams().into_iter().filter(|beam| beam.footprint() == Footprint::Line);
    for (k, beam) in lines.enumerate() {
        let x = noise(beam.image_len(), k as u64 + 1);
        let expected = by_definition(&beam, &x);
        let mut y = vec![f64::NAN; beam.sinogram_len()];
        beam.forward(&x, &mut y).unwrap();
        assert!(gap(&y, &expected) < 1e-10, "{beam:?}: {}", gap(&y, &expected));
        let mut y = vec![f32::NAN; beam.sinogram_len()];
        beam.forward(&single(&x), &mut y).unwrap();
        assert!(gap(&y, &expected) < 4e-6, "{beam:?}: {}", gap(&y, &expected));
    }
}

#[test]
fn wide_detector_pixels_see_the_mean_over_their_width() {
    let strips = beams().into_iter().filter(|beam| beam.footprint() == Footprint::Strip);
    for (k, beam) in strips.enumerate() {
        let x = noise(beam.image_len(), k as u64 + 1);
        let mut y = vec![f64::NAN; beam.sinogram_len()];
        beam.forward(&x, &mut y).unwrap();
        let error = gap(&y, &by_many_rays(&beam, &x, 500));
        assert!(error < 1e-3, "{beam:?}: {error}");
    }
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
        let mut single_aty = vec![f32::NAN; x.len()];
        beam.adjoint(&single(&y), &mut single_aty).unwrap();
        assert!(gap(&single_aty, &aty) < 4e-6, "{beam:?}: {}", gap(&single_aty, &aty));
    }
}

#[test]
fn a_source_far_away_is_a_parallel_beam() {
    let pixels = Pixels { rows: 21, columns: 30, size: 0.01 };
    for spacing in [0.01, 0.017] {
        let detector = Detector { count: 40, spacing, offset: 0.013 };
        let parallel = ParallelBeam::new(angles(), pixels, detector).unwrap();
        let x = noise(parallel.image_len(), 3);
        let mut expected = vec![0.0; parallel.sinogram_len()];
        parallel.forward(&x, &mut expected).unwrap();
        let mut pixels_of = vec![0.0; x.len()];
        parallel.back_project(&expected, &mut pixels_of).unwrap();
        for curve in CURVES {
            let fan = FanBeam::new(angles(), pixels, detector, curve, [1e6, 0.1]).unwrap();
            assert_eq!(fan.footprint(), parallel.footprint());
            let (mut y, mut back) = (vec![0.0; expected.len()], vec![0.0; x.len()]);
            fan.forward(&x, &mut y).unwrap();
            fan.back_project(&expected, &mut back).unwrap();
            assert!(gap(&y, &expected) < 1e-4, "{curve:?}: {}", gap(&y, &expected));
            assert!(gap(&back, &pixels_of) < 1e-4, "{curve:?}: {}", gap(&back, &pixels_of));
        }
    }
}

#[test]
fn back_projection_interpolates_between_detector_pixels() {
    for (k, beam) in beams().iter().enumerate() {
        let (Pixels { rows, columns, size }, detector) = (beam.pixels(), beam.detector());
        let (near, far) = (beam.source_origin(), beam.source_origin() + beam.origin_detector());
        let y = noise(beam.sinogram_len(), k as u64 + 7);
        let mut expected = Vec::new();
        for r in 0..rows {
            for c in 0..columns {
                let right = (c as f64 - 0.5 * (columns as f64 - 1.0)) * size;
                let up = (0.5 * (rows as f64 - 1.0) - r as f64) * size;
                let value = |(k, angle): (usize, &f64)| {
                    let (sin, cos) = angle.sin_cos();
                    let (dx, dy) = (right - near * sin, up + near * cos);
                    let (across, along) = (dx * cos + dy * sin, dy * cos - dx * sin);
                    let (u, weight) = match beam.curve() {
                        Curve::Flat => (far * across / along, (near / along).powi(2)),
                        Curve::Curved => (far * across.atan2(along), (near / dx.hypot(dy)).powi(2)),
                    };
                    let u = (u - detector.offset) / detector.spacing + 0.5 * (detector.count as f64 - 1.0);
                    let at = |j: f64| {
                        let inside = j >= 0.0 && (j as usize) < detector.count;
                        if inside { y[k * detector.count + j as usize] } else { 0.0 }
                    };
                    weight * ((1.0 - (u - u.floor())) * at(u.floor()) + (u - u.floor()) * at(u.floor() + 1.0))
                };
                expected.push(beam.angle_list().iter().enumerate().map(value).sum::<f64>());
            }
        }
        let mut x = vec![f64::NAN; beam.image_len()];
        beam.back_project(&y, &mut x).unwrap();
        assert!(gap(&x, &expected) < 1e-9, "{beam:?}: {}", gap(&x, &expected));
        let mut x = vec![f32::NAN; beam.image_len()];
        beam.back_project(&single(&y), &mut x).unwrap();
        assert!(gap(&x, &expected) < 4e-6, "{beam:?}: {}", gap(&x, &expected));
    }
}

#[test]
fn a_disc_has_its_chords() {
    let (radius, at, density) = (0.05, (0.02, -0.03), 2.0);
    let pixels = Pixels { rows: 260, columns: 300, size: 0.001 };
    let turn: Vec<f64> = (0..40).map(|k| f64::from(k) * TAU / 40.0).collect();
    let mut x = Vec::new();
    for r in 0..pixels.rows {
        for c in 0..pixels.columns {
            let inside = (0..64).filter(|k| {
                let (dr, dc) = (f64::from(k / 8) / 8.0 - 0.4375, f64::from(k % 8) / 8.0 - 0.4375);
                let right = (c as f64 + dc - 149.5) * pixels.size - at.0;
                let up = (129.5 - r as f64 - dr) * pixels.size - at.1;
                right.hypot(up) < radius
            });
            x.push(density * inside.count() as f64 / 64.0);
        }
    }
    for curve in CURVES {
        let detector = Detector { count: 300, spacing: 0.002, offset: 0.01 };
        let beam = FanBeam::new(turn.clone(), pixels, detector, curve, [0.35, 0.25]).unwrap();
        assert_eq!(beam.footprint(), Footprint::Strip);
        let mut y = vec![0.0; beam.sinogram_len()];
        beam.with_footprint(Footprint::Line).forward(&x, &mut y).unwrap();
        let mut sum = 0.0;
        for (angle, projection) in turn.iter().zip(y.chunks(detector.count)) {
            let (sin, cos) = angle.sin_cos();
            let (dx, dy) = (at.0 - 0.35 * sin, at.1 + 0.35 * cos);
            // The disc's centre as the source sees it.
            let (aside, distance) = ((dx * cos + dy * sin).atan2(dy * cos - dx * sin), dx.hypot(dy));
            for (j, value) in projection.iter().enumerate() {
                let along = detector.position(j as f64) / 0.6;
                let gamma = if curve == Curve::Flat { along.atan() } else { along };
                let from_centre = distance * (gamma - aside).sin();
                let chord = 2.0 * (radius * radius - from_centre * from_centre).max(0.0).sqrt();
                sum += (value - density * chord).abs();
            }
        }
        let error = sum / y.len() as f64 / (2.0 * radius * density);
        println!("{curve:?}: {error:.2e}");
        assert!(error < 1e-3, "{curve:?}: {error}");
    }
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    let beam = &beams()[3];
    let x = single(&noise(beam.image_len(), 5));
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let (mut y, mut back) = (vec![0.0; beam.sinogram_len()], vec![0.0; beam.image_len()]);
        let mut pixels = back.clone();
        let all = || {
            beam.forward(&x, &mut y)?;
            beam.adjoint(&y, &mut back)?;
            beam.back_project(&y, &mut pixels)
        };
        pool.install(all).unwrap();
        (y, back, pixels)
    };
    assert_eq!(run(1), run(3));
}

#[test]
fn bad_geometries_are_refused_in_one_line() {
    let pixels = Pixels { rows: 40, columns: 30, size: 0.01 };
    let detector = Detector::centred(60, 0.01);
    let line = |detector, curve, distances| {
        let line = FanBeam::new(vec![0.0], pixels, detector, curve, distances).unwrap_err().to_string();
        assert_eq!(line.lines().count(), 1);
        line
    };
    for near in [0.26, 0.0, -1.0, f64::NAN, f64::INFINITY, 1e8] {
        let line = line(detector, Curve::Flat, [near, 0.1]);
        assert!(
            line.starts_with("distance of source and axis: expected more than the 2.7000e-1 m"),
            "{line}"
        );
    }
    for beyond in [-0.1, f64::NAN, f64::INFINITY] {
        assert!(line(detector, Curve::Flat, [1.0, beyond]).starts_with("distance of axis and detector"));
    }
    let long = Detector { count: 600, ..detector };
    assert!(line(long, Curve::Curved, [0.5, 0.5]).contains("within 85 degrees"));
    assert!(line(Detector::centred(2, 0.6), Curve::Flat, [0.5, 0.5]).starts_with("detector spacing"));
    assert!(line(Detector { spacing: -1.0, ..detector }, Curve::Flat, [0.5, 0.5]).contains("spacing"));
    assert!(line(Detector { offset: f64::NAN, ..detector }, Curve::Flat, [0.5, 0.5]).contains("offset"));
    assert!(FanBeam::new(vec![], pixels, detector, Curve::Flat, [0.5, 0.5]).is_err());
    let beam = FanBeam::new(vec![0.0, 1.0], pixels, detector, Curve::Flat, [0.5, 0.5]).unwrap();
    assert!(beam.angles(1..1).is_err() && beam.angles(0..3).is_err() && beam.angles(1..2).is_ok());
    let (mut x, mut y) = (vec![0.0_f32; beam.image_len()], vec![0.0_f32; beam.sinogram_len()]);
    assert!(beam.forward(&x, &mut y[1..]).is_err() && beam.back_project(&y, &mut x[1..]).is_err());
}

#[test]
fn truncated_projections_are_noticed() {
    let pixels = Pixels { rows: 100, columns: 100, size: 0.01 };
    let turn: Vec<f64> = (0..8).map(|k| f64::from(k) * TAU / 8.0).collect();
    for curve in CURVES {
        let of = |count| {
            let detector = Detector::centred(count, 0.02);
            FanBeam::new(turn.clone(), pixels, detector, curve, [2.0, 2.0]).unwrap().truncation()
        };
        // The circle around the corners is seen under at most asin(0.707 / 2) on either side.
        assert!(of(100) > 0.15 && of(160) == 0.0, "{} {}", of(100), of(160));
    }
}
