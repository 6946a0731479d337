//! `smalti completions` and `smalti man`: the command line for shells and readers.

use crate::arguments::{self, Completions, Man};
use crate::context::Context;
use crate::fault::Fault;
use serde_json::json;
use smalti_base::{Error, files};

/// Prints what a shell needs to complete commands.
pub(crate) fn completions(options: &Completions, context: &Context) -> Result<(), Fault> {
    let mut script = Vec::new();
    clap_complete::generate(options.shell, &mut arguments::command(), "smalti", &mut script);
    let script = String::from_utf8_lossy(&script);
    context.answer(&script, || json!({ "shell": options.shell.to_string(), "script": script }))
}

/// Writes manual pages.
pub(crate) fn man(options: &Man, context: &Context) -> Result<(), Fault> {
    let mut command = arguments::command();
    command.build();
    let mut names = Vec::new();
    let pages = std::iter::once(command.clone())
        .chain(command.get_subcommands().filter(|c| c.get_name() != "help").cloned());
    for page in pages {
        let name = page.get_display_name().unwrap_or(page.get_name()).to_owned();
        let mut text = Vec::new();
        let path = options.folder.join(format!("{name}.1"));
        clap_mangen::Man::new(page).render(&mut text).map_err(|e| Error::file(&path, "writing", e))?;
        files::write_atomically(&path, &text)?;
        names.push(path.display().to_string());
    }
    context.answer(&names.join("\n"), || json!({ "pages": names }))
}
