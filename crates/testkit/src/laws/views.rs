//! Maps look at values, not at how memory holds them.

use super::measure::relative_distance;
use crate::violation::{Trial, Violation};
use smalti_base::Result as BaseResult;
use tch::{Kind, Tensor};

/// A map gives the same, bit by bit and NaN for NaN, for a contiguous tensor and for views that hold the same values in memory in
/// another way: every second column of a wider tensor, transposed ones, expanded ones whose elements share their
/// memory, and overlapping windows of a line. (Values are those of `x` where all fit into the view, and repeat themselves where not.) The
/// argument is left as it was.
///
/// `map` gives all that a call answers, as tensors.
///
/// # Errors
/// The [`Violation`].
pub fn views(
    subject: &str,
    x: &Tensor,
    map: impl Fn(&Tensor) -> BaseResult<Vec<Tensor>>,
) -> Result<(), Violation> {
    let trial = Trial { law: "values behind any strides", subject };
    for (what, view) in trial.ok(all_views(x))? {
        let contiguous = trial.ok(view.f_contiguous().map(|t| t.copy()))?;
        let expected = trial.ok(map(&contiguous))?;
        let got = trial.ok(map(&view).map_err(|e| format!("for {what}: {e}")))?;
        for (k, (got, expected)) in got.iter().zip(&expected).enumerate() {
            let detail = format!("answer {k} to {what}");
            trial.same_shape(&detail, &got.size(), &expected.size())?;
            let changed = f64::from(u8::from(got.kind() != expected.kind()));
            trial.at_most(0.0, changed, format!("{detail} is {:?}", got.kind()))?;
            if others(got, expected) > 0.0 {
                let distance = relative_distance(got, expected);
                trial.at_most(
                    0.0,
                    distance.max(f64::MIN_POSITIVE),
                    format!("{detail} differs from that to a contiguous tensor, relative distance"),
                )?;
            }
        }
        trial.at_most(0.0, others(&view, &contiguous), format!("{what} was changed, values"))?;
    }
    Ok(())
}

/// How many values differ; two NaNs do not.
fn others(a: &Tensor, b: &Tensor) -> f64 {
    let both = a.isnan().logical_and(&b.isnan());
    a.ne_tensor(b).logical_and(&both.logical_not()).sum(Kind::Double).double_value(&[])
}

/// Tensors of the shape of `x` with its values, or some of them, in other places of memory.
fn all_views(x: &Tensor) -> BaseResult<Vec<(&'static str, Tensor)>> {
    let size = x.size();
    let (last, width) = (size.len() as i64 - 1, size[size.len() - 1]);
    let mut wide = size.clone();
    wide[last as usize] = 2 * width + 1;
    // What lies between is large: whoever reads it is found out.
    let wide = Tensor::f_full(wide, 1e3, (x.kind(), x.device()))?;
    let strided = wide.f_slice(last, 1, None, 2)?;
    strided.shallow_clone().f_copy_(x)?;
    let turned = |a: i64, b: i64| x.f_transpose(a, b)?.f_contiguous()?.f_transpose(a, b);
    let same_in = |axis: i64| x.f_narrow(axis, 0, 1)?.f_expand(&size[..], false);
    // Element (i, j, ...) is value i + j + ... of a line.
    let needed = size.iter().sum::<i64>() - size.len() as i64 + 1;
    let line = x.f_flatten(0, -1)?.f_repeat([needed / x.numel() as i64 + 1])?;
    Ok(vec![
        ("every second column of a wider tensor", strided),
        ("a transposed view", turned(0, last)?),
        ("a view with its last two axes exchanged", turned(last - 1, last)?),
        ("a view expanded along the first axis", same_in(0)?),
        ("a view expanded along the last axis", same_in(last)?),
        ("overlapping windows", line.f_as_strided(&size[..], vec![1; size.len()], None)?),
    ])
}
