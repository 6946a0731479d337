//! How much memory and time a WPPFlow in the authors' architecture takes.
//!
//! `cargo run --release -p smalti-flows --example wppflow_memory -- [x4|x8] [sample|train|plain] [SIDE] [BATCH]`
//!
//! `sample` draws BATCH samples of SIDE x SIDE pixels, `train` computes the gradient of a batch by recomputation, `plain` the
//! same with autograd through the whole graph. Peak memory is that of the process (Linux), libtorch itself included.

use smalti_base::{Error, Result, Seed};
use smalti_flows::{Bijection, WppFlow, WppFlowShape};
use std::time::Instant;
use tch::{Kind, Tensor};

/// A line of /proc/self/status in MiB.
fn memory(key: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with(key));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<f64>().ok());
    kib.unwrap_or(f64::NAN) / 1024.0
}

fn main() -> Result<()> {
    smalti_base::device::prepare_process(None);
    let given: Vec<String> = std::env::args().skip(1).collect();
    let word = |k: usize, default: &str| given.get(k).cloned().unwrap_or(default.to_owned());
    let number = |k: usize, default: &str| {
        let text = word(k, default);
        text.parse::<i64>().map_err(|_| Error::value("argument", "a whole number", text))
    };
    let shape = match word(0, "x4").as_str() {
        "x4" => WppFlowShape::altekrueger_2023_x4(),
        "x8" => WppFlowShape::altekrueger_2023_x8(),
        other => return Err(Error::value("flow", "x4 or x8", other)),
    };
    let (mode, side, batch) = (word(1, "sample"), number(2, "96")?, number(3, "1")?);
    let flow = WppFlow::new(shape, Seed::new(1))?;
    let y = Seed::new(2).at("y", 0).uniform(&[batch, 1, side / shape.factor, side / shape.factor]);
    let z = Seed::new(2).at("z", 0).normal(&[batch, 1, side, side]);
    println!("{} parameters, {:.0} MiB at the start", flow.flat_parameters().numel(), memory("VmRSS"));
    let start = Instant::now();
    match mode.as_str() {
        "sample" => drop(flow.sample(&y.f_narrow(0, 0, 1)?, batch, &mut Seed::new(3).at("samples", 0))?),
        "train" => {
            let passed = flow.pass(&z, &y)?;
            let grad = passed.mapped.value.copy();
            drop(flow.pull_back(&passed, &grad, -1.0)?);
        }
        "plain" => {
            let mapped = flow.to_data(&z, Some(&y))?;
            let loss = mapped.value.square().f_sum(Kind::Float)? * 0.5 - mapped.log_det.f_sum(Kind::Float)?;
            let parameters = flow.parameters();
            let all: Vec<&Tensor> = parameters.iter().map(|(_, t)| *t).collect();
            drop(Tensor::f_run_backward(&[loss], &all, false, false)?);
        }
        other => return Err(Error::value("what to do", "sample, train or plain", other)),
    }
    let seconds = start.elapsed().as_secs_f64();
    println!("{mode} {batch} x {side} x {side}: {seconds:.2} s, {:.0} MiB at the highest", memory("VmHWM"));
    Ok(())
}
