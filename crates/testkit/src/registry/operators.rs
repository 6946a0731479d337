//! The operators there are. Images are rectangular, with one to three channels.

use super::Named;
use smalti_base::{Result, Seed, Space};
use smalti_operators::{
    Along, Biased, Boundary, Composition, Convolution, Crop, Curve, Detector, FanBeam, Footprint,
    FourierDownsampling, Geometry, Gradient, Identity, ImagingOperator, LinearOperator, Mask, Operator,
    OperatorAlgebra, ParallelBeam, Pixels, Radon, Stack, VolumeConvolution, kernel, radon,
};
use std::rc::Rc;
use tch::{Kind, Tensor};

type Linear = Named<dyn LinearOperator>;
type Imaging = Named<dyn ImagingOperator>;

/// Every operator, linear or not.
///
/// # Errors
/// Those of the constructors; none with the sizes used here.
pub fn operators() -> Result<Vec<Named<dyn Operator>>> {
    let linear = linear_operators()?;
    let mut all: Vec<Named<dyn Operator>> =
        linear.into_iter().map(|Named { name, subject }| Named::<dyn Operator> { name, subject }).collect();
    let kernel = Seed::new(11).at("kernel", 1).normal(&[5, 3]);
    let biased = || Biased::new(FourierDownsampling::new(Space::image(2, 18, 27), &kernel, 3)?, 0.3);
    let named = |name: &str, f: Box<dyn Operator>| Named::<dyn Operator>::new(name, f);
    all.push(named("Fourier downsampling by 3 with a bias", Box::new(biased()?)));
    all.push(named("sum of operators with a bias", Box::new(biased()?.plus(biased()?.scaled(-0.4)?)?)));
    let stack = Stack::new([biased()?, biased()?], Along::Width)?;
    all.push(named("stack of operators with a bias", Box::new(stack)));
    Ok(all)
}

/// The linear operators.
///
/// # Errors
/// Those of the constructors; none with the sizes used here.
pub fn linear_operators() -> Result<Vec<Linear>> {
    let mut all: Vec<Linear> =
        blurs()?.into_iter().map(|Named { name, subject }| Linear { name, subject }).collect();
    all.extend(projections()?);
    all.extend(algebra()?);
    let small = Space::image(3, 12, 17);
    let seed = Seed::new(11);
    let free = seed.at("kernel", 0).normal(&[3, 6]);
    let mask = seed.at("mask", 0).uniform(&[12, 17]).lt(0.6);
    for boundary in [Boundary::Valid, Boundary::Periodic, Boundary::Reflect, Boundary::ReflectBy(4)] {
        let a = Convolution::blur(small, &free, boundary)?;
        all.push(Linear::new(format!("blur with a free 3x6 kernel, {boundary:?}"), Box::new(a)));
    }
    let signal = Convolution::blur(
        Space::image(1, 1, 64),
        &free.f_narrow(0, 0, 1)?.f_narrow(1, 0, 3)?,
        Boundary::Reflect,
    )?;
    all.push(Linear::new("blur of a single row with a free 1x3 kernel", Box::new(signal)));
    // Positions that leave pixels over at the bottom and right.
    let a = Convolution::new(small, &free, Boundary::ReflectBy(3), 4)?;
    all.push(Linear::new("free 3x6 kernel, stride 4, reflected", Box::new(a)));
    for (height, width, factor) in [(12, 18, 2), (15, 9, 3), (11, 8, 1)] {
        let a = FourierDownsampling::new(Space::image(2, height, width), &free.f_narrow(1, 0, 5)?, factor)?;
        all.push(Linear::new(format!("Fourier downsampling of {height} x {width} by {factor}"), Box::new(a)));
    }
    all.push(Linear::new("mask", Box::new(Mask::new(3, &mask)?)));
    all.push(Linear::new("crop", Box::new(Crop::to(small, 3)?)));
    all.push(Linear::new("gradient", Box::new(Gradient::new(small))));
    let flat = Space::image(1, 1, 9);
    all.push(Linear::new("gradient of a single row", Box::new(Gradient::new(flat))));
    let seen = Composition::new(Mask::new(3, &mask)?, Convolution::blur(small, &free, Boundary::Periodic)?)?;
    all.push(Linear::new("blur of a masked image", Box::new(seen)));
    // Volumes; positions that leave voxels over along every axis.
    let volume = Space::volume(2, 9, 12, 14);
    let free = seed.at("kernel of volumes", 0).normal(&[2, 3, 4]);
    all.push(Linear::new(
        "volumes, 4x4x4 Gaussian, stride 3",
        Box::new(VolumeConvolution::superresolution(volume, 4, 1.0, 3)?),
    ));
    all.push(Linear::new("volumes, free 2x3x4 kernel", Box::new(VolumeConvolution::new(volume, &free, 1)?)));
    all.push(Linear::new(
        "volumes, free 2x3x4 kernel, stride 2",
        Box::new(VolumeConvolution::new(volume, &free, 2)?),
    ));
    all.push(Linear::new("crop of volumes", Box::new(Crop::to(volume, 3)?)));
    all.push(Linear::new("identity of volumes", Box::new(Identity::new(volume))));
    all.push(Linear::new("gradient of volumes", Box::new(Gradient::new(Space::volume(2, 5, 7, 6)))));
    all.push(Linear::new("gradient of a single slice", Box::new(Gradient::new(Space::volume(1, 1, 5, 4)))));
    let cubes = seed.at("mask of volumes", 0).uniform(&[9, 12, 14]).lt(0.6);
    all.push(Linear::new("mask of volumes", Box::new(Mask::new(2, &cubes)?)));
    let seen = VolumeConvolution::superresolution(volume, 4, 1.0, 3)?;
    let with_margin = Composition::new(Crop::to(volume, 5)?, seen)?;
    all.push(Linear::new("volumes, 4x4x4 Gaussian, stride 3, with a margin", Box::new(with_margin)));
    Ok(all)
}

/// The operators whose output pixels see their surroundings symmetrically, on images that are large enough
/// for the law of the grid; part of [`linear_operators`].
///
/// # Errors
/// Those of the constructors; none with the sizes used here.
pub fn blurs() -> Result<Vec<Imaging>> {
    let image = Space::image(2, 72, 88);
    let mut all = vec![Imaging::new("identity", Box::new(Identity::new(image)))];
    all.push(Imaging::new("crop to the interior", Box::new(Crop::to(image, 5)?)));
    let published = [
        ("SiC x4", 2.0, 4, Boundary::Periodic),
        ("WPP x4", 2.0, 4, Boundary::Valid),
        ("zero-shot x2", 1.0, 2, Boundary::ReflectBy(7)),
        ("zero-shot x4", 2.0, 4, Boundary::ReflectBy(6)),
    ];
    for (name, sigma, stride, boundary) in published {
        let a = Convolution::superresolution(image, 16, sigma, stride, boundary)?;
        all.push(Imaging::new(format!("superresolution {name}, {boundary:?}"), Box::new(a)));
    }
    let uniform = Tensor::ones([3, 6], (Kind::Double, tch::Device::Cpu)) / 18.0;
    let box_blur = Convolution::blur(image, &uniform, Boundary::Reflect)?;
    all.push(Imaging::new("3x6 box blur", Box::new(box_blur)));
    let blur = Rc::new(Convolution::blur(image, &kernel::gaussian(7, 1.5)?, Boundary::ReflectBy(3))?);
    all.push(Imaging::new("half a blur", Box::new(Rc::clone(&blur).scaled(0.5)?)));
    let half = Convolution::superresolution(image, 4, 1.0, 2, Boundary::Valid)?;
    all.push(Imaging::new("blur, then half the size", Box::new(Composition::new(blur, half)?)));
    let a = Convolution::superresolution(image, 16, 2.0, 4, Boundary::Periodic)?;
    let with_margin = Composition::new(Crop::to(image, 20)?, a)?;
    all.push(Imaging::new("superresolution SiC x4 with a margin", Box::new(with_margin)));
    let volume = Space::volume(1, 34, 32, 36);
    let half = VolumeConvolution::superresolution(volume, 4, 1.0, 2)?;
    let with_margin =
        Composition::new(Crop::to(volume, 3)?, VolumeConvolution::superresolution(volume, 4, 1.0, 2)?)?;
    all.push(Imaging::new("volumes of half the size", Box::new(half)));
    all.push(Imaging::new("volumes of half the size with a margin", Box::new(with_margin)));
    Ok(all)
}

/// Computed tomography along parallel rays and fans with square and rectangular images, fine and coarse detectors, off
/// centre, by the kernels and by tensors; part of [`linear_operators`].
///
/// # Errors
/// Those of the constructors; none with the sizes used here.
pub fn projections() -> Result<Vec<Linear>> {
    let mut all = Vec::new();
    let angles: Vec<f64> = (0..11).map(|k| f64::from(k) * 0.6 - 1.0).collect();
    let cases = [
        ("square", 16, 16, Detector::centred(24, 0.01)),
        ("rectangular", 12, 19, Detector { count: 31, spacing: 0.008, offset: 0.004 }),
        ("rectangular, coarse detector", 21, 9, Detector { count: 12, spacing: 0.027, offset: -0.01 }),
        ("rectangular, fine detector", 10, 14, Detector { count: 60, spacing: 0.0031, offset: 0.0 }),
        ("rectangular, axis aside", 13, 18, Detector::around(4.3, 17, 0.01)),
        ("rectangular, detector a little coarse, axis aside", 13, 18, Detector::around(4.3, 17, 0.0105)),
    ];
    let mut beams = Vec::new();
    for (name, rows, columns, detector) in cases {
        let pixels = Pixels { rows, columns, size: 0.01 };
        let beam = ParallelBeam::new(angles.clone(), pixels, detector).map_err(radon::refused)?;
        if beam.footprint() == Footprint::Strip {
            let rays = beam.clone().with_footprint(Footprint::Line);
            beams.push((format!("parallel beam, {name}, single rays"), Geometry::from(rays)));
        }
        beams.push((format!("parallel beam, {name}"), beam.into()));
    }
    // Distances of source and detector from the axis of rotation; the last fan has rays of both orientations in all views.
    let fans = [
        ("rectangular", 12, 19, Detector { count: 31, spacing: 0.012, offset: 0.004 }, [0.3, 0.1]),
        (
            "rectangular, coarse detector",
            21,
            9,
            Detector { count: 12, spacing: 0.05, offset: -0.01 },
            [0.4, 0.2],
        ),
        (
            "rectangular, fine detector",
            10,
            14,
            Detector { count: 60, spacing: 0.0051, offset: 0.0 },
            [0.2, 0.15],
        ),
        (
            "rectangular, near source",
            13,
            18,
            Detector { count: 35, spacing: 0.018, offset: 0.03 },
            [0.14, 0.11],
        ),
    ];
    for curve in [Curve::Flat, Curve::Curved] {
        for (name, rows, columns, detector, distances) in fans {
            let pixels = Pixels { rows, columns, size: 0.01 };
            // As an arc the longest detector would lead round the source.
            let spacing = if curve == Curve::Curved { 0.55 * detector.spacing } else { detector.spacing };
            let detector = if distances[0] < 0.15 { Detector { spacing, ..detector } } else { detector };
            let beam =
                FanBeam::new(angles.clone(), pixels, detector, curve, distances).map_err(radon::refused)?;
            beams.push((format!("fan beam, {curve:?}, {name}"), beam.into()));
        }
    }
    for (name, beam) in beams {
        let a = Radon::new(beam);
        all.push(Linear::new(format!("{name}, by tensors"), Box::new(a.clone().with_tensors())));
        all.push(Linear::new(name, Box::new(a)));
    }
    Ok(all)
}

/// Sums, multiples and stacks, of images and volumes; part of [`linear_operators`].
///
/// # Errors
/// Those of the constructors; none with the sizes used here.
pub fn algebra() -> Result<Vec<Linear>> {
    let image = Space::image(2, 12, 17);
    let seed = Seed::new(12);
    let mask = Mask::new(2, &seed.at("mask", 0).uniform(&[12, 17]).lt(0.6))?;
    let blur = |k| Convolution::blur(image, &seed.at("kernel", k).normal(&[3, 6]), Boundary::Periodic);
    let sum = blur(0)?.plus(mask.scaled(-0.7)?)?.plus(Identity::new(image))?;
    let views: [Box<dyn LinearOperator>; 3] =
        [Box::new(Gradient::new(image)), Box::new(blur(1)?.scaled(0.3)?), Box::new(Identity::new(image))];
    let channels = Stack::new(views, Along::Channels)?;
    let sharpened = blur(2)?.then(Identity::new(image).scaled(2.0)?.plus(blur(0)?)?)?;
    let rows = Stack::new([blur(0)?, blur(1)?], Along::Height)?;
    let beam = |angles: &[f64]| {
        let pixels = Pixels { rows: 12, columns: 19, size: 0.01 };
        ParallelBeam::new(angles.to_vec(), pixels, Detector::centred(31, 0.008)).map_err(radon::refused)
    };
    let scans = [Radon::new(beam(&[0.1, 0.7, 1.9])?), Radon::new(beam(&[2.5, 3.0])?)];
    let scans = Stack::new(scans, Along::Height)?;
    let volume = Space::volume(2, 5, 7, 6);
    let slices = Stack::new([Gradient::new(volume), Gradient::new(volume)], Along::Depth)?;
    Ok(vec![
        Linear::new("sum of a blur, a negative mask and the identity", Box::new(sum)),
        Linear::new("twice a gradient", Box::new(Gradient::new(image).scaled(2.0)?)),
        Linear::new("stack of three along channels", Box::new(channels)),
        Linear::new("stack of two along rows", Box::new(rows)),
        Linear::new("sum after a blur", Box::new(sharpened)),
        Linear::new("stack of scans along angles", Box::new(scans)),
        Linear::new("stack of volumes along slices", Box::new(slices)),
    ])
}
