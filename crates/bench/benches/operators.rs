//! Forward operators, their adjoints, and interpolation onto the image grid.

use criterion::Criterion;
use smalti_base::{Result, Space};
use smalti_bench::{fixtures, timed};
use smalti_operators::{
    Boundary, Convolution, Fbp, Filter, LinearOperator, Operator, ParallelBeam, PixelGrid, Radon, interpolate,
};
use std::process::ExitCode;
use tch::Kind;

fn main() -> ExitCode {
    timed::run(operators)
}

fn operators(criterion: &mut Criterion) -> Result<()> {
    let slice = fixtures::domain();
    let photograph = Space::image(1, 320, 480);
    let reflect = Boundary::ReflectBy(7);
    let kernel = fixtures::noise(Space::image(1, 15, 15)).reshape([15, 15]);
    let kernel = &kernel / kernel.sum(Kind::Float);
    let sic = Convolution::superresolution(slice, 16, 2.0, 4, Boundary::Periodic)?;
    let zero_shot = Convolution::superresolution(photograph, 16, 1.0, 2, reflect)?;
    let blur = Convolution::blur(slice, &kernel, reflect)?;

    let mut group = timed::group(criterion, "operator");
    for (name, operator) in [("sic_x4", &sic), ("zero_shot_x2", &zero_shot), ("blur_15x15", &blur)] {
        let (domain, range) = (operator.domain(), operator.range());
        let (x, v) = (fixtures::noise(domain), fixtures::noise(range));
        let size = format!("{}x{}", domain.height, domain.width);
        timed::time(&mut group, &format!("{name}/apply/{size}"), || operator.apply(&x))?;
        timed::time(&mut group, &format!("{name}/adjoint/{size}"), || operator.adjoint(&v))?;
    }
    let radon = Radon::new(ParallelBeam::lodopab());
    let fbp = Fbp::new(radon.beam().clone(), Filter::Hann, Fbp::LODOPAB_SCALING)?;
    let (x, y) = (fixtures::noise(radon.domain()), fixtures::noise(radon.range()));
    timed::time(&mut group, "radon/apply/362x362", || radon.apply(&x))?;
    timed::time(&mut group, "radon/adjoint/362x362", || radon.adjoint(&y))?;
    timed::time(&mut group, "fbp/362x362", || fbp.apply(&y))?;
    let y = fixtures::noise(sic.range());
    for (name, border) in [("clamp", Boundary::Valid), ("periodic", Boundary::Periodic)] {
        let id = format!("interpolate/{name}/150x150_to_600x600");
        timed::time(&mut group, &id, || interpolate(&y, sic.grid(), slice, border))?;
    }
    group.finish();
    Ok(())
}
