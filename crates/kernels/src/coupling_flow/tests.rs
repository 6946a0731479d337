//! The kernel against its formulas in float64, one patch after another.

use super::{CouplingFlow, CouplingWeights, Isa, LinearWeights};
use crate::affine::Clamp;
use crate::mlp::Matrix;

/// Uniform numbers in `[-size, size)`.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f64 / (1_u64 << 23) as f64 - 1.0
    }

    fn draw(&mut self, n: usize, size: f64) -> Vec<f32> {
        (0..n).map(|_| (size * self.next()) as f32).collect()
    }
}

/// Layers of weight and bias.
type Net = Vec<(Vec<f32>, Vec<f32>)>;

/// Weights with their shapes; `widths` are those of the hidden layers.
struct Flow {
    dim: usize,
    clamp: Clamp,
    /// Two nets for each coupling.
    weights: Vec<[Net; 2]>,
    permutations: Vec<Vec<i64>>,
}

impl Flow {
    fn new(dim: usize, couplings: usize, widths: &[usize], clamp: Clamp) -> Self {
        let mut numbers = Numbers(dim as u64 + 31 * couplings as u64);
        let (n1, n2) = (dim / 2, dim - dim / 2);
        let mut net = |inputs: usize, outputs: usize| {
            let all: Vec<usize> = [&[inputs], widths, &[outputs]].concat();
            all.windows(2)
                .map(|w| {
                    let size = 1.5 / (w[0] as f64).sqrt();
                    (numbers.draw(w[0] * w[1], size), numbers.draw(w[1], size))
                })
                .collect::<Net>()
        };
        let weights = (0..couplings).map(|_| [net(n1, 2 * n2), net(n2, 2 * n1)]).collect();
        // 5 and 7 are prime to the dimensions in use.
        let step = if dim.is_multiple_of(5) { 7 } else { 5 };
        let permutation = |k: usize| (0..dim).map(|i| ((i * step + k) % dim) as i64).collect();
        Self { dim, clamp, weights, permutations: (0..couplings).map(permutation).collect() }
    }

    fn packed(&self, isa: Isa) -> CouplingFlow {
        fn layers(net: &[(Vec<f32>, Vec<f32>)]) -> Vec<LinearWeights<'_>> {
            net.iter().map(|(weight, bias)| LinearWeights { weight, bias }).collect()
        }
        let couplings: Vec<CouplingWeights<'_>> = self
            .weights
            .iter()
            .zip(&self.permutations)
            .map(|([net1, net2], permutation)| CouplingWeights {
                subnets: [layers(net1), layers(net2)],
                clamp: self.clamp,
                permutation,
            })
            .collect();
        CouplingFlow::with_isa(self.dim, &couplings, isa).unwrap()
    }

    /// Value and gradient for one patch.
    fn by_hand(&self, patch: &[f32]) -> (f64, Vec<f64>) {
        let (mut x, mut log_scales) = (patch.iter().map(|v| f64::from(*v)).collect::<Vec<f64>>(), 0.0);
        let mut tape = Vec::new();
        for (nets, permutation) in self.weights.iter().zip(&self.permutations).rev() {
            let mut y = vec![0.0; self.dim];
            for (value, &p) in x.iter().zip(permutation) {
                y[p as usize] = *value;
            }
            let (y1, y2) = y.split_at(self.dim / 2);
            let one = self.undo(&nets[0], y1, y2);
            let two = self.undo(&nets[1], &one.x, y1);
            log_scales += one.s.iter().chain(&two.s).sum::<f64>();
            x = [&two.x[..], &one.x[..]].concat();
            tape.push((one, two));
        }
        let value = 0.5 * x.iter().map(|z| z * z).sum::<f64>() + log_scales;
        let mut g = x;
        for ((nets, permutation), (one, two)) in
            self.weights.iter().zip(&self.permutations).zip(tape.iter().rev())
        {
            let (g1, g2) = g.split_at(self.dim / 2);
            let (of_y1, of_x2) = self.undo_back(&nets[1], two, g1);
            let g2: Vec<f64> = g2.iter().zip(of_x2).map(|(a, b)| a + b).collect();
            let (of_y2, more) = self.undo_back(&nets[0], one, &g2);
            let of_y: Vec<f64> = of_y1.iter().zip(more).map(|(a, b)| a + b).chain(of_y2).collect();
            g = permutation.iter().map(|&p| of_y[p as usize]).collect();
        }
        (value, g)
    }

    fn undo(&self, net: &[(Vec<f32>, Vec<f32>)], given: &[f64], y: &[f64]) -> Undone {
        let mut inputs = vec![given.to_vec()];
        for (k, (weight, bias)) in net.iter().enumerate() {
            let input = &inputs[k];
            let row = |(w, b): (&[f32], &f32)| {
                f64::from(*b) + w.iter().zip(input).map(|(w, x)| f64::from(*w) * x).sum::<f64>()
            };
            let out: Vec<f64> = weight.chunks(input.len()).zip(bias).map(row).collect();
            let hidden = k + 1 < net.len();
            inputs.push(out.into_iter().map(|v| if hidden && v <= 0.0 { 0.0 } else { v }).collect());
        }
        let out = inputs.pop().unwrap();
        let (bound, inside) = (f64::from(self.clamp.bound), f64::from(self.clamp.slope));
        let (raw, t) = out.split_at(y.len());
        let s: Vec<f64> = raw.iter().map(|r| bound * (inside * r).atan()).collect();
        let slope = raw.iter().map(|r| bound * inside / (1.0 + (inside * r).powi(2))).collect();
        let x = y.iter().zip(t).zip(&s).map(|((y, t), s)| (y - t) * (-s).exp()).collect();
        Undone { inputs, s, slope, x }
    }

    /// Gradients in `y` and in what the net was given.
    fn undo_back(&self, net: &[(Vec<f32>, Vec<f32>)], of: &Undone, grad: &[f64]) -> (Vec<f64>, Vec<f64>) {
        let of_y: Vec<f64> = grad.iter().zip(&of.s).map(|(g, s)| g * (-s).exp()).collect();
        let of_raw = grad.iter().zip(&of.x).zip(&of.slope).map(|((g, x), slope)| (1.0 - g * x) * slope);
        let mut g: Vec<f64> = of_raw.chain(of_y.iter().map(|g| -g)).collect();
        for (k, (weight, _)) in net.iter().enumerate().rev() {
            let n = of.inputs[k].len();
            g = (0..n)
                .map(|i| g.iter().enumerate().map(|(j, g)| f64::from(weight[j * n + i]) * g).sum())
                .zip(&of.inputs[k])
                .map(|(g, h): (f64, &f64)| if k > 0 && *h == 0.0 { 0.0 } else { g })
                .collect();
        }
        (of_y, g)
    }
}

struct Undone {
    /// Of every layer.
    inputs: Vec<Vec<f64>>,
    s: Vec<f64>,
    slope: Vec<f64>,
    x: Vec<f64>,
}

const ISAS: [Isa; 3] = [Isa::V4, Isa::V3, Isa::Plain];

fn both(flow: &CouplingFlow, patches: Matrix<'_>, rows: usize, dim: usize) -> (Vec<f32>, Vec<f32>) {
    let (mut nll, mut grad, mut again) = (vec![0.0; rows], vec![0.0; rows * dim], vec![0.0; rows]);
    flow.nll_and_grad(patches, &mut nll, &mut grad).unwrap();
    flow.nll(patches, &mut again).unwrap();
    assert_eq!(
        nll.iter().map(|v| v.to_bits()).collect::<Vec<_>>(),
        again.iter().map(|v| v.to_bits()).collect::<Vec<_>>()
    );
    (nll, grad)
}

fn largest(values: impl IntoIterator<Item = f64>) -> f64 {
    values.into_iter().fold(0.0, |most, v| if v.abs() <= most { most } else { v.abs() })
}

#[test]
fn values_and_gradients_are_those_of_the_formulas() {
    let clamps = [Clamp { bound: 1.0176, slope: 1.0 }, Clamp { bound: 1.9, slope: 1.0 / 3.0 }];
    let shapes: [(usize, usize, &[usize]); 8] = [
        (2, 1, &[1]),
        (4, 1, &[8]),
        (9, 5, &[64, 64]),
        (9, 3, &[]),
        (7, 2, &[5, 17, 30]),
        (36, 1, &[128, 128]),
        (36, 5, &[8, 8]),
        (27, 2, &[64, 40]),
    ];
    for (dim, couplings, widths) in shapes {
        for (clamp, rows) in clamps.into_iter().zip([7, 200]) {
            let flow = Flow::new(dim, couplings, widths, clamp);
            let stride = dim + 3;
            let values = Numbers(7).draw((rows - 1) * stride + dim, 1.0);
            let expected: Vec<_> = values.chunks(stride).map(|row| flow.by_hand(&row[..dim])).collect();
            for isa in ISAS {
                let (nll, grad) = both(&flow.packed(isa), Matrix { values: &values, stride }, rows, dim);
                let size = largest(expected.iter().map(|e| e.0));
                let off = largest(nll.iter().zip(&expected).map(|(a, b)| f64::from(*a) - b.0)) / size;
                assert!(off < 2e-6, "{dim} {couplings} {widths:?} {isa:?}: {off}");
                let size = largest(expected.iter().flat_map(|e| e.1.clone()));
                let all = grad.iter().zip(expected.iter().flat_map(|e| &e.1));
                let off = largest(all.map(|(a, b)| f64::from(*a) - b)) / size;
                assert!(off < 5e-6, "gradient {dim} {couplings} {widths:?} {isa:?}: {off}");
            }
        }
    }
}

#[test]
fn a_patch_does_not_depend_on_the_others_or_on_threads() {
    let flow = Flow::new(9, 3, &[24, 24], Clamp { bound: 1.0176, slope: 1.0 });
    let rows = 1000;
    let values = Numbers(3).draw(rows * 9, 1.0);
    for isa in ISAS {
        let packed = flow.packed(isa);
        let (nll, grad) = both(&packed, Matrix { values: &values, stride: 9 }, rows, 9);
        for count in [1, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(count).build().unwrap();
            let again = pool.install(|| both(&packed, Matrix { values: &values, stride: 9 }, rows, 9));
            assert!(again == (nll.clone(), grad.clone()), "{count} threads, {isa:?}");
        }
        for (first, rows) in [(0, 1), (5, 47), (951, 49)] {
            let some = Matrix { values: &values[9 * first..9 * (first + rows)], stride: 9 };
            let (part, of_part) = both(&packed, some, rows, 9);
            assert_eq!(part, nll[first..first + rows], "{first} {isa:?}");
            assert_eq!(of_part, grad[9 * first..9 * (first + rows)], "{first} {isa:?}");
        }
    }
}

#[test]
fn what_is_not_finite_stays_so_and_stays_with_its_patch() {
    let flow = Flow::new(9, 3, &[24, 24], Clamp { bound: 1.0176, slope: 1.0 });
    let values = Numbers(3).draw(60 * 9, 1.0);
    let alike = |a: f32, b: f64| a.is_nan() == b.is_nan() && a.is_infinite() == b.is_infinite();
    for isa in ISAS {
        let packed = flow.packed(isa);
        let good = both(&packed, Matrix { values: &values, stride: 9 }, 60, 9);
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut values = values.clone();
            values[9 * 50 + 4] = bad;
            let (nll, grad) = both(&packed, Matrix { values: &values, stride: 9 }, 60, 9);
            let (value, slopes) = flow.by_hand(&values[9 * 50..9 * 51]);
            assert!(!value.is_finite() && alike(nll[50], value), "{bad} {isa:?}: {} {value}", nll[50]);
            for (ours, theirs) in grad[9 * 50..9 * 51].iter().zip(slopes) {
                assert!(alike(*ours, theirs), "{bad} {isa:?}: {ours} {theirs}");
            }
            for row in (0..60).filter(|row| *row != 50) {
                assert_eq!(nll[row], good.0[row]);
                assert_eq!(grad[9 * row..9 * (row + 1)], good.1[9 * row..9 * (row + 1)]);
            }
        }
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let flow = Flow::new(4, 1, &[3], Clamp { bound: 1.0, slope: 1.0 });
    let packed = flow.packed(Isa::V4);
    let values = [0.0; 12];
    let patches = Matrix { values: &values, stride: 4 };
    let (mut nll, mut grad) = ([0.0; 4], [0.0; 12]);
    let line = packed.nll(patches, &mut nll).unwrap_err().to_string();
    assert_eq!(line, "patches: expected 4 rows of 4 values, got 12 values, rows 4 apart");
    assert!(packed.nll(Matrix { values: &values, stride: 3 }, &mut nll[..1]).is_err());
    assert!(packed.nll_and_grad(patches, &mut nll[..2], &mut grad).is_err());
    packed.nll_and_grad(patches, &mut nll[..3], &mut grad).unwrap();
    packed.nll_and_grad(patches, &mut [], &mut []).unwrap();

    let (w, b) = ([0.0; 8], [0.0; 4]);
    let net = |weight: &'static [f32]| vec![LinearWeights { weight, bias: &[0.0; 4] }];
    let good = CouplingWeights {
        subnets: [vec![LinearWeights { weight: &w, bias: &b }], net(&[0.0; 8])],
        clamp: flow.clamp,
        permutation: &[3, 1, 2, 0],
    };
    CouplingFlow::new(4, std::slice::from_ref(&good)).unwrap();
    for permutation in [&[0, 1, 2][..], &[0, 1, 2, 2], &[0, 1, 2, 4], &[0, 1, 2, -1]] {
        assert!(CouplingFlow::new(4, &[CouplingWeights { permutation, ..good.clone() }]).is_err());
    }
    let refused = |bad: Vec<LinearWeights<'_>>| {
        let [first, _] = good.subnets.clone();
        CouplingFlow::new(4, &[CouplingWeights { subnets: [first, bad], ..good.clone() }])
            .unwrap_err()
            .to_string()
    };
    assert!(refused(net(&[0.0; 7])).starts_with("weight of a layer: expected 4 x 2 values"));
    assert!(
        refused(vec![LinearWeights { weight: &[0.0; 4], bias: &[0.0; 2] }])
            .starts_with("outputs of a subnet")
    );
    assert!(refused(vec![]).starts_with("outputs of a subnet"));
    assert!(CouplingFlow::new(1, &[]).is_err() && CouplingFlow::new(5, std::slice::from_ref(&good)).is_err());
}
