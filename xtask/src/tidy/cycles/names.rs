//! Where the names in a crate's code lead to.

use super::{
    graph::Graph,
    modules::{Id, Import, Module, attributes, for_tests, imports, unraw},
};
use proc_macro2::{TokenStream, TokenTree};
use std::path::Path;
use syn::{Attribute, ImplItem, Item, ItemUse, Macro, Stmt, TraitItem, Visibility, visit::Visit};

/// Imports followed one after the other, so that those of a circle end.
const MOST: usize = 32;

/// What a path names.
enum Named<'a> {
    Module(Id),
    /// An item and the file that defines it.
    Item(&'a str, &'a Path),
}

/// All uses between the files of a crate.
pub(super) fn uses(modules: &[Module]) -> Graph {
    let mut graph = Graph::default();
    for (id, module) in modules.iter().enumerate() {
        let mut code = Code { modules, id, graph: &mut graph };
        for import in module.imports.iter().filter(|import| !import.public) {
            code.import(import);
        }
        for item in &module.items {
            code.visit_item(item);
        }
    }
    graph
}

/// Follows a path from inside of a module; none where it leaves the crate.
fn resolved<'a>(modules: &'a [Module], id: Id, path: &'a [String], left: usize) -> Option<Named<'a>> {
    let (first, mut rest) = path.split_first()?;
    let mut at = match first.as_str() {
        "crate" => Named::Module(0),
        "self" => Named::Module(id),
        "super" => Named::Module(modules[id].parent?),
        name => looked_up(modules, id, name, rest.is_empty(), left)?,
    };
    while let (Named::Module(id), Some((name, after))) = (&at, rest.split_first()) {
        at = match name.as_str() {
            "super" => Named::Module(modules[*id].parent?),
            // What a macro has made is no less in the module.
            name => looked_up(modules, *id, name, after.is_empty(), left)
                .unwrap_or_else(|| Named::Item(name, &modules[*id].file)),
        };
        rest = after;
    }
    Some(at)
}

/// What a module knows by a name: a function may share it with a module, and `last` in a path means the function.
fn looked_up<'a>(modules: &'a [Module], id: Id, name: &'a str, last: bool, left: usize) -> Option<Named<'a>> {
    let left = left.checked_sub(1)?;
    let module = &modules[id];
    if module.defined.contains(name) && (last || !module.children.contains_key(name)) {
        return Some(Named::Item(name, &module.file));
    }
    let mut as_module = module.children.get(name).map(|&child| Named::Module(child));
    for import in module.imports.iter().filter(|import| import.name.as_deref() == Some(name)) {
        // `use name::name` would look for itself.
        let itself = import.path.first().is_some_and(|first| first == name) && as_module.is_none();
        match if itself { None } else { resolved(modules, id, &import.path, left) } {
            Some(Named::Module(found)) => as_module = as_module.or(Some(Named::Module(found))),
            Some(item) if last || as_module.is_none() => return Some(item),
            _ => {}
        }
    }
    if as_module.is_some() {
        return as_module;
    }
    module.imports.iter().filter(|import| import.name.is_none()).find_map(|glob| {
        match resolved(modules, id, &glob.path, left)? {
            Named::Module(from) if from != id => looked_up(modules, from, name, last, left),
            _ => None,
        }
    })
}

/// The code of one module.
struct Code<'m, 'g> {
    modules: &'m [Module],
    id: Id,
    graph: &'g mut Graph,
}

impl Code<'_, '_> {
    fn named(&mut self, path: &[String], line: usize) {
        if let Some(Named::Item(name, to)) = resolved(self.modules, self.id, path, MOST) {
            self.graph.add(&self.modules[self.id].file, to, name.to_owned(), line);
        }
    }

    fn import(&mut self, import: &Import) {
        if import.name.is_some() {
            self.named(&import.path, import.line);
        }
    }

    /// Paths among tokens that nobody has parsed.
    fn tokens(&mut self, tokens: TokenStream) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let is = |k: usize, c: char| matches!(tokens.get(k), Some(TokenTree::Punct(p)) if p.as_char() == c);
        let colons = |k: usize| is(k, ':') && is(k + 1, ':');
        let mut k = 0;
        while let Some(token) = tokens.get(k) {
            match token {
                TokenTree::Group(group) => self.tokens(group.stream()),
                TokenTree::Ident(first) => {
                    let line = first.span().start().line;
                    let behind = k > 0 && (is(k - 1, '.') && !(k > 1 && is(k - 2, '.')) || is(k - 1, '\''));
                    let from_outside = k > 1 && colons(k - 2);
                    let mut path = vec![unraw(first)];
                    while let (true, Some(TokenTree::Ident(next))) = (colons(k + 1), tokens.get(k + 3)) {
                        path.push(unraw(next));
                        k += 3;
                    }
                    if !behind && !from_outside {
                        self.named(&path, line);
                    }
                }
                _ => {}
            }
            k += 1;
        }
    }
}

impl<'ast> Visit<'ast> for Code<'_, '_> {
    fn visit_item(&mut self, item: &'ast Item) {
        if !for_tests(attributes(item)) {
            syn::visit::visit_item(self, item);
        }
    }

    fn visit_impl_item(&mut self, item: &'ast ImplItem) {
        let attributes: &[Attribute] = match item {
            ImplItem::Const(item) => &item.attrs,
            ImplItem::Fn(item) => &item.attrs,
            ImplItem::Type(item) => &item.attrs,
            _ => &[],
        };
        if !for_tests(attributes) {
            syn::visit::visit_impl_item(self, item);
        }
    }

    fn visit_trait_item(&mut self, item: &'ast TraitItem) {
        let attributes: &[Attribute] = match item {
            TraitItem::Const(item) => &item.attrs,
            TraitItem::Fn(item) => &item.attrs,
            TraitItem::Type(item) => &item.attrs,
            _ => &[],
        };
        if !for_tests(attributes) {
            syn::visit::visit_trait_item(self, item);
        }
    }

    fn visit_stmt(&mut self, statement: &'ast Stmt) {
        let attributes: &[Attribute] = match statement {
            Stmt::Local(local) => &local.attrs,
            Stmt::Macro(of) => &of.attrs,
            _ => &[],
        };
        if !for_tests(attributes) {
            syn::visit::visit_stmt(self, statement);
        }
    }

    fn visit_field(&mut self, field: &'ast syn::Field) {
        if !for_tests(&field.attrs) {
            syn::visit::visit_field(self, field);
        }
    }

    /// Inside of functions.
    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        imports(item).iter().for_each(|import| self.import(import));
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if let (None, Some(first)) = (&path.leading_colon, path.segments.first()) {
            let names: Vec<String> = path.segments.iter().map(|segment| unraw(&segment.ident)).collect();
            self.named(&names, first.ident.span().start().line);
        }
        syn::visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast Macro) {
        self.visit_path(&call.path);
        self.tokens(call.tokens.clone());
    }

    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        if let syn::Meta::List(list) = &attribute.meta {
            self.tokens(list.tokens.clone());
        }
    }

    fn visit_visibility(&mut self, _: &'ast Visibility) {}
}
