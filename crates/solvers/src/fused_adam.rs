//! The bridge from tensors to the fused Adam of `smalti-kernels`.

use smalti_kernels::adam::{GradientTerm, Update, adam};
use tch::{Device, Kind, Tensor};

/// Updates parameter, first and second moment (`moving`, of equal length) in one pass over memory; `false`, with
/// nothing done, where they are not contiguous float32 tensors in main memory, or a gradient is neither float32 nor
/// bfloat16.
///
/// # Safety
/// Meanwhile nobody else reads or writes `moving`, whose three parts share no memory with each other or with a gradient, and
/// nobody writes gradients.
#[allow(unsafe_code)]
pub(crate) unsafe fn step(moving: &[Tensor; 3], gradients: &[Tensor], update: Update) -> bool {
    let stored = |t: &Tensor| t.numel() == 0 || !t.data_ptr().is_null();
    let plain = |t: &Tensor| {
        t.device() == Device::Cpu && t.is_contiguous() && t.numel() == moving[0].numel() && stored(t)
    };
    let readable = |t: &Tensor| matches!(t.kind(), Kind::Float | Kind::BFloat16) && plain(t);
    if !moving.iter().all(|t| t.kind() == Kind::Float && plain(t)) || !gradients.iter().all(readable) {
        return false;
    }
    // SAFETY: dtypes, device and layout are checked; the rest is promised by the caller.
    unsafe {
        let parts: Vec<GradientTerm<'_>> = gradients.iter().map(|t| values(t)).collect();
        let [p, m, v] = moving.each_ref().map(|t| floats(t));
        adam(p, m, v, &parts, update);
    }
    true
}

/// The values of a contiguous float32 tensor in main memory, to be changed.
///
/// # Safety
/// It is one; as long as the slice is in use, nobody else reads or writes its memory.
#[allow(unsafe_code, clippy::mut_from_ref)]
unsafe fn floats(t: &Tensor) -> &mut [f32] {
    if t.numel() == 0 {
        return &mut [];
    }
    // SAFETY: promised by the caller; the tensor keeps its memory alive for the slice's lifetime.
    unsafe { std::slice::from_raw_parts_mut(t.data_ptr().cast(), t.numel()) }
}

/// The values of a contiguous float32 or bfloat16 tensor in main memory.
///
/// # Safety
/// It is one; as long as the slice is in use, nobody writes its memory.
#[allow(unsafe_code)]
unsafe fn values(t: &Tensor) -> GradientTerm<'_> {
    if t.numel() == 0 {
        return GradientTerm::F32(&[]);
    }
    // SAFETY: promised by the caller; bfloat16 values are 16 bits each.
    unsafe {
        match t.kind() {
            Kind::Float => GradientTerm::F32(std::slice::from_raw_parts(t.data_ptr().cast(), t.numel())),
            _ => GradientTerm::Bf16(std::slice::from_raw_parts(t.data_ptr().cast(), t.numel())),
        }
    }
}
