//! What a run is going to do, and about how long it takes here.

use crate::data::DataSource;
use crate::experiment::{LearnsFrom, Profile};
use smalti_base::Result;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};
use tch::{Device, Kind, Tensor};

/// The time of a float32 product of `1024 x 512` by `512 x 512` on `device` with the threads of the process: the median of nine, a
/// fraction of a second in all. It is the unit of `work` in experiment files.
///
/// # Errors
/// Those of libtorch.
pub fn product_time(device: Device) -> Result<Duration> {
    let _no_grad = tch::no_grad_guard();
    let a = Tensor::f_ones([1024, 512], (Kind::Float, device))?;
    let b = Tensor::f_ones([512, 512], (Kind::Float, device))?;
    // The first one loads what the others find; a value read at the end waits for a GPU.
    let mut times = Vec::new();
    for _ in 0..10 {
        let start = Instant::now();
        let _ = a.f_mm(&b)?.f_double_value(&[0, 0])?;
        times.push(start.elapsed());
    }
    let mut times = times.split_off(1);
    times.sort_unstable();
    Ok(times[times.len() / 2])
}

/// What a run of `profile` does: which rows on how many images, and about how long that takes where a product takes `product`
/// ([`product_time`]). An image that stands in several sets counts once for a row. Rows that learn and whose `work` is not
/// known are named; that of others is taken for none.
///
/// # Errors
/// [`smalti_base::Error::Content`] where images are missing.
pub fn sentence(profile: &Profile, data: &DataSource, product: Duration) -> Result<String> {
    let mut images: BTreeMap<&str, BTreeSet<(usize, String)>> = BTreeMap::new();
    for set in &profile.sets {
        for name in data.names(&set.images, set.take)? {
            for method in &set.methods {
                images.entry(method).or_default().insert((set.scene, name.clone()));
            }
        }
    }
    let (mut parts, mut unknown, mut all) = (Vec::new(), Vec::new(), Duration::ZERO);
    for row in profile.used(None) {
        let on = images.get(row.key.as_str()).map_or(0, BTreeSet::len);
        let over = if on == 1 { "1 image".to_owned() } else { format!("{on} images") };
        if row.left_out.is_some() {
            continue;
        }
        let Some([learning, each]) = row.work else {
            if row.method.learns != smalti_methods::Learns::Nothing {
                unknown.push(row.title.as_str());
            }
            parts.push(format!("{} ({over})", row.title));
            continue;
        };
        let once = if row.learns_from == LearnsFrom::Observation { on } else { usize::from(on > 0) };
        let time = product.mul_f64(learning * once as f64 + each * on as f64);
        all += time;
        parts.push(format!("{} ({over}, {})", row.title, about(time)));
    }
    let unit = product.as_secs_f64() * 1e3;
    if all.is_zero() {
        return Ok(format!("{}.", parts.join(", ")));
    }
    let unknown = match &unknown[..] {
        [] => String::new(),
        rows => format!(" and what {} take", rows.join(", ")),
    };
    Ok(format!(
        "{}. In all about {}{unknown} here (a product takes {unit:.1} ms).",
        parts.join(", "),
        about(all)
    ))
}

/// A time to one or two digits.
pub fn about(time: Duration) -> String {
    match time.as_secs_f64() {
        s if s < 1.0 => "under 1 s".to_owned(),
        s if s < 90.0 => format!("{s:.0} s"),
        s if s < 5400.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
}
