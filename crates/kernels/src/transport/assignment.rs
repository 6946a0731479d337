//! Optimal assignment, and the exact Wasserstein distance `W_1` of two samples of equal size.

use crate::error::KernelError;
use crate::free_memory;
use crate::rows::Rows;

/// `W_1 = min over permutations of mean_i |x_i - y_s(i)|`, with the Euclidean distance (not its square), of two sets of
/// equally many points: exact up to the rounding of float64.
///
/// # Cost
/// `O(n^2)` memory, 8 bytes for each pair, and up to `O(n^3)` time.
///
/// # Errors
/// Sets of different sizes or dimensions, or of so many points that `8 n^2` bytes are more than the free memory.
pub fn wasserstein1(x: &Rows, y: &Rows) -> Result<f64, KernelError> {
    wasserstein1_within(x, y, free_memory::available())
}

/// [`wasserstein1`] with at most so many bytes for the costs of all pairs.
fn wasserstein1_within(x: &Rows, y: &Rows, limit: u64) -> Result<f64, KernelError> {
    for (what, a, b) in
        [("points of the second set", x.len(), y.len()), ("their dimension", x.dim(), y.dim())]
    {
        if a != b {
            return Err(KernelError::new(what, format!("{a}, as in the first set"), b));
        }
    }
    let n = x.len();
    let bytes = (n as u64).checked_mul(n as u64).and_then(|pairs| pairs.checked_mul(8));
    free_memory::check("costs of all pairs of points", &format!("8 n^2 bytes for n = {n}"), bytes, limit)?;
    let dense = |rows: &Rows| {
        let mut all = vec![0.0; n * rows.dim()];
        all.chunks_exact_mut(rows.dim()).enumerate().for_each(|(i, row)| rows.read(i, row));
        all
    };
    let (a, b) = (dense(x), dense(y));
    let mut costs = Vec::with_capacity(n * n);
    for p in a.chunks_exact(x.dim()) {
        costs.extend(b.chunks_exact(x.dim()).map(|q| {
            p.iter().zip(q).map(|(p, q)| (f64::from(*p) - f64::from(*q)).powi(2)).sum::<f64>().sqrt()
        }));
    }
    let columns = assignment(&costs, n)?;
    Ok(columns.iter().enumerate().map(|(i, &j)| costs[i * n + j]).sum::<f64>() / n as f64)
}

/// The column of every row in the assignment of least total cost, for a row-major matrix of `n x n` finite costs.
///
/// Rows are first given columns where their prices allow it, then by shortest augmenting paths (Jonker and Volgenant 1987, "A
/// shortest augmenting path algorithm for dense and sparse linear assignment problems").
///
/// # Errors
/// A matrix of another size, or costs that are not finite.
pub fn assignment(costs: &[f64], n: usize) -> Result<Vec<usize>, KernelError> {
    if costs.len() != n * n {
        return Err(KernelError::new("costs of an assignment", format!("{n} x {n} values"), costs.len()));
    }
    if let Some(cost) = costs.iter().find(|c| !c.is_finite()) {
        return Err(KernelError::new("cost of an assignment", "a finite number", cost));
    }
    let mut state =
        Assignment { costs, n, price: vec![0.0; n], column_of: vec![NONE; n], row_of: vec![NONE; n] };
    state.reduce_columns();
    for _ in 0..2 {
        state.reduce_rows();
    }
    let mut path = Path { length: vec![0.0; n], before: vec![0; n], columns: (0..n).collect() };
    for row in 0..n {
        if state.column_of[row] == NONE {
            state.augment(row, &mut path);
        }
    }
    Ok(state.column_of)
}

const NONE: usize = usize::MAX;

struct Assignment<'a> {
    costs: &'a [f64],
    n: usize,
    /// Of each column; reduced costs are `cost - price`.
    price: Vec<f64>,
    column_of: Vec<usize>,
    row_of: Vec<usize>,
}

/// The search tree of one shortest path.
struct Path {
    length: Vec<f64>,
    before: Vec<usize>,
    /// First those reached for good, then those at the present length, then the rest.
    columns: Vec<usize>,
}

impl Assignment<'_> {
    fn row(&self, i: usize) -> &[f64] {
        &self.costs[i * self.n..][..self.n]
    }

    fn assign(&mut self, i: usize, j: usize) {
        self.column_of[i] = j;
        self.row_of[j] = i;
    }

    /// Every column's price becomes its least cost, and the row of that, where free, is given the column.
    fn reduce_columns(&mut self) {
        self.price.copy_from_slice(&self.costs[..self.n]);
        let mut best = vec![0; self.n];
        for i in 1..self.n {
            let row = &self.costs[i * self.n..][..self.n];
            for ((price, best), &cost) in self.price.iter_mut().zip(&mut best).zip(row) {
                if cost < *price {
                    (*price, *best) = (cost, i);
                }
            }
        }
        for (j, i) in best.into_iter().enumerate() {
            if self.column_of[i] == NONE {
                self.assign(i, j);
            }
        }
    }

    /// Every free row takes its best column from whoever has it, as long as that lowers a price.
    fn reduce_rows(&mut self) {
        let mut free: Vec<usize> = (0..self.n).filter(|&i| self.column_of[i] == NONE).rev().collect();
        // Rounding could let prices fall forever.
        let mut left = 20 * self.n;
        while let Some(i) = free.pop() {
            let (mut first, mut second) = ((f64::INFINITY, 0), (f64::INFINITY, 0));
            for (j, (cost, price)) in self.row(i).iter().zip(&self.price).enumerate() {
                let reduced = cost - price;
                if reduced < first.0 {
                    (first, second) = ((reduced, j), first);
                } else if reduced < second.0 {
                    second = (reduced, j);
                }
            }
            let (mut j, gain) = (first.1, second.0 - first.0);
            if gain > 0.0 && gain.is_finite() {
                self.price[j] -= gain;
            } else if self.row_of[j] != NONE && second.0.is_finite() {
                j = second.1;
            }
            let loser = self.row_of[j];
            self.assign(i, j);
            left -= 1;
            if loser != NONE {
                self.column_of[loser] = NONE;
                if gain > 0.0 && left > 0 {
                    free.push(loser);
                }
            }
            if left == 0 {
                return;
            }
        }
    }

    /// Gives the free row `start` a column along the shortest path of exchanges.
    fn augment(&mut self, start: usize, path: &mut Path) {
        let n = self.n;
        for (j, (cost, price)) in self.row(start).iter().zip(&self.price).enumerate() {
            (path.length[j], path.before[j]) = (cost - price, start);
        }
        // Columns before `scanned` are done; those before `reached` are at the length `at`.
        let (mut scanned, mut reached, mut done, mut at) = (0, 0, 0, 0.0);
        let end = 'search: loop {
            if scanned == reached {
                done = scanned;
                at = f64::INFINITY;
                for k in scanned..n {
                    let j = path.columns[k];
                    if path.length[j] <= at {
                        if path.length[j] < at {
                            (at, reached) = (path.length[j], scanned);
                        }
                        path.columns.swap(k, reached);
                        reached += 1;
                    }
                }
                if let Some(&j) = path.columns[scanned..reached].iter().find(|&&j| self.row_of[j] == NONE) {
                    break 'search j;
                }
            }
            let column = path.columns[scanned];
            scanned += 1;
            let i = self.row_of[column];
            let row = &self.costs[i * n..][..n];
            let base = row[column] - self.price[column] - at;
            let mut k = reached;
            while k < n {
                let j = path.columns[k];
                let length = row[j] - self.price[j] - base;
                if length < path.length[j] {
                    (path.length[j], path.before[j]) = (length, i);
                    if length <= at {
                        if self.row_of[j] == NONE {
                            break 'search j;
                        }
                        path.columns.swap(k, reached);
                        reached += 1;
                    }
                }
                k += 1;
            }
        };
        for &j in &path.columns[..done] {
            self.price[j] += path.length[j] - at;
        }
        let mut j = end;
        loop {
            let i = path.before[j];
            let next = self.column_of[i];
            self.assign(i, j);
            if i == start {
                return;
            }
            j = next;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draw(seed: u64, n: usize) -> Vec<f64> {
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) + 1;
        let mut next = || {
            // xorshift64* (Vigna 2016).
            state ^= state >> 12;
            state ^= state << 25;
            state ^= state >> 27;
            (state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11) as f64 / (1u64 << 53) as f64
        };
        (0..n).map(|_| next()).collect()
    }

    /// The least total cost over all permutations.
    fn by_trial(costs: &[f64], n: usize, row: usize, taken: &mut Vec<bool>) -> f64 {
        if row == n {
            return 0.0;
        }
        let mut best = f64::INFINITY;
        for j in 0..n {
            if !taken[j] {
                taken[j] = true;
                best = best.min(costs[row * n + j] + by_trial(costs, n, row + 1, taken));
                taken[j] = false;
            }
        }
        best
    }

    #[test]
    fn it_is_the_best_of_all_permutations() {
        for seed in 0..200 {
            let n = 1 + seed as usize % 7;
            // Few different values: many ties.
            let levels = if seed % 2 == 0 { 1e9 } else { 4.0 };
            let costs: Vec<f64> = draw(seed, n * n).iter().map(|c| (c * levels).floor() - 1.0).collect();
            let columns = assignment(&costs, n).unwrap();
            let mut sorted = columns.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, (0..n).collect::<Vec<_>>());
            let found: f64 = columns.iter().enumerate().map(|(i, &j)| costs[i * n + j]).sum();
            assert_eq!(found, by_trial(&costs, n, 0, &mut vec![false; n]), "seed {seed}");
        }
    }

    #[test]
    fn on_the_line_it_sorts() {
        let n = 300;
        let sets = [draw(1, n), draw(2, n)].map(|v| v.iter().map(|&v| v as f32).collect::<Vec<f32>>());
        let [x, y] = sets.clone().map(|v| Rows::dense(v, 1).unwrap());
        let [mut a, mut b] = sets;
        a.sort_by(f32::total_cmp);
        b.sort_by(f32::total_cmp);
        let expected: f64 = a.iter().zip(&b).map(|(a, b)| f64::from((a - b).abs())).sum::<f64>() / n as f64;
        assert!((wasserstein1(&x, &y).unwrap() - expected).abs() < 1e-7);
    }

    #[test]
    fn a_shift_costs_its_length() {
        let x: Vec<f32> = draw(3, 800).iter().map(|&v| v as f32).collect();
        let y: Vec<f32> = x.chunks_exact(2).rev().flat_map(|p| [p[0] + 3.0, p[1] + 4.0]).collect();
        let [x, y] = [x, y].map(|v| Rows::dense(v, 2).unwrap());
        assert!((wasserstein1(&x, &y).unwrap() - 5.0).abs() < 1e-6);
        assert!(wasserstein1(&x, &x).unwrap() == 0.0);
    }

    #[test]
    fn costs_beyond_the_memory_are_refused_before_they_are_made() {
        let points = Rows::dense(draw(5, 40_000).iter().map(|&v| v as f32).collect(), 1).unwrap();
        let line = wasserstein1_within(&points, &points, 8_000_000_000).unwrap_err().to_string();
        for said in ["8 n^2 bytes for n = 40000 = 12.8 GB", "at most the 8.0 GB of free memory"] {
            assert!(line.contains(said), "{line}");
        }
        let few = Rows::dense(vec![0.0, 1.0], 1).unwrap();
        assert!(wasserstein1_within(&few, &few, 31).is_err() && wasserstein1_within(&few, &few, 32).is_ok());
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let rows = |n: usize, d: usize| Rows::dense(vec![0.0; n * d], d).unwrap();
        assert!(
            wasserstein1(&rows(3, 2), &rows(4, 2)).is_err()
                && wasserstein1(&rows(3, 2), &rows(3, 1)).is_err()
        );
        assert!(assignment(&[0.0; 5], 2).is_err() && assignment(&[f64::NAN], 1).is_err());
        assert_eq!(assignment(&[], 0).unwrap(), [0usize; 0]);
    }
}
