//! The exact value of a small transport problem: shortest augmenting paths on an expanded assignment problem.

/// The least mean cost of a perfect matching of a square matrix of costs, in `O(n^3)` (the Hungarian method).
pub(super) fn assignment(costs: &[Vec<f64>]) -> f64 {
    let n = costs.len();
    // Column 0 and row 0 stand for "none".
    let (mut row_price, mut column_price) = (vec![0.0; n + 1], vec![0.0; n + 1]);
    let mut row_of = vec![0; n + 1];
    for row in 1..=n {
        row_of[0] = row;
        let mut column = 0;
        let (mut least, mut done, mut before) =
            (vec![f64::INFINITY; n + 1], vec![false; n + 1], vec![0; n + 1]);
        while row_of[column] != 0 {
            done[column] = true;
            let r = row_of[column];
            let (mut step, mut next) = (f64::INFINITY, 0);
            for c in (1..=n).filter(|&c| !done[c]) {
                let reduced = costs[r - 1][c - 1] - row_price[r] - column_price[c];
                if reduced < least[c] {
                    (least[c], before[c]) = (reduced, column);
                }
                if least[c] < step {
                    (step, next) = (least[c], c);
                }
            }
            for c in 0..=n {
                if done[c] {
                    row_price[row_of[c]] += step;
                    column_price[c] -= step;
                } else {
                    least[c] -= step;
                }
            }
            column = next;
        }
        while column != 0 {
            row_of[column] = row_of[before[column]];
            column = before[column];
        }
    }
    (1..=n).map(|c| costs[row_of[c] - 1][c - 1]).sum::<f64>() / n as f64
}

/// `W_2^2` of rows of `dim` values with whole-number weights of the queries: every row as often as its share of the
/// common multiple of both numbers tells.
pub(super) fn w2_squared(x: &[f32], weights: &[usize], y: &[f32], dim: usize) -> f64 {
    let (n, m) = (weights.iter().sum::<usize>(), y.len() / dim);
    let mut divisor = (n, m);
    while divisor.1 > 0 {
        divisor = (divisor.1, divisor.0 % divisor.1);
    }
    let row = |y: &[f32], j: usize| y[j * dim..][..dim].to_vec();
    let queries = weights.iter().enumerate().flat_map(|(i, &w)| vec![row(x, i); w * m / divisor.0]);
    let references: Vec<Vec<f32>> = (0..m).flat_map(|j| vec![row(y, j); n / divisor.0]).collect();
    let square = |x: &[f32], y: &[f32]| -> f64 {
        x.iter().zip(y).map(|(x, y)| (f64::from(*x) - f64::from(*y)).powi(2)).sum()
    };
    let costs: Vec<Vec<f64>> = queries.map(|x| references.iter().map(|y| square(&x, y)).collect()).collect();
    assignment(&costs)
}
