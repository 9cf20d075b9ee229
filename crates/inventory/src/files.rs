//! Files next to an inventory: which are read, and what they may contain.
//!
//! The search in `group_vars/` and `host_vars/` is that of Ansible's `DataLoader.find_vars_files`:
//! the name alone (a file or a directory), then with .yml, .yaml, .json, and the first that exists.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::convert::Context;
use super::environment::Place;
use crate::yaml;
use crate::yaml::node::{Entry, Node, Value};
use crate::yaml::source::{Span, quoted};
use base::file::{FileFault, FileKind};
use base::shell;

/// Maximum bytes of a file.
const LARGEST: u64 = 8 << 20;
const DEEPEST: usize = 16;
/// How a file of ansible-vault begins.
const ENCRYPTED: &str = "$ANSIBLE_VAULT;";
/// How an inventory begins.
const BEGINNING: &str =
    "begin with `all:`, and below it `children:` with the groups ca, daemons and clients";
/// Names in a hint.
const MOST_NAMED: usize = 5;
const EXTENSIONS: [&str; 3] = ["yml", "yaml", "json"];

/// Who names a file.
#[derive(Debug, Clone, Copy)]
pub(super) enum By<'a> {
    Operator,
    /// The inventory of this path: the file lies beneath its directory.
    Inventory(&'a Path),
}

impl By<'_> {
    /// What is done with the file of a path, seen from the directory of the run.
    fn at<T>(self, path: &Path, context: &Context, act: impl FnOnce(Place<'_>) -> T) -> T {
        let whole = context.environment.directory.join(path);
        match self {
            Self::Operator => act(Place::Named(&whole)),
            Self::Inventory(inventory) => {
                let beside = inventory.parent().unwrap_or(Path::new(""));
                let directory = context.environment.directory.join(beside);
                // A path that is not beneath it stays whole, and is refused.
                let path = whole.strip_prefix(&directory).unwrap_or(&whole);
                let directory = &directory;
                act(Place::Beneath { directory, path })
            }
        }
    }

    fn kind(self, path: &Path, context: &Context) -> Result<Option<FileKind>, FileFault> {
        self.at(path, context, |place| context.environment.files.kind(place))
    }

    fn list(self, path: &Path, context: &Context) -> Result<Vec<String>, FileFault> {
        self.at(path, context, |place| context.environment.files.list(place))
    }

    fn read(self, path: &Path, context: &Context) -> Result<Vec<u8>, FileFault> {
        let files = &context.environment.files;
        self.at(path, context, |place| files.read(place, LARGEST))
    }
}

/// Reads the inventory file itself; none with at least one error reported.
pub(super) fn read_inventory(path: &Path, context: &mut Context) -> Option<Node> {
    let executable = is_executable(path, context)?;
    let text = read_text(path, By::Inventory(path), context)?;
    let yaml_name = path
        .extension()
        .is_some_and(|extension| EXTENSIONS.iter().any(|known| extension == *known));
    if text.starts_with("#!") || (executable && !yaml_name) {
        context.problems.file_error(
            path.display(),
            "this is an executable file: dynamic inventories are not read here",
            Some(format!("write its hosts to a file: {}", conversion(path))),
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
        .add(&path.display().to_string(), text.clone());
    if let Some(line) = first.filter(|line| looks_like_ini(line)) {
        let start = text.find(line).unwrap_or(0);
        let span = Span {
            source,
            start,
            end: start + line.len(),
        };
        context.problems.shape_error(
            span,
            "this is an inventory in Ansible's INI format, which is not read here",
            Some(format!("convert it: {}", conversion(path))),
        );
        return None;
    }
    let root = parse(source, &text, context)?;
    match &root.value {
        Value::Mapping(entries) if !entries.is_empty() => {
            recognize(source, entries, "group", context)?;
            names_groups(root.span, entries, context)?;
            Some(root)
        }
        _ => {
            let (message, help) = if root.is_list_of_plays() {
                (
                    "this is a playbook, not an inventory".to_owned(),
                    "name the inventory first, then the playbook",
                )
            } else {
                (
                    if root.is_null() {
                        "this inventory is empty".to_owned()
                    } else {
                        let kind = root.kind();
                        format!("an inventory must be a mapping of groups, not {kind}")
                    },
                    BEGINNING,
                )
            };
            context
                .problems
                .shape_error(root.span, message, Some(help.to_owned()));
            None
        }
    }
}

/// Marks a mapping as the expected kind of file, so that parts of it may be shown; none if an error
/// was reported. /etc/group and /etc/shadow are valid YAML mappings too: only their names
/// distinguish them from variables.
fn recognize(source: usize, entries: &[Entry], kind: &str, context: &mut Context) -> Option<()> {
    let fits = |character: char| character.is_alphanumeric() || "_-. ".contains(character);
    let strange = entries
        .iter()
        .find(|entry| entry.key.text.len() > 100 || !entry.key.text.chars().all(fits));
    let Some(strange) = strange else {
        context.problems.sources.recognize(source);
        return Some(());
    };
    let message = format!("this is not the name of a {kind}");
    let help = Some("a name has letters, digits, `_`, `-` and `.`".to_owned());
    context
        .problems
        .shape_error(strange.key_span, message, help);
    None
}

/// The command that converts an inventory of another format.
fn conversion(path: &Path) -> String {
    let target = match path.file_name() {
        Some(name) if name == "inventory.yaml" => "converted.yaml",
        _ => "inventory.yaml",
    };
    let path = word(path);
    format!("ansible-inventory -i {path} --list --yaml > {target}")
}

/// A path in a command that can be pasted.
fn word(path: &Path) -> String {
    let path = path.display().to_string();
    shlex::try_quote(&path).map_or_else(|_| shell::quote(&path), Into::into)
}

/// What to name instead of this directory.
fn files_in(directory: &Path, context: &Context) -> String {
    let mut names = By::Operator.list(directory, context).unwrap_or_default();
    names.retain(|name| {
        let extension = Path::new(name).extension();
        extension.is_some_and(|extension| EXTENSIONS.iter().any(|known| extension == *known))
    });
    let names: Vec<String> = names
        .iter()
        .take(MOST_NAMED)
        .map(|name| quoted(&directory.join(name).display().to_string()))
        .collect();
    if names.is_empty() {
        "name one YAML file; there is none in this directory".to_owned()
    } else {
        format!("name one YAML file, such as {}", names.join(", "))
    }
}

/// Compose files, manifests and workflows are mappings too. None if an error was reported.
fn names_groups(span: Span, entries: &[Entry], context: &mut Context) -> Option<()> {
    const GROUPS: [&str; 5] = ["all", "ungrouped", "ca", "daemons", "clients"];
    const PARTS: [&str; 3] = ["hosts", "children", "vars"];
    let is_group = |entry: &Entry| match &entry.node.value {
        Value::Mapping(parts) => {
            parts.is_empty() || parts.iter().any(|part| PARTS.contains(&&*part.key.text))
        }
        _ => entry.node.is_null(),
    };
    // Parts outside of a group and dynamic inventories have errors of their own.
    let is_known = |entry: &Entry| {
        let name = &*entry.key.text;
        GROUPS.contains(&name) || PARTS.contains(&name) || name == "plugin"
    };
    if entries
        .iter()
        .any(|entry| is_known(entry) || is_group(entry))
    {
        return Some(());
    }
    context.problems.shape_error(
        span,
        "this is not an inventory: it has no group",
        Some(BEGINNING.to_owned()),
    );
    None
}

/// Whether the inventory has an execute bit; none with an error reported.
fn is_executable(path: &Path, context: &mut Context) -> Option<bool> {
    let (message, help) = match By::Inventory(path).kind(path, context) {
        Ok(Some(FileKind::File { executable })) => return Some(executable),
        Ok(Some(FileKind::Directory)) => (
            "this inventory is a directory".to_owned(),
            Some(files_in(path, context)),
        ),
        Ok(None) => {
            let text = path.to_string_lossy();
            let help = if text.contains("://") {
                Some("dtls-deploy reads a file: download it first".to_owned())
            } else if text.contains(',') {
                Some(
                    "name one YAML file: lists of hosts or of inventories are not read here"
                        .to_owned(),
                )
            } else {
                nearest_file(path, context)
                    .map(|near| format!("there is `{near}` in that directory"))
            };
            let message = format!("the inventory `{}` does not exist", path.display());
            (message, help)
        }
        Err(fault) => {
            let help = matches!(fault, FileFault::Outside)
                .then(|| "name the file that the link leads to".to_owned());
            (format!("the inventory cannot be read: {fault}"), help)
        }
    };
    context.problems.file_error(path.display(), message, help);
    None
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

/// Reads a file of variables; none with an error reported. An empty one is no
/// error.
pub(super) fn read_variables(path: &Path, by: By, context: &mut Context) -> Option<Node> {
    let text = read_text(path, by, context)?;
    if matches!(by, By::Inventory(_)) && text.starts_with(ENCRYPTED) {
        // Usually secrets of other programs: a required variable that is missing is reported by
        // name.
        let message = format!(
            "`{}` is encrypted with ansible-vault: its variables are not read",
            path.display()
        );
        let help =
            "if something is needed here, write it into a file of its own, without the secrets";
        context
            .problems
            .file_warning(path.display(), message, Some(help.to_owned()));
        return None;
    }
    let source = context
        .problems
        .sources
        .add(&path.display().to_string(), text.clone());
    let root = parse(source, &text, context)?;
    if root.is_null() {
        return Some(root);
    }
    if let Value::Mapping(entries) = &root.value {
        recognize(source, entries, "variable", context)?;
        return Some(root);
    }
    let message = format!("variables must be a mapping, not {}", root.kind());
    let help = Some("write one `name: value` per line".to_owned());
    context.problems.shape_error(root.span, message, help);
    None
}

/// A text that was read from nowhere: an `-e` argument.
pub(super) fn parse_argument(source: usize, text: &str, context: &mut Context) -> Option<Node> {
    parse(source, text, context)
}

fn parse(source: usize, text: &str, context: &mut Context) -> Option<Node> {
    if text.starts_with(ENCRYPTED) {
        let span = Span {
            source,
            start: 0,
            end: 0,
        };
        context.problems.shape_error(
            span,
            "this file is encrypted with ansible-vault, which is not read here",
            Some(
                "decrypt what is needed here into a file of its own, without the secrets"
                    .to_owned(),
            ),
        );
        return None;
    }
    let root = yaml::parse(source, text, context.problems);
    if root.is_none() && !context.problems.has_errors_in(source) {
        return Some(Node::null(Span {
            source,
            start: 0,
            end: 0,
        }));
    }
    root
}

fn read_text(path: &Path, by: By, context: &mut Context) -> Option<String> {
    let name = path.display();
    let bytes = match by.read(path, context) {
        Ok(bytes) => bytes,
        Err(fault) => {
            unreadable(path, &fault, context);
            return None;
        }
    };
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

/// Reports why a file next to an inventory, or one of the operator's, cannot be read.
fn unreadable(path: &Path, fault: &FileFault, context: &mut Context) {
    let help = match fault {
        FileFault::Outside => {
            Some("copy the file there, or name it on the command line: -e @FILE".to_owned())
        }
        FileFault::TooLarge(_) => {
            Some("no inventory is that large: is this the right file?".to_owned())
        }
        FileFault::Io(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            let path = word(path);
            Some(format!(
                "its owner and mode, and your account: ls -l {path}; id"
            ))
        }
        _ => None,
    };
    let message = match fault {
        FileFault::Outside => format!(
            "`{}` is not read: a symbolic link leads out of the inventory's directory",
            path.display()
        ),
        fault => format!("`{}` cannot be read: {fault}", path.display()),
    };
    context.problems.file_error(path.display(), message, help);
}

fn nearest_file(path: &Path, context: &Context) -> Option<String> {
    let names = By::Operator.list(path.parent()?, context).ok()?;
    let name = path.file_name()?.to_str()?;
    super::names::nearest(name, names.iter().map(String::as_str)).map(str::to_owned)
}

/// The files of one directory of variables, `group_vars` or `host_vars`.
#[derive(Debug)]
pub(super) struct VariableFiles<'a> {
    by: By<'a>,
    directory: PathBuf,
    names: BTreeSet<String>,
    used: BTreeSet<String>,
}

impl<'a> VariableFiles<'a> {
    /// Looks into a directory beside the inventory.
    pub(super) fn beside(inventory: &'a Path, kind: &str, context: &mut Context) -> Self {
        let directory = inventory.parent().unwrap_or(Path::new("")).join(kind);
        let by = By::Inventory(inventory);
        let names = match by.kind(&directory, context) {
            Ok(Some(FileKind::Directory)) => by.list(&directory, context),
            Ok(_) => Ok(Vec::new()),
            Err(fault) => Err(fault),
        };
        let names = names.unwrap_or_else(|fault| {
            unreadable(&directory, &fault, context);
            Vec::new()
        });
        Self {
            by,
            directory,
            names: names.into_iter().collect(),
            used: BTreeSet::new(),
        }
    }

    /// The variables in a file that [`Self::of`] has found.
    pub(super) fn read(&self, file: &Path, context: &mut Context) -> Option<Node> {
        read_variables(file, self.by, context)
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
        collect(&path, self.by, 0, &mut found, context);
        found
    }

    /// Warns about files that belong to no group or host.
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
fn collect(path: &Path, by: By, depth: usize, found: &mut Vec<PathBuf>, context: &mut Context) {
    let names = match by.kind(path, context) {
        Ok(Some(FileKind::File { .. })) => {
            found.push(path.to_owned());
            return;
        }
        Ok(Some(FileKind::Directory)) if depth < DEEPEST => by.list(path, context),
        Ok(_) => return,
        Err(fault) => Err(fault),
    };
    let names = match names {
        Ok(names) => names,
        Err(fault) => return unreadable(path, &fault, context),
    };
    for name in names {
        let inner = path.join(&name);
        let extension = inner.extension().and_then(|extension| extension.to_str());
        let fits = extension.is_none_or(|extension| EXTENSIONS.contains(&extension));
        if fits && !name.starts_with('.') && !name.ends_with('~') {
            collect(&inner, by, depth + 1, found, context);
        }
    }
}
