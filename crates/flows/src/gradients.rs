//! Gradients of the parameters, from the parts of a batch that different threads took.

use smalti_base::parallel::{Shared, map};
use smalti_base::{Error, Result, slices::Buffer};
use smalti_kernels::mlp::{Outer, sum_of_products};
use tch::{Kind, Tensor};

/// The gradient of a loss in every parameter of a layer or flow, in the order of [`crate::Layer::parameters`].
#[derive(Debug, Default)]
pub struct Gradients(pub(crate) Vec<Gradient>);

/// The gradient in one parameter.
#[derive(Debug)]
pub(crate) enum Gradient {
    Ready(Shared<Tensor>),
    /// The product of two matrices, `[out, N] [N, in]`, still to be computed: over all parts of a batch at once.
    Product(Outer, [i64; 2]),
}

impl Gradients {
    /// Appends the gradient in the next parameter.
    pub fn push(&mut self, gradient: Tensor) {
        self.0.push(Gradient::Ready(Shared::new(gradient)));
    }

    pub(crate) fn push_product(&mut self, factors: Outer, shape: [i64; 2]) {
        self.0.push(Gradient::Product(factors, shape));
    }

    /// Appends those of the next parameters.
    pub fn append(&mut self, mut more: Self) {
        self.0.append(&mut more.0);
    }

    /// How many parameters there are gradients of.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The sum of the gradients of several parts, one tensor for every parameter.
    ///
    /// # Errors
    /// [`Error::Shape`] where the parts belong to different parameters.
    pub fn sum(parts: &[Self]) -> Result<Vec<Tensor>> {
        let n = parts.first().map_or(0, Self::len);
        if let Some(other) = parts.iter().find(|p| p.len() != n) {
            return Err(Error::shape("gradients of a part of the batch", n, other.len()));
        }
        map(n, |k| {
            let (mut ready, mut factors, mut shape) = (Vec::new(), Vec::new(), None);
            for part in parts {
                match &part.0[k] {
                    Gradient::Ready(t) => ready.push(&**t),
                    Gradient::Product(outer, of) => {
                        factors.push(outer);
                        shape = Some(*of);
                    }
                }
            }
            let Some(shape) = shape else { return Self::plain_sum(&ready) };
            let mut total = Buffer::zeros(&shape)?;
            sum_of_products(&factors, &mut total);
            let mut total = total.into_tensor();
            for t in ready {
                total = total.f_add(t)?;
            }
            Ok(total)
        })
    }

    fn plain_sum(parts: &[&Tensor]) -> Result<Tensor> {
        let Some((first, rest)) = parts.split_first() else {
            return Err(Error::shape("gradients", "at least one part", 0));
        };
        // Parts may be in bfloat16.
        let kind = if first.kind() == Kind::BFloat16 { Kind::Float } else { first.kind() };
        let mut total = first.f_to_kind(kind)?;
        for t in rest {
            total = total.f_add(&t.f_to_kind(kind)?)?;
        }
        Ok(total)
    }
}
