//! Products in bfloat16 and nets made of them, against float64, on every engine that this processor has.

use smalti_kernels::bf16::{
    BLOCK, Bf16Panels, Bf16Rows, Engine, OperandPrecision, product, round, sum, widen,
};
use smalti_kernels::mlp::{Bf16Mlp, Matrix, sum_of_products};

/// Numbers in [-1, 1) that look random.
fn numbers(n: usize, seed: u32) -> Vec<f32> {
    let mut state = seed;
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1_u32 << 23) as f32 - 1.0
    };
    (0..n).map(next).collect()
}

fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&x| f64::from(x)).collect()
}

fn transposed(x: &[f64], rows: usize, columns: usize) -> Vec<f64> {
    (0..rows * columns).map(|i| x[i % rows * columns + i / rows]).collect()
}

/// `A B`, `A: [m, k]`, `B: [k, n]`.
fn exact(a: &[f64], b: &[f64], [m, k, n]: [usize; 3]) -> Vec<f64> {
    let mut c = vec![0.0; m * n];
    for i in 0..m {
        for l in 0..k {
            for j in 0..n {
                c[i * n + j] += a[i * k + l] * b[l * n + j];
            }
        }
    }
    c
}

fn engines() -> impl Iterator<Item = Engine> {
    [Engine::Amx, Engine::Avx512, Engine::Portable].into_iter().filter(|e| e.available())
}

/// `|a - b| / |b|`.
fn distance(a: &[f32], b: &[f64]) -> f64 {
    let gap: f64 = a.iter().zip(b).map(|(a, b)| (f64::from(*a) - b).powi(2)).sum();
    (gap / b.iter().map(|b| b * b).sum::<f64>()).sqrt()
}

/// The product as a row-major matrix.
fn collected(
    [m, n]: [usize; 2],
    run: impl FnOnce(&mut dyn FnMut(usize, usize, &[f32; BLOCK * BLOCK])),
) -> Vec<f32> {
    let mut out = vec![f32::NAN; m * n];
    run(&mut |row, column, block| {
        for r in row..m.min(row + BLOCK) {
            for c in column..n.min(column + BLOCK) {
                out[r * n + c] = block[(r - row) * BLOCK + c - column];
            }
        }
    });
    out
}

#[test]
fn rounding_is_to_the_nearest_even() {
    for (x, bits) in [
        (1.0, 0x3f80),
        (1.0 + 2.0_f32.powi(-8), 0x3f80),
        (1.0 + 3.0 * 2.0_f32.powi(-8), 0x3f82),
        (1.0 + 1.01 * 2.0_f32.powi(-8), 0x3f81),
        (-0.0, 0x8000),
        (f32::MAX, 0x7f80),
        (f32::INFINITY, 0x7f80),
    ] {
        assert_eq!(round(x), bits, "{x}");
    }
    assert!(widen(round(f32::NAN)).is_nan() && widen(round(f32::from_bits(0x7fff_ffff))).is_nan());
}

#[test]
fn products_equal_float64_to_the_precision_of_their_operands() {
    use OperandPrecision::{Double, Single};
    for ([m, k, n], a_in, b_in, tolerance) in [
        ([70, 50, 40], Double, Double, 3e-5),
        ([33, 512, 36], Single, Double, 3e-3),
        ([1, 1, 1], Double, Double, 3e-5),
        ([64, 96, 130], Single, Single, 4e-3),
        ([100, 18, 64], Double, Single, 3e-3),
    ] {
        let (a, b) = (numbers(m * k, 1), numbers(n * k, 2));
        let columns: Vec<f64> = transposed(&wide(&b), n, k);
        let truth = exact(&wide(&a), &columns, [m, k, n]);
        let (a, b) = (Bf16Rows::new(&a, m, k, k, a_in), Bf16Rows::new(&b, n, k, k, b_in));
        // Two ways to the same panels.
        for b in [b.transposed_panels(), b.transpose().panels()] {
            for engine in engines() {
                let got = collected([m, n], |take| product(engine, &a, &b, take));
                let error = distance(&got, &truth);
                assert!(error < tolerance, "{engine:?} {m} x {k} x {n}: {error}");
            }
        }
    }
}

#[test]
fn engines_agree_far_below_the_rounding_of_operands() {
    let [m, k, n] = [40, 300, 50];
    let a = Bf16Rows::new(&numbers(m * k, 3), m, k, k, OperandPrecision::Single);
    let b: Bf16Panels =
        Bf16Rows::new(&numbers(n * k, 4), n, k, k, OperandPrecision::Single).transposed_panels();
    let reference = wide(&collected([m, n], |take| product(Engine::Portable, &a, &b, take)));
    for engine in engines() {
        let got = collected([m, n], |take| product(engine, &a, &b, take));
        assert!(distance(&got, &reference) < 1e-6, "{engine:?}: {}", distance(&got, &reference));
    }
}

#[test]
fn sums_of_products_add_up() {
    let [m, n] = [20, 70];
    let parts: Vec<(Bf16Rows, Bf16Panels)> = [40, 7]
        .map(|k| {
            let a = Bf16Rows::new(&numbers(m * k, 5), m, k, k, OperandPrecision::Double);
            (a, Bf16Rows::new(&numbers(n * k, 6), n, k, k, OperandPrecision::Single).transposed_panels())
        })
        .into();
    for engine in engines() {
        let each = parts.iter().map(|(a, b)| collected([m, n], |take| product(engine, a, b, take)));
        let each: Vec<Vec<f32>> = each.collect();
        let by_hand: Vec<f64> = each[0].iter().zip(&each[1]).map(|(a, b)| f64::from(a + b)).collect();
        let pairs: Vec<(&Bf16Rows, &Bf16Panels)> = parts.iter().map(|(a, b)| (a, b)).collect();
        assert!(
            distance(&collected([m, n], |take| sum(engine, &pairs, take)), &by_hand) < 1e-6,
            "{engine:?}"
        );
    }
}

#[test]
fn strides_are_honoured_and_nothing_old_shines_through() {
    // Memory is used again: what a larger matrix full of NaN leaves behind must not be seen.
    for _ in 0..3 {
        drop(Bf16Rows::new(&[f32::NAN; 64 * 64], 64, 64, 64, OperandPrecision::Double));
        let (a, b) = (numbers(50 * 11, 7), numbers(45 * 11, 8));
        let a = Bf16Rows::new(&a[2..], 49, 9, 11, OperandPrecision::Double);
        let b = Bf16Rows::new(&b, 45, 9, 11, OperandPrecision::Double).transposed_panels();
        let (x, y) = (numbers(50 * 11, 7), numbers(45 * 11, 8));
        let got = collected([49, 45], |take| product(Engine::best(), &a, &b, take));
        let by_hand = |r: usize, c: usize| -> f64 {
            (0..9).map(|l| f64::from(x[2 + 11 * r + l]) * f64::from(y[11 * c + l])).sum()
        };
        let truth: Vec<f64> = (0..49 * 45).map(|i| by_hand(i / 45, i % 45)).collect();
        assert!(distance(&got, &truth) < 3e-5, "{}", distance(&got, &truth));
    }
}

/// Value, gradient in the input and gradients of the parameters of a net, in float64.
struct Truth {
    out: Vec<f64>,
    grad_x: Vec<f64>,
    weights: Vec<Vec<f64>>,
    biases: Vec<Vec<f64>>,
}

fn truth(
    widths: &[usize],
    parameters: &[(Vec<f32>, Vec<f32>)],
    x: &[f32],
    grad: &[f32],
    rows: usize,
) -> Truth {
    let mut inputs = vec![wide(x)];
    for (k, (w, b)) in parameters.iter().enumerate() {
        let (from, to) = (widths[k], widths[k + 1]);
        let mut h = exact(&inputs[k], &transposed(&wide(w), to, from), [rows, from, to]);
        for (i, v) in h.iter_mut().enumerate() {
            *v += f64::from(b[i % to]);
            if k + 1 < parameters.len() {
                *v = v.max(0.0);
            }
        }
        inputs.push(h);
    }
    let mut g = wide(grad);
    let (mut weights, mut biases) = (Vec::new(), Vec::new());
    for (k, (w, _)) in parameters.iter().enumerate().rev() {
        let (from, to) = (widths[k], widths[k + 1]);
        weights.push(exact(&transposed(&g, rows, to), &inputs[k], [to, rows, from]));
        biases.push((0..to).map(|c| (0..rows).map(|r| g[r * to + c]).sum()).collect());
        let mut next = exact(&g, &wide(w), [rows, to, from]);
        if k > 0 {
            for (n, h) in next.iter_mut().zip(&inputs[k]) {
                *n *= f64::from(u8::from(*h > 0.0));
            }
        }
        g = next;
    }
    weights.reverse();
    biases.reverse();
    Truth { out: inputs.pop().unwrap_or_default(), grad_x: g, weights, biases }
}

#[test]
fn nets_and_their_gradients_equal_float64() {
    // With no or one hidden layer everything is held in two numbers; more round what passes between them.
    for (widths, rows, tolerance) in [
        (vec![7, 5], 50, 1e-4),
        (vec![18, 64, 36], 130, 0.04),
        (vec![18, 96, 64, 36], 77, 0.08),
        (vec![3, 20, 33, 40, 2], 1, 0.15),
    ] {
        let parameters: Vec<(Vec<f32>, Vec<f32>)> = widths
            .windows(2)
            .zip(1..)
            .map(|(w, seed)| {
                let scale = 1.7 / (w[0] as f32).sqrt();
                let weight = numbers(w[0] * w[1], seed).iter().map(|v| v * scale).collect();
                (weight, numbers(w[1], seed + 40))
            })
            .collect();
        let (from, to) = (widths[0], widths[widths.len() - 1]);
        let (x, grad) = (numbers(rows * from, 50), numbers(rows * to, 51));
        let truth = truth(&widths, &parameters, &x, &grad, rows);
        for engine in engines() {
            let mut net = Bf16Mlp::with_engine(&widths, engine);
            for (k, (weight, bias)) in parameters.iter().enumerate() {
                net.set(k, weight, bias);
            }
            let (mut out, mut grad_x) = (vec![0.0; rows * to], vec![0.0; rows * from]);
            let pass = net.forward(Matrix { values: &x, stride: from }, rows, &mut out);
            let gradients =
                net.pull_back(pass, Matrix { values: &grad, stride: to }, rows, &mut grad_x, true);
            let check = |what: &str, ours: &[f32], theirs: &[f64]| {
                let error = distance(ours, theirs);
                assert!(error < tolerance, "{engine:?} {widths:?} {what}: {error}");
            };
            check("value", &out, &truth.out);
            check("gradient in x", &grad_x, &truth.grad_x);
            for (k, of_layer) in gradients.iter().enumerate() {
                let mut weight = vec![0.0; widths[k] * widths[k + 1]];
                sum_of_products(&[&of_layer.weight], &mut weight);
                check("weights", &weight, &truth.weights[k]);
                check("biases", &of_layer.bias, &truth.biases[k]);
            }
            assert_eq!(gradients.len(), parameters.len());
        }
    }
}

#[test]
fn infinities_and_nan_are_not_hidden() {
    let mut net = Bf16Mlp::new(&[2, 32, 32, 1]);
    net.set(0, &[1.0; 64], &[0.0; 32]);
    net.set(1, &[0.1; 1024], &[0.0; 32]);
    net.set(2, &[0.1; 32], &[0.0]);
    for bad in [f32::NAN, f32::INFINITY] {
        let mut out = [0.0; 2];
        let _pass = net.forward(Matrix { values: &[0.5, 0.5, bad, 0.5], stride: 2 }, 2, &mut out);
        assert!(out[0].is_finite() && !out[1].is_finite(), "{out:?}");
    }
}
