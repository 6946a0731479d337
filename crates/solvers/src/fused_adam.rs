//! The bridge from tensors to the fused Adam of `smalti-kernels`.

use smalti_kernels::adam::{Gradient, Update, adam};
use tch::{Device, Kind, Tensor};

/// Updates parameter, first and second moment (`moving`, of equal length) in one pass over memory; `false`, with
/// nothing done, where they are not contiguous float32 tensors in main memory, or a gradient is neither float32 nor
/// bfloat16.
///
/// No other thread may read or write `moving` meanwhile, and its three parts must not overlap.
pub(crate) fn step(moving: &[Tensor; 3], gradients: &[Tensor], update: Update) -> bool {
    let plain = |t: &Tensor| t.device() == Device::Cpu && t.is_contiguous() && t.numel() == moving[0].numel();
    let readable = |t: &Tensor| matches!(t.kind(), Kind::Float | Kind::BFloat16) && plain(t);
    if !moving.iter().all(|t| t.kind() == Kind::Float && plain(t)) || !gradients.iter().all(readable) {
        return false;
    }
    let parts: Vec<Gradient<'_>> = gradients.iter().map(values).collect();
    let [p, m, v] = moving.each_ref().map(floats);
    adam(p, m, v, &parts, update);
    true
}

/// The values of a contiguous float32 tensor in main memory, to be changed.
#[allow(unsafe_code, clippy::mut_from_ref)]
fn floats(t: &Tensor) -> &mut [f32] {
    // SAFETY: `step` has checked dtype, device and layout; its caller leaves the values to this thread, and the
    // three tensors that are changed do not overlap. The tensor keeps its memory alive for the slice's lifetime.
    unsafe { std::slice::from_raw_parts_mut(t.data_ptr().cast(), t.numel()) }
}

/// The values of a contiguous float32 or bfloat16 tensor in main memory.
#[allow(unsafe_code)]
fn values(t: &Tensor) -> Gradient<'_> {
    // SAFETY: as for `floats`; gradients are only read.
    unsafe {
        match t.kind() {
            Kind::Float => Gradient::F32(std::slice::from_raw_parts(t.data_ptr().cast(), t.numel())),
            _ => Gradient::Bf16(std::slice::from_raw_parts(t.data_ptr().cast(), t.numel())),
        }
    }
}
