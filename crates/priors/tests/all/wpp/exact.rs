//! The exact squared Wasserstein distance by the Hungarian method.

use tch::{Kind, Tensor};

/// The least mean cost of an assignment for a square matrix of costs (shortest augmenting paths).
fn assignment(cost: &[Vec<f64>]) -> f64 {
    let n = cost.len();
    let (mut u, mut v) = (vec![0.0; n + 1], vec![0.0; n + 1]);
    let (mut of_column, mut way) = (vec![0; n + 1], vec![0; n + 1]);
    for row in 1..=n {
        of_column[0] = row;
        let mut column = 0;
        let (mut least, mut used) = (vec![f64::INFINITY; n + 1], vec![false; n + 1]);
        while of_column[column] != 0 {
            used[column] = true;
            let (i, mut delta, mut next) = (of_column[column], f64::INFINITY, 0);
            for j in 1..=n {
                if used[j] {
                    continue;
                }
                let reduced = cost[i - 1][j - 1] - u[i] - v[j];
                if reduced < least[j] {
                    (least[j], way[j]) = (reduced, column);
                }
                if least[j] < delta {
                    (delta, next) = (least[j], j);
                }
            }
            for j in 0..=n {
                if used[j] {
                    u[of_column[j]] += delta;
                    v[j] -= delta;
                } else {
                    least[j] -= delta;
                }
            }
            column = next;
        }
        while column != 0 {
            of_column[column] = of_column[way[column]];
            column = way[column];
        }
    }
    (1..=n).map(|j| cost[of_column[j] - 1][j - 1]).sum::<f64>() / n as f64
}

/// `W_2^2` with the full square between patches `[N, d]`, taken `copies[i]` times each, and patches `[M, d]`.
pub(crate) fn weighted(x: &Tensor, y: &Tensor, copies: &[usize]) -> f64 {
    let squared = (x.unsqueeze(1) - y.unsqueeze(0)).square().sum_dim_intlist(2i64, false, Kind::Double);
    let (total, m) = (copies.iter().sum::<usize>(), y.size()[0] as usize);
    let common = (1..=total.min(m)).rev().find(|g| total % g == 0 && m % g == 0).unwrap();
    let columns: Vec<i64> = (0..m).flat_map(|j| vec![j as i64; total / common]).collect();
    let rows = copies.iter().enumerate().flat_map(|(i, c)| vec![i as i64; c * m / common]);
    let cost = rows.map(|i| columns.iter().map(|&j| squared.double_value(&[i, j])).collect());
    assignment(&cost.collect::<Vec<Vec<f64>>>())
}

/// The same with every patch taken once.
pub(crate) fn uniform(x: &Tensor, y: &Tensor) -> f64 {
    weighted(x, y, &vec![1; x.size()[0] as usize])
}

#[test]
fn the_assignment_is_the_best_of_all_permutations() {
    let cost: Vec<Vec<f64>> =
        (0..4).map(|i| (0..4).map(|j| f64::from((i * 7 + j * j * 5 + i * j * 3) % 11)).collect()).collect();
    let mut best = f64::INFINITY;
    for code in 0..256 {
        let p: Vec<usize> = (0..4).map(|i| code / 4_usize.pow(i) % 4).collect();
        if (0..4).all(|j| p.contains(&j)) {
            best = best.min((0..4).map(|i| cost[i][p[i]]).sum::<f64>() / 4.0);
        }
    }
    assert_eq!(assignment(&cost), best);
}
