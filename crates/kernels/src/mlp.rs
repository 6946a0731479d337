//! Fully connected networks with ReLU: values and analytic gradients, in bfloat16 with float32 sums.

use crate::adam::{GradientTerm, Update, adam};
use crate::bf16::{BLOCK, Bf16Panels, Bf16Rows, Engine, OperandPrecision, product, sum, sum_rows};
use crate::prefetch::prefetch;

/// `W_K relu(... relu(W_1 x + b_1) ...) + b_K` for `x` in rows.
///
/// What one hidden layer hands to the next is rounded to bfloat16 (relative error 2^-9), and so is the weight between
/// two hidden layers. Inputs, outputs, and the weights of the first and the last layer are held as sums of two
/// bfloat16 numbers (2^-17): these layers are small, and errors in them would reach the result directly.
#[derive(Debug, Clone)]
pub struct Bf16Mlp {
    layers: Vec<Layer>,
    engine: Engine,
}

#[derive(Debug, Clone)]
struct Layer {
    inputs: usize,
    precision: OperandPrecision,
    /// `W^T`, what inputs are multiplied by.
    forth: Bf16Panels,
    /// `W`, what gradients are multiplied by.
    back: Bf16Panels,
    bias: Vec<f32>,
}

/// The inputs of all layers in one pass, which the way back needs.
#[derive(Debug)]
pub struct Pass(Vec<Bf16Rows>);

/// The gradients of one layer: `dL/dW: [out, in]` as the factors of a product, and `dL/db: [out]`.
#[derive(Debug)]
pub struct LayerGradients {
    /// For [`sum_of_products`].
    pub weight: Outer,
    /// Ready for use.
    pub bias: Vec<f32>,
}

/// The factors of `G^T X: [out, in]`, `G: [rows, out]` gradients and `X: [rows, in]` inputs: a sum of outer products.
#[derive(Debug)]
pub struct Outer {
    gradients: Bf16Rows,
    inputs: Bf16Panels,
    engine: Engine,
}

/// The sum of `G^T X` over several parts of a batch, written to `out: [out, in]` row by row; all rows of all parts
/// are added up in registers.
pub fn sum_of_products(parts: &[&Outer], out: &mut [f32]) {
    let Some(first) = parts.first() else { return };
    let shape = (first.gradients.rows(), first.inputs.columns());
    let factors: Vec<(&Bf16Rows, &Bf16Panels)> = parts.iter().map(|p| (&p.gradients, &p.inputs)).collect();
    sum(first.engine, &factors, |row, column, block| {
        copy(block, (row, column), shape, out, |_, value| value)
    });
}

/// A row-major matrix whose rows begin `stride` values apart.
#[derive(Debug, Clone, Copy)]
pub struct Matrix<'a> {
    /// The values, from the first one on.
    pub values: &'a [f32],
    /// From one row to the next.
    pub stride: usize,
}

impl Bf16Mlp {
    /// A net with layers of the given widths, `[in, hidden, ..., out]`, whose weights are zero until [`Bf16Mlp::set`].
    pub fn new(widths: &[usize]) -> Self {
        Self::with_engine(widths, Engine::best())
    }

    /// The same on an engine of one's choice, e.g. to compare them.
    pub fn with_engine(widths: &[usize], engine: Engine) -> Self {
        let last = widths.len().saturating_sub(2);
        let layer = |(k, w): (usize, &[usize])| {
            let precision =
                if k == 0 || k == last { OperandPrecision::Double } else { OperandPrecision::Single };
            Layer::new(w[0], w[1], precision)
        };
        Self { layers: widths.windows(2).enumerate().map(layer).collect(), engine }
    }

    /// Replaces weight `[out, in]` and bias `[out]` of layer `k`.
    pub fn set(&mut self, k: usize, weight: &[f32], bias: &[f32]) {
        let layer = &mut self.layers[k];
        layer.bias.copy_from_slice(bias);
        layer.pack(&Bf16Rows::new(weight, bias.len(), layer.inputs, layer.inputs, layer.precision));
    }

    /// One step of Adam (see [`adam()`]) on weight `[out, in]` of layer `k`, with moments of the same shape, for the
    /// gradient that [`sum_of_products`] gives: gradient, step and rounding of 32 rows of the weight after another,
    /// so that nothing but the weight and its moments passes through memory.
    pub fn descend(
        &mut self,
        k: usize,
        gradient: &[&Outer],
        weight: &mut [f32],
        moments: [&mut [f32]; 2],
        update: Update,
    ) {
        let (engine, layer) = (self.engine, &mut self.layers[k]);
        let (inputs, size) = (layer.inputs, BLOCK * layer.inputs);
        let factors: Vec<(&Bf16Rows, &Bf16Panels)> =
            gradient.iter().map(|p| (&p.gradients, &p.inputs)).collect();
        let mut of_stripe = vec![0.0; size];
        let [first, second] = moments;
        for row in (0..layer.bias.len()).step_by(BLOCK) {
            let (from, to) = (row * inputs, weight.len().min((row + BLOCK) * inputs));
            let rows = (to - from) / inputs;
            let of_stripe = &mut of_stripe[..to - from];
            sum_rows(engine, &factors, row..row + BLOCK, |_, column, block| {
                // Memory works on the next stripe while the matrix unit works on this one.
                for values in [&*weight, &*first, &*second] {
                    prefetch(values.get(to + column * BLOCK..).unwrap_or_default(), BLOCK * BLOCK);
                }
                copy(block, (0, column), (rows, inputs), of_stripe, |_, value| value);
            });
            let stripe = &mut weight[from..to];
            let gradient = [GradientTerm::F32(of_stripe)];
            adam(stripe, &mut first[from..to], &mut second[from..to], &gradient, update);
            let packed = Bf16Rows::new(stripe, rows, inputs, inputs, layer.precision);
            layer.forth.replace_columns(row, &packed.transposed_panels());
            layer.back.replace_rows(row, &packed.panels());
        }
    }

    /// Replaces the bias of layer `k`.
    pub fn set_bias(&mut self, k: usize, bias: &[f32]) {
        self.layers[k].bias.copy_from_slice(bias);
    }

    /// The net's value for every row of `x`: `[rows, in] -> [rows, out]`, written to `out` row by row.
    pub fn forward(&self, x: Matrix<'_>, rows: usize, out: &mut [f32]) -> Pass {
        let mut inputs = Vec::with_capacity(self.layers.len());
        let Some(first) = self.layers.first() else { return Pass(inputs) };
        let mut h = Bf16Rows::new(x.values, rows, first.inputs, x.stride, OperandPrecision::Double);
        for (k, layer) in self.layers.iter().enumerate() {
            let width = layer.bias.len();
            if k + 1 < self.layers.len() {
                let mut next = Bf16Rows::stale((rows, width), 1);
                product(self.engine, &h, &layer.forth, |row, column, block| {
                    let mut bias = [0.0; BLOCK];
                    let there = &layer.bias[column..width.min(column + BLOCK)];
                    bias[..there.len()].copy_from_slice(there);
                    next.put_relu(row, column, block, &bias);
                });
                inputs.push(std::mem::replace(&mut h, next));
            } else {
                product(self.engine, &h, &layer.forth, |row, column, block| {
                    copy(block, (row, column), (rows, width), out, |c, value| value + layer.bias[c]);
                });
                inputs.push(std::mem::take(&mut h));
            }
        }
        Pass(inputs)
    }

    /// `dL/dx: [rows, in]`, written to `grad_x` row by row, from `grad = dL/d out: [rows, out]`; and the gradients of
    /// the parameters, layer by layer, where `weights` asks for them.
    pub fn pull_back(
        &self,
        pass: Pass,
        grad: Matrix<'_>,
        rows: usize,
        grad_x: &mut [f32],
        weights: bool,
    ) -> Vec<LayerGradients> {
        let mut gradients = Vec::new();
        let Some(last) = self.layers.last() else { return gradients };
        let mut g = Bf16Rows::new(grad.values, rows, last.bias.len(), grad.stride, OperandPrecision::Double);
        for (k, (layer, input)) in self.layers.iter().zip(pass.0).enumerate().rev() {
            let inputs = layer.inputs;
            if weights {
                let weight = Outer { gradients: g.transpose(), inputs: input.panels(), engine: self.engine };
                gradients.push(LayerGradients { weight, bias: g.column_sums() });
            }
            if k == 0 {
                product(self.engine, &g, &layer.back, |row, column, block| {
                    copy(block, (row, column), (rows, inputs), grad_x, |_, value| value);
                });
            } else {
                let mut next = Bf16Rows::stale((rows, inputs), 1);
                product(self.engine, &g, &layer.back, |row, column, block| {
                    next.put_where(row, column, block, &input);
                });
                g = next;
            }
        }
        gradients.reverse();
        gradients
    }
}

impl Layer {
    fn new(inputs: usize, outputs: usize, precision: OperandPrecision) -> Self {
        let zero = Bf16Rows::zeros(outputs, inputs, precision);
        let (forth, back) = (zero.transposed_panels(), zero.panels());
        Self { inputs, precision, forth, back, bias: vec![0.0; outputs] }
    }

    fn pack(&mut self, weight: &Bf16Rows) {
        self.forth = weight.transposed_panels();
        self.back = weight.panels();
    }
}

/// Writes what lies inside of `shape` to a row-major matrix of that shape.
fn copy(
    block: &[f32; BLOCK * BLOCK],
    (row, column): (usize, usize),
    (rows, columns): (usize, usize),
    to: &mut [f32],
    f: impl Fn(usize, f32) -> f32,
) {
    let end = columns.min(column + BLOCK);
    for (line, r) in block.chunks_exact(BLOCK).zip(row..rows) {
        for ((o, v), c) in to[r * columns + column..r * columns + end].iter_mut().zip(line).zip(column..) {
            *o = f(c, *v);
        }
    }
}
