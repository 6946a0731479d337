//! `cargo xtask docs`: what documents take from elsewhere: tables from results, examples from the code.

pub(crate) mod example;
mod fault;
pub(crate) mod table;

use crate::{
    failure::{Failure, Result},
    workspace,
};
use fault::read;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// What `docs` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Folder of the results that tables are taken from
    #[arg(long, value_name = "DIR", default_value = "results")]
    results: PathBuf,
}

/// Renews every document; tables without results stay as they are.
pub(crate) fn docs(root: &Path, options: &Options) -> Result {
    for file in workspace::files(root)?.iter().filter(|file| is_document(file)) {
        let path = root.join(file);
        let before = read(&path)?;
        let mut text = before.clone();
        for block in table::blocks(&text).map_err(|fault| fault.of(file))?.iter().rev() {
            let folder = options.results.join(&block.experiment).join(&block.profile);
            match table::from_results(&folder, block)? {
                Some(new) => text.replace_range(block.inside.clone(), &new),
                None => {
                    eprintln!("{}: no results in {}, left as it is", file.display(), folder.display());
                }
            }
        }
        if let Some(lib) = example::source(root, file) {
            text = example::renewed(&text, &read(&lib)?).map_err(|fault| fault.of(file))?;
        }
        if text != before {
            fs::write(&path, text).map_err(|e| Failure::file(&path, "writing", &e))?;
            eprintln!("{}: renewed", file.display());
        }
    }
    Ok(())
}

/// Whether a file is a document.
pub(crate) fn is_document(file: &Path) -> bool {
    file.extension().is_some_and(|extension| extension == "md")
}
