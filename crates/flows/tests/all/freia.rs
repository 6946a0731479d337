//! patchNR flows written by FrEIA give FrEIA's own negative log-likelihood and gradient.
#![allow(clippy::unwrap_used)] // in helpers, too

use smalti_flows::{Bijection, ClampForm, PatchNr, SoftClamp};
use std::path::{Path, PathBuf};
use tch::{Device, Kind, Tensor};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn arrays(form: &str) -> impl Fn(&str) -> Tensor {
    let all = Tensor::read_safetensors(golden("freia.safetensors")).unwrap();
    let prefix = form.to_owned();
    move |name| {
        let wanted = format!("{prefix}.{name}");
        all.iter().find(|(n, _)| *n == wanted).unwrap().1.shallow_clone()
    }
}

/// Largest difference relative to the largest reference value.
fn error(ours: &Tensor, theirs: &Tensor) -> f64 {
    let theirs = theirs.to_kind(Kind::Double);
    let difference = (ours.to_kind(Kind::Double) - &theirs).abs().max().double_value(&[]);
    difference / theirs.abs().max().double_value(&[])
}

fn compare(form: ClampForm, name: &str) {
    let clamp = SoftClamp::new(form, 1.6).unwrap();
    let path = golden(&format!("freia_{name}.pth"));
    let mut flow = PatchNr::import_freia(&path, clamp).unwrap();
    let golden = arrays(name);
    let patches = golden("patches");
    assert_eq!((flow.shape().patch_size, flow.shape().blocks, flow.shape().hidden), (6, 5, 16));
    for (kind, tolerance) in [(Kind::Float, 1e-5), (Kind::Double, 1e-12)] {
        flow.to(Device::Cpu, kind).unwrap();
        let (nll, grad) = flow.nll_and_grad(&patches.to_kind(kind)).unwrap();
        assert!(error(&nll, &golden("nll")) < tolerance, "{kind:?} nll: {}", error(&nll, &golden("nll")));
        assert!(
            error(&grad, &golden("grad")) < tolerance,
            "{kind:?} grad: {}",
            error(&grad, &golden("grad"))
        );
        assert!(error(&flow.nll(&patches.to_kind(kind)).unwrap(), &golden("nll")) < tolerance);
        let latent = flow.to_latent(&patches.to_kind(kind), None).unwrap().value;
        assert!(error(&latent, &golden("latent")) < tolerance);
    }
    // The other form of the clamp is another flow: the test above could fail.
    let other = match form {
        ClampForm::AlphaAtan => ClampForm::AtanOverAlpha,
        ClampForm::AtanOverAlpha => ClampForm::AlphaAtan,
    };
    let wrong = PatchNr::import_freia(&path, SoftClamp::new(other, 1.6).unwrap()).unwrap();
    assert!(error(&wrong.nll(&patches).unwrap(), &golden("nll")) > 1e-3);
}

#[test]
fn clamp_of_freia_02_from_pypi() {
    compare(ClampForm::AlphaAtan, "alpha_atan");
}

#[test]
fn clamp_of_the_other_build() {
    compare(ClampForm::AtanOverAlpha, "atan_over");
}

#[test]
fn what_is_no_state_dict_is_refused_in_one_line() {
    let clamp = SoftClamp::new(ClampForm::AlphaAtan, 1.6).unwrap();
    for path in [golden("freia.py"), golden("absent.pth"), golden("freia.safetensors")] {
        let message = PatchNr::import_freia(&path, clamp).err().unwrap().to_string();
        assert!(!message.contains('\n') && message.contains("golden"), "{message}");
    }
}
