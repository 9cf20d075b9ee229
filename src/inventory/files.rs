//! Files beside an inventory: which are read, and what may be in them.
//!
//! Paths in, parsed trees out. The search in `group_vars/` and `host_vars/` is
//! that of Ansible's `DataLoader.find_vars_files`: the name alone (a file or a
//! directory), then with .yml, .yaml, .json, and the first that exists.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::convert::Context;
use super::environment::FileKind;
use crate::yaml;
use crate::yaml::node::{Node, Value};

/// The largest file that is read, in bytes.
const LARGEST: usize = 8 << 20;
const DEEPEST: usize = 16;
const EXTENSIONS: [&str; 3] = ["yml", "yaml", "json"];

/// Reads the inventory file itself; none with at least one error reported.
pub(super) fn read_inventory(path: &Path, context: &mut Context) -> Option<Node> {
    let whole = context.environment.directory.join(path);
    let executable = match context.environment.files.kind(&whole) {
        Ok(Some(FileKind::File { executable })) => executable,
        Ok(Some(FileKind::Directory)) => {
            let help = "name the YAML file in it; a directory of inventories is not read here";
            context.problems.file_error(
                path.display(),
                "this inventory is a directory",
                Some(help.to_owned()),
            );
            return None;
        }
        Ok(None) => {
            let help = nearest_file(&whole, context)
                .map(|near| format!("there is `{near}` in that directory"));
            context.problems.file_error(
                path.display(),
                format!("the inventory `{}` does not exist", path.display()),
                help,
            );
            return None;
        }
        Err(error) => {
            context.problems.file_error(
                path.display(),
                format!("the inventory cannot be read: {error}"),
                None,
            );
            return None;
        }
    };
    let text = read_text(path, context)?;
    let yaml_name = path
        .extension()
        .is_some_and(|extension| EXTENSIONS.iter().any(|known| extension == *known));
    if text.starts_with("#!") || (executable && !yaml_name) {
        context.problems.file_error(
            path.display(),
            "this is an executable file: dynamic inventories are not read here",
            Some("write its hosts to a file: ansible-inventory -i SCRIPT --list --yaml > inventory.yaml".to_owned()),
        );
        return None;
    }
    let first = text
        .lines()
        .map(str::trim)
        .find(|line| !line.is_empty() && !line.starts_with(['#', ';']));
    let source = context
        .problems
        .sources
        .add(path.display().to_string(), text.clone());
    if let Some(line) = first.filter(|line| looks_like_ini(line)) {
        let start = text.find(line).unwrap_or(0);
        let span = crate::yaml::source::Span {
            source,
            start,
            end: start + line.len(),
        };
        context.problems.error(
            span,
            "this is an inventory in Ansible's INI format, which is not read here",
            "a section or host of INI",
            Some("convert it: ansible-inventory -i FILE --list --yaml > inventory.yaml".to_owned()),
        );
        return None;
    }
    let root = parse(source, &text, context)?;
    match &root.value {
        Value::Mapping(entries) if !entries.is_empty() => Some(root),
        _ => {
            let message = format!(
                "an inventory must be a mapping of groups, not {}",
                root.described()
            );
            let help = "begin with `all:`, and below it `children:` with the groups ca, daemons and clients";
            context
                .problems
                .error(root.span, message, "this", Some(help.to_owned()));
            None
        }
    }
}

/// `[daemons]` alone on a line, or a host with `name=value` behind it.
fn looks_like_ini(line: &str) -> bool {
    let section = line
        .strip_prefix('[')
        .and_then(|line| line.strip_suffix(']'));
    let is_section = section.is_some_and(|name| {
        !name.is_empty()
            && name
                .chars()
                .all(|character| character.is_alphanumeric() || "_-:.".contains(character))
    });
    let words: Vec<&str> = line.split_whitespace().collect();
    let is_host = words.get(1..).is_some_and(|rest| {
        !rest.is_empty()
            && rest
                .iter()
                .all(|word| word.contains('=') && !word.starts_with('='))
    });
    is_section || (is_host && !line.contains(": "))
}

/// Reads a file of variables. An empty one is no error.
pub(super) fn read_variables(path: &Path, context: &mut Context) -> Option<Node> {
    let text = read_text(path, context)?;
    let source = context
        .problems
        .sources
        .add(path.display().to_string(), text.clone());
    parse(source, &text, context)
}

/// A text that was read from nowhere: an `-e` argument.
pub(super) fn parse_argument(source: usize, text: &str, context: &mut Context) -> Option<Node> {
    parse(source, text, context)
}

fn parse(source: usize, text: &str, context: &mut Context) -> Option<Node> {
    if text.starts_with("$ANSIBLE_VAULT;") {
        let end = text.find(['\n', '\r']).unwrap_or(text.len());
        let span = crate::yaml::source::Span {
            source,
            start: 0,
            end,
        };
        context.problems.error(
            span,
            "this file is encrypted with ansible-vault, which is not read here",
            "encrypted",
            Some(
                "decrypt what is needed here into a file of its own, without the secrets"
                    .to_owned(),
            ),
        );
        return None;
    }
    let root = yaml::parse(source, text, context.problems);
    if root.is_none() && !context.problems.has_errors_in(source) {
        return Some(Node::null(crate::yaml::source::Span {
            source,
            start: 0,
            end: 0,
        }));
    }
    root
}

fn read_text(path: &Path, context: &mut Context) -> Option<String> {
    let whole = context.environment.directory.join(path);
    let name = path.display();
    let bytes = match context.environment.files.read(&whole, LARGEST) {
        Ok(bytes) => bytes,
        Err(error) => {
            context.problems.file_error(
                name,
                format!("`{}` cannot be read: {error}", path.display()),
                None,
            );
            return None;
        }
    };
    if bytes.len() > LARGEST {
        let help = Some("no inventory is that large: is this the right file?".to_owned());
        context.problems.file_error(
            name,
            format!("`{}` is larger than 8 MiB", path.display()),
            help,
        );
        return None;
    }
    match String::from_utf8(bytes) {
        Ok(text) => Some(
            text.strip_prefix('\u{feff}')
                .map(str::to_owned)
                .unwrap_or(text),
        ),
        Err(error) => {
            let byte = error.utf8_error().valid_up_to();
            let line = error
                .as_bytes()
                .iter()
                .take(byte)
                .filter(|byte| **byte == b'\n')
                .count()
                + 1;
            let help = Some("save the file as UTF-8".to_owned());
            let message = format!(
                "`{}` is not UTF-8 text: line {line}, byte {byte}",
                path.display()
            );
            context.problems.file_error(name, message, help);
            None
        }
    }
}

fn nearest_file(path: &Path, context: &Context) -> Option<String> {
    let names = context.environment.files.list(path.parent()?).ok()?;
    let name = path.file_name()?.to_str()?;
    super::names::nearest(name, names.iter().map(String::as_str)).map(str::to_owned)
}

/// The files of one directory of variables, `group_vars` or `host_vars`.
#[derive(Debug)]
pub(super) struct VariableFiles {
    directory: PathBuf,
    names: BTreeSet<String>,
    used: BTreeSet<String>,
}

impl VariableFiles {
    /// Looks into a directory beside the inventory.
    pub(super) fn beside(inventory: &Path, kind: &str, context: &mut Context) -> Self {
        let directory = inventory.parent().unwrap_or(Path::new("")).join(kind);
        let whole = context.environment.directory.join(&directory);
        let names =
            match context.environment.files.kind(&whole) {
                Ok(Some(FileKind::Directory)) => context
                    .environment
                    .files
                    .list(&whole)
                    .unwrap_or_else(|error| {
                        let message = format!("`{}` cannot be read: {error}", directory.display());
                        context
                            .problems
                            .file_error(directory.display(), message, None);
                        Vec::new()
                    }),
                _ => Vec::new(),
            };
        Self {
            directory,
            names: names.into_iter().collect(),
            used: BTreeSet::new(),
        }
    }

    /// The files for one group or host, in the order in which they count.
    pub(super) fn of(&mut self, name: &str, context: &mut Context) -> Vec<PathBuf> {
        let candidates = std::iter::once(name.to_owned()).chain(
            EXTENSIONS
                .iter()
                .map(|extension| format!("{name}.{extension}")),
        );
        let existing: Vec<String> = candidates
            .filter(|file| self.names.contains(file))
            .collect();
        self.used.extend(existing.iter().cloned());
        let Some((first, ignored)) = existing.split_first() else {
            return Vec::new();
        };
        for file in ignored {
            let file = self.directory.join(file);
            let help = format!(
                "Ansible reads only the first of the two, {}: put them into one",
                self.directory.join(first).display()
            );
            context.problems.file_warning(
                file.display(),
                format!("`{}` is not read", file.display()),
                Some(help),
            );
        }
        let path = self.directory.join(first);
        let mut found = Vec::new();
        collect(&path, 0, &mut found, context);
        found
    }

    /// Warns of files that belong to no group or host.
    pub(super) fn warn_of_unused(&self, kind: &str, known: &[&str], context: &mut Context) {
        for name in self.names.difference(&self.used) {
            let stem = EXTENSIONS
                .iter()
                .find_map(|extension| name.strip_suffix(&format!(".{extension}")))
                .unwrap_or(name);
            if name.starts_with('.') || name.ends_with('~') || known.contains(&stem) {
                continue;
            }
            let path = self.directory.join(name);
            let near = super::names::nearest(stem, known.iter().copied());
            let help = near.map(|near| format!("did you mean the {kind} `{near}`?"));
            let message = format!(
                "`{}` belongs to no {kind} of this inventory",
                path.display()
            );
            context.problems.file_warning(path.display(), message, help);
        }
    }
}

/// A file itself, or what is in a directory: visible names, sorted, with one of
/// the extensions or none.
fn collect(path: &Path, depth: usize, found: &mut Vec<PathBuf>, context: &mut Context) {
    let whole = context.environment.directory.join(path);
    match context.environment.files.kind(&whole) {
        Ok(Some(FileKind::File { .. })) => found.push(path.to_owned()),
        Ok(Some(FileKind::Directory)) if depth < DEEPEST => {
            for name in context.environment.files.list(&whole).unwrap_or_default() {
                let inner = path.join(&name);
                let extension = inner.extension().and_then(|extension| extension.to_str());
                let fits = extension.is_none_or(|extension| EXTENSIONS.contains(&extension));
                if fits && !name.starts_with('.') && !name.ends_with('~') {
                    collect(&inner, depth + 1, found, context);
                }
            }
        }
        Ok(_) => {}
        Err(error) => {
            let message = format!("`{}` cannot be read: {error}", path.display());
            context.problems.file_error(path.display(), message, None);
        }
    }
}
