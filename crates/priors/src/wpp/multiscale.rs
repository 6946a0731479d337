//! What all priors on distributions of patches share: scales, patches, their references and weights.

use super::{
    patches::{Patches, behind, detached, ready},
    pyramid::Pyramid,
    settings::WppSettings,
    weights,
};
use smalti_base::{Error, Result, Seed, Space};
use smalti_kernels::rows::Rows;
use tch::{Kind, Tensor};

/// Where a prior looks at images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// In main memory, by kernels that read float32.
    Kernels,
    /// On the device of the image, by tensors of its dtype.
    Tensors,
}

/// The space of images of `size`, of which none may be empty.
fn space_of_images(size: &[i64]) -> Result<Space> {
    let space = Space::of_batch("size of images", size)?;
    if size.iter().any(|&n| n < 1) {
        return Err(Error::shape("size of images", "at least 1 along every axis", size));
    }
    Ok(space)
}

/// The scales of images of `space`, each with room for a patch.
fn fitting(what: &str, space: Space, patches: Patches, settings: &WppSettings) -> Result<Pyramid> {
    patches.check_fit(what, space)?;
    let pyramid = Pyramid::new(space, settings.scales, &settings.blur, settings.downscaling)?;
    for (l, &space) in pyramid.spaces().iter().enumerate() {
        patches.check_fit(&format!("{what} on scale {l}"), space)?;
    }
    Ok(pyramid)
}

/// From images of one size to the patches of all their scales, and back with gradients.
pub(crate) struct Multiscale {
    pub(crate) size: Vec<i64>,
    pub(crate) patches: Patches,
    pub(crate) scale_weights: Vec<f64>,
    pyramid: Pyramid,
}

impl Multiscale {
    /// For images of `size`. Neither the references nor the solver in `settings` are looked at.
    pub(crate) fn new(size: &[i64], settings: &WppSettings) -> Result<Self> {
        let scale_weights = settings.checked()?;
        let space = space_of_images(size)?;
        let &WppSettings { patch_size, stride, centred, .. } = settings;
        let patches = Patches { size: patch_size, stride, centred };
        let pyramid = fitting("image", space, patches, settings)?;
        Ok(Self { size: size.to_vec(), patches, scale_weights, pyramid })
    }

    /// The same, with the reference patches of every scale, the finest first.
    pub(crate) fn with_references(
        size: &[i64],
        references: &[&Tensor],
        settings: &WppSettings,
        seed: Seed,
    ) -> Result<(Self, Vec<Rows>)> {
        settings.checked()?;
        space_of_images(size)?;
        if references.is_empty() {
            return Err(Error::value("reference images", "at least one", "none"));
        }
        // All patches of the references are candidates.
        let patches = Patches { size: settings.patch_size, stride: 1, centred: settings.centred };

        let mut of_scale: Vec<Vec<Tensor>> = (0..settings.scales).map(|_| Vec::new()).collect();
        for reference in references {
            let shape = reference.size();
            if shape.len() != size.len() || shape[1] != size[1] || shape[0] < 1 {
                let expected = format!("{} axes with {} channels as images have", size.len(), size[1]);
                return Err(Error::shape("reference image", expected, shape));
            }
            let of_reference = Space::of("reference image", reference)?;
            let pyramid = fitting("reference image", of_reference, patches, settings)?;
            let images = pyramid.apply(&ready(reference)?)?;
            of_scale.iter_mut().zip(images).for_each(|(all, image)| all.push(image));
        }
        let rows = of_scale.iter().enumerate().map(|(l, images)| {
            let stream = &mut seed.at("reference patches", l as u64);
            let what = format!("reference image on scale {l}");
            patches.chosen(&what, images, settings.references, stream)
        });
        let rows = rows.collect::<Result<_>>()?;
        Ok((Self::new(size, settings)?, rows))
    }

    /// What errors call the image on a scale.
    pub(crate) fn name(scale: usize) -> String {
        format!("image on scale {scale}")
    }

    /// The offsets of the grids of patches on every scale: all that the stride has, or only the first one.
    pub(crate) fn offsets(&self, all: bool) -> Vec<Vec<Vec<i64>>> {
        let of_scale = |space: &Space| {
            let mut offsets = self.patches.offsets(*space);
            offsets.truncate(if all { offsets.len() } else { 1 });
            offsets
        };
        self.pyramid.spaces().iter().map(of_scale).collect()
    }

    /// The weights of the patches of every scale, at each of its `offsets`, for `[H, W]` or `[D, H, W]` weights of the pixels.
    pub(crate) fn patch_weights(
        &self,
        pixel_weights: &Tensor,
        offsets: &[Vec<Vec<i64>>],
    ) -> Result<Vec<Vec<Vec<f64>>>> {
        let spatial = &self.size[2..];
        if pixel_weights.size() != spatial {
            return Err(Error::shape("weights of the pixels", spatial, pixel_weights.size()));
        }
        let weights = ready(pixel_weights)?;
        let usable = weights.f_isfinite()?.f_logical_and(&weights.f_ge(0.0)?)?;
        if usable.f_all()?.f_int64_value(&[])? == 0 {
            let expected = "finite numbers >= 0";
            return Err(Error::value("weights of the pixels", expected, "others: mend the mask"));
        }
        // Weights do not differ between channels, which patches need to be read.
        let plane = self.pyramid.spaces()[0].batch(1);
        let images = self.pyramid.apply(&weights.f_expand(plane, false)?.f_contiguous()?)?;
        let patches = Patches { centred: false, ..self.patches };
        let of_scale = images.iter().zip(offsets).enumerate().map(|(l, (image, offsets))| {
            let of_grid = offsets.iter().map(|offset| {
                let rows = patches.rows(&format!("weights on scale {l}"), &behind(image, offset)?)?;
                weights::of_patches(&rows, self.size[0] as usize, l)
            });
            of_grid.collect()
        });
        of_scale.collect()
    }

    /// All scales of an image, the finest first: where they are looked at, float64 where it was, else float32.
    pub(crate) fn images(&self, x: &Tensor, place: Place) -> Result<Vec<Tensor>> {
        if x.size() != self.size {
            return Err(Error::shape("image", &self.size, x.size()));
        }
        self.pyramid.apply(&match place {
            Place::Kernels => ready(x)?,
            Place::Tensors => detached(x)?,
        })
    }

    /// The weighed sum of the values of all scales, and where asked for its gradient in the dtype and on the device of
    /// `x`. `value` and `slope` (float64) are those of a scale for its image as it was read at this place.
    pub(crate) fn sum(
        &self,
        x: &Tensor,
        (images, place): (&[Tensor], Place),
        gradient: bool,
        (value, slope): (impl Fn(usize) -> f64, impl Fn(usize, &Tensor) -> Result<Tensor>),
    ) -> Result<(f64, Option<Tensor>)> {
        let mut sum = 0.0;
        let mut gradients = Vec::new();
        for (l, (image, weight)) in images.iter().zip(&self.scale_weights).enumerate() {
            sum += weight * value(l);
            let rounded = image.kind() == Kind::Double && place == Place::Kernels;
            if gradient || rounded {
                let slope = slope(l, image)?.f_mul_scalar(*weight)?;
                if rounded {
                    // The kernels read float32: to first order, what rounding changed.
                    let rounding = image - image.to_kind(Kind::Float).to_kind(Kind::Double);
                    sum += (rounding * &slope).sum(Kind::Double).double_value(&[]);
                }
                gradients.push(slope.f_to_kind(image.kind())?);
            }
        }
        if !gradient {
            return Ok((sum, None));
        }
        let gradient = self.pyramid.adjoint(&gradients)?.f_to_kind(x.kind())?.f_to_device(x.device())?;
        Ok((sum, Some(gradient)))
    }
}
