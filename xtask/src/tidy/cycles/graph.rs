//! Which file uses which, and the cycles of that.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

/// What one file uses of another.
#[derive(Debug)]
pub(super) struct Usage<'a> {
    pub(super) from: &'a Path,
    pub(super) to: &'a Path,
    /// Items, and the line that names each of them first, counted from 1.
    pub(super) names: &'a BTreeMap<String, usize>,
}

/// Uses between the files of a crate.
#[derive(Debug, Default)]
pub(super) struct Graph {
    /// From, to: items and lines.
    uses: BTreeMap<(PathBuf, PathBuf), BTreeMap<String, usize>>,
}

impl Graph {
    /// Takes in a use; one within a file is none.
    pub(super) fn add(&mut self, from: &Path, to: &Path, name: String, line: usize) {
        if from != to {
            let names = self.uses.entry((from.to_owned(), to.to_owned())).or_default();
            let first = names.entry(name).or_insert(line);
            *first = line.min(*first);
        }
    }

    /// The strongly connected components of at least two files, each in order.
    pub(super) fn cycles(&self) -> Vec<Vec<&Path>> {
        let mut next: BTreeMap<&Path, BTreeSet<&Path>> = BTreeMap::new();
        for (from, to) in self.uses.keys() {
            next.entry(from).or_default().insert(to);
        }
        let reached: BTreeMap<&Path, BTreeSet<&Path>> =
            next.keys().map(|&from| (from, reachable(from, &next))).collect();
        let leads = |from: &Path, to: &Path| reached.get(from).is_some_and(|reached| reached.contains(to));
        let mut seen: BTreeSet<&Path> = BTreeSet::new();
        let mut cycles = Vec::new();
        for (&file, from_file) in &reached {
            if leads(file, file) && !seen.contains(file) {
                let cycle: Vec<&Path> =
                    from_file.iter().copied().filter(|other| leads(other, file)).collect();
                seen.extend(&cycle);
                cycles.push(cycle);
            }
        }
        cycles
    }

    /// The uses between some files.
    pub(super) fn between<'a>(&'a self, files: &'a [&Path]) -> impl Iterator<Item = Usage<'a>> {
        let inside = |file: &PathBuf| files.contains(&file.as_path());
        let uses = self.uses.iter().filter(move |((from, to), _)| inside(from) && inside(to));
        uses.map(|((from, to), names)| Usage { from, to, names })
    }
}

/// All files that one leads to.
fn reachable<'a>(from: &'a Path, next: &BTreeMap<&'a Path, BTreeSet<&'a Path>>) -> BTreeSet<&'a Path> {
    let (mut reached, mut open) = (BTreeSet::new(), vec![from]);
    while let Some(file) = open.pop() {
        for &to in next.get(file).into_iter().flatten() {
            if reached.insert(to) {
                open.push(to);
            }
        }
    }
    reached
}
