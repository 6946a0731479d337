//! The modules of a crate, with what each of them declares, read from its files.

use crate::failure::{Failure, Result};
use std::{
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
};
use syn::{Attribute, Item, ItemMod, ItemUse, UseTree, Visibility, spanned::Spanned};

/// A module by its number; the root of the crate is 0.
pub(super) type Id = usize;

/// A module, inline or a file of its own.
pub(super) struct Module {
    pub(super) parent: Option<Id>,
    pub(super) file: PathBuf,
    /// Without what is compiled for tests alone.
    pub(super) items: Vec<Item>,
    pub(super) children: HashMap<String, Id>,
    /// Names of items that the module defines itself.
    pub(super) defined: HashSet<String>,
    pub(super) imports: Vec<Import>,
}

/// One name that a `use` brings in.
#[derive(Debug, Clone)]
pub(super) struct Import {
    /// What it is called here; none for a glob.
    pub(super) name: Option<String>,
    pub(super) path: Vec<String>,
    /// Whether it is handed on to others.
    pub(super) public: bool,
    pub(super) line: usize,
}

/// All modules of the crate with this root.
pub(super) fn read(root: &Path) -> Result<Vec<Module>> {
    let mut modules = Vec::new();
    // The children of the root lie beside it, whatever it is called.
    let folder = root.parent().unwrap_or(root).to_owned();
    add(&mut modules, None, root, &folder, parsed(root)?)?;
    Ok(modules)
}

fn parsed(file: &Path) -> Result<Vec<Item>> {
    let text = std::fs::read_to_string(file).map_err(|e| Failure::file(file, "reading", &e))?;
    let parsed = syn::parse_file(&text).map_err(|e| {
        let (place, line) = (file.display(), e.span().start().line);
        Failure::new(format!("{place}:{line}: not Rust: {e}"))
    })?;
    Ok(parsed.items)
}

/// Adds a module whose children have their files in `folder`.
fn add(
    modules: &mut Vec<Module>,
    parent: Option<Id>,
    file: &Path,
    folder: &Path,
    items: Vec<Item>,
) -> Result<Id> {
    let id = modules.len();
    let mut module = Module {
        parent,
        file: file.to_owned(),
        items: Vec::new(),
        children: HashMap::new(),
        defined: HashSet::new(),
        imports: Vec::new(),
    };
    let mut inside = Vec::new();
    for item in items {
        match item {
            _ if for_tests(attributes(&item)) => {}
            Item::Mod(child) => inside.push(child),
            Item::Use(item) => module.imports.extend(imports(&item)),
            item => {
                module.defined.extend(name(&item));
                module.items.push(item);
            }
        }
    }
    modules.push(module);
    for child in inside {
        let name = unraw(&child.ident);
        let child = add_child(modules, id, folder, child)?;
        modules[id].children.insert(name, child);
    }
    Ok(id)
}

fn add_child(modules: &mut Vec<Module>, parent: Id, folder: &Path, child: ItemMod) -> Result<Id> {
    let below = folder.join(unraw(&child.ident));
    if let Some((_, items)) = child.content {
        let file = modules[parent].file.clone();
        return add(modules, Some(parent), &file, &below, items);
    }
    let beside = below.with_extension("rs");
    let file = if beside.is_file() { beside } else { below.join("mod.rs") };
    add(modules, Some(parent), &file, &below, parsed(&file)?)
}

/// The names that a `use` brings in.
pub(super) fn imports(item: &ItemUse) -> Vec<Import> {
    let public = !matches!(item.vis, Visibility::Inherited);
    let mut all = Vec::new();
    let mut path = Vec::new();
    if item.leading_colon.is_none() {
        branches(&item.tree, &mut path, public, &mut all);
    }
    all
}

fn branches(tree: &UseTree, path: &mut Vec<String>, public: bool, all: &mut Vec<Import>) {
    let line = tree.span().start().line;
    let mut end = |path: &[String], last: Option<String>, name: Option<String>| {
        // `a::{self}` is `a`.
        let last = last.filter(|last| last != "self" || path.is_empty());
        let path: Vec<String> = path.iter().cloned().chain(last).collect();
        let name = if name.as_deref() == Some("self") { path.last().cloned() } else { name };
        all.push(Import { name, path, public, line });
    };
    match tree {
        UseTree::Name(leaf) => end(path, Some(unraw(&leaf.ident)), Some(unraw(&leaf.ident))),
        UseTree::Rename(leaf) => end(path, Some(unraw(&leaf.ident)), Some(unraw(&leaf.rename))),
        UseTree::Glob(_) => end(path, None, None),
        UseTree::Path(branch) => {
            path.push(unraw(&branch.ident));
            branches(&branch.tree, path, public, all);
            path.pop();
        }
        UseTree::Group(group) => {
            for tree in &group.items {
                branches(tree, path, public, all);
            }
        }
    }
}

pub(super) fn unraw(ident: &syn::Ident) -> String {
    let name = ident.to_string();
    name.strip_prefix("r#").map_or(name.clone(), str::to_owned)
}

/// Whether these attributes keep something for tests.
pub(super) fn for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        syn::Meta::Path(path) => path.is_ident("test"),
        syn::Meta::List(list) if list.path.is_ident("cfg") => {
            let words = list.tokens.to_string();
            let mut words = words.split(|c: char| !c.is_alphanumeric() && c != '_');
            // `any(test, ...)` and `not(test)` are there without tests, too.
            matches!(words.next(), Some("test"))
                || list.tokens.to_string().starts_with("all") && words.any(|w| w == "test")
        }
        _ => false,
    })
}

pub(super) fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::ExternCrate(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::ForeignMod(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::TraitAlias(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Union(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

/// What an item is called.
fn name(item: &Item) -> Option<String> {
    let name = match item {
        Item::Const(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        Item::Macro(item) => item.ident.as_ref()?,
        Item::Static(item) => &item.ident,
        Item::Struct(item) => &item.ident,
        Item::Trait(item) => &item.ident,
        Item::TraitAlias(item) => &item.ident,
        Item::Type(item) => &item.ident,
        Item::Union(item) => &item.ident,
        _ => return None,
    };
    Some(unraw(name))
}
