//! Starts a run from arguments: reads inventory and playbook, asks for passwords, catches signals.

use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;

use time::UtcOffset;

use super::arguments::Common;
use super::book::{Book, load_playbook};
use super::reports::Reports;
use super::{limits, untrusted};
use crate::terminal::Terminal;
use base::event::{ErrorKind, Event};
use base::file;
use base::secret::Secret;
use inventory::{self, Environment, Inventory};
use node::SshContext;
use plan::check_issued_names;
use plan::host::guard;
use plan::playbook::{Playbook, Renewals};
use run::agent::Program;
use run::interrupt::{self, Interrupt, Signals};
use run::journal::Journal;
use run::look::Look;
use run::passphrase::check_source;
use run::session::Passwords;
use run::{Exit, Options, Run, RunError, run_id};

/// Maximum bytes.
const LARGEST_SSH_CONFIG: u64 = 4 << 20;

/// The playbook that replaces the CA automatically, if the inventory enables that and this run of
/// rotate.yaml covers all hosts.
fn rotation(
    book: &Book,
    common: &Common,
    inventory: &Inventory,
    reports: &Reports,
) -> Result<Option<Playbook>, Exit> {
    let is_asked = inventory.ca().settings.auto_ca_rollover;
    if !is_asked || !matches!(book, Book::Rotate(Renewals::Due)) || !common.selection.is_whole() {
        return Ok(None);
    }
    let begins = Book::Rotation {
        begins: true,
        destroys_old: false,
        abandon: Vec::new(),
    };
    let mut rotation = load_playbook(&begins, inventory, reports)?;
    rotation.keeps_windows = true;
    Ok(Some(rotation))
}

pub(super) fn run(
    path: &Path,
    common: &Common,
    book: &Book,
    options: &Options,
    journal: &Journal,
) -> Exit {
    attempt(path, common, book, options, journal).unwrap_or_else(|exit| exit)
}

fn attempt(
    path: &Path,
    common: &Common,
    book: &Book,
    options: &Options,
    journal: &Journal,
) -> Result<Exit, Exit> {
    // Before other threads exist that could change the environment while it is read.
    let zone = UtcOffset::current_local_offset().unwrap_or(UtcOffset::UTC);
    // Leftovers of earlier runs are not shown with an untrusted inventory.
    let off = Journal::off();
    let journal = if common.untrusted { &off } else { journal };
    if common.untrusted {
        limits::bound();
    }
    let reports = Reports::new(path, common, journal)?;
    untrusted::refuse(common, book, options, &reports)?;
    let mut inventory = load_inventory(path, common, &reports)?;
    if let Book::Rotation { abandon, .. } | Book::Revoke { abandon, .. } = book {
        for name in abandon {
            inventory.leave_out(name);
        }
    }
    let mut playbook = load_playbook(book, &inventory, &reports)?;
    playbook.allowed.clone_from(&options.allowed);
    if playbook.goes_back()
        && let Some(directory) = run::journal::directory(|name| std::env::var_os(name))
    {
        playbook.own_runs = run::journal::record::undoable(&directory);
        playbook.last_run = run::journal::record::last_changing(&directory, path);
    }
    with_guard(&mut playbook, &inventory);
    untrusted::refuse_templates(common, &playbook, &reports)?;
    select(common, &mut playbook, &inventory, &reports)?;
    check_source(&options.passphrase).map_err(|error| {
        let error = RunError::from(error);
        reports.all.emit(Event::Error(error.event()));
        error.exit()
    })?;
    let rotation = rotation(book, common, &inventory, &reports)?;
    let events = reports.all.clone();
    let context = ssh_context(common, book.changes(options), &reports)?;
    let runtime = runtime(&reports)?;
    let interrupt = Interrupt::default();
    let found = Terminal::remember();
    listen(&runtime, &interrupt, &found, journal, &reports)?;
    let passwords = asked_passwords(common, &reports)?;
    let options = &Options {
        passwords,
        ..options.clone()
    };
    let run = Run {
        id: run_id(time::OffsetDateTime::now_utc()),
        zone,
        inventory: &inventory,
        playbook: &playbook,
        rotation: rotation.as_ref(),
        options,
        context: &context,
        events: &events,
        journal,
        interrupt: &interrupt,
    };
    let result = runtime.block_on(async {
        match book {
            Book::Access { needs_authority } => run.check_access(*needs_authority).await,
            Book::Authority(task) => run.authority(task).await,
            Book::Revoke { options, .. } => run.revoke(options).await,
            Book::Shipped(_) | Book::File(_) | Book::Rotate(_) | Book::Rotation { .. } => {
                run.execute().await
            }
        }
    });
    // An unanswered prompt must not keep the program from exiting.
    runtime.shutdown_background();
    found.restore();
    let exit = result.unwrap_or_else(|error| {
        events.emit(Event::Error(error.event()));
        error.exit()
    });
    journal.finish();
    Ok(exit)
}

/// The guard's program, if a daemon has a guard.
fn with_guard(playbook: &mut Playbook, inventory: &inventory::Inventory) {
    if inventory.daemons().any(inventory::Host::is_guarded) {
        playbook.guard = Program::guard().map(guard::Program::new);
    }
}

/// Reduces the playbook to the selection, and prints lists that replace a run.
fn select(
    common: &Common,
    playbook: &mut Playbook,
    inventory: &Inventory,
    reports: &Reports,
) -> Result<(), Exit> {
    common
        .selection
        .apply(playbook, inventory)
        .map_err(|error| {
            reports.selection(error.to_string(), error.hint());
            Exit::Usage
        })?;
    if common.selection.is_list() {
        common.selection.print(playbook, inventory);
        return Err(Exit::Fine);
    }
    Ok(())
}

/// Asks once for all hosts, before any connection waits. As in Ansible, sudo's password defaults to
/// the login's.
pub(super) fn ask_passwords(common: &Common) -> std::io::Result<Passwords> {
    let ask = |question: &str| rpassword::prompt_password(question).map(Secret::from);
    let login = common.ask_pass.then(|| ask("SSH password: ")).transpose()?;
    let r#become = match (&login, common.ask_become_pass) {
        (_, false) => None,
        (None, true) => Some(ask("sudo password: ")?),
        (Some(login), true) => {
            let typed = ask("sudo password (empty: the SSH password): ")?;
            Some(if typed.is_empty() {
                login.clone()
            } else {
                typed
            })
        }
    };
    Ok(Passwords { login, r#become })
}

pub(super) fn asked_passwords(common: &Common, reports: &Reports) -> Result<Passwords, Exit> {
    ask_passwords(common).map_err(|error| {
        let message = "a password is to be asked for, and the prompt failed: --ask-pass and --ask-become-pass need a terminal; an inventory can hold ansible_password and ansible_become_password".to_owned();
        reports.error(ErrorKind::Usage, "ask for passwords", message, &error);
        Exit::Usage
    })
}

/// From now on a signal requests an orderly end, and a second one exits at once.
pub(super) fn listen(
    runtime: &tokio::runtime::Runtime,
    interrupt: &Interrupt,
    found: &Terminal,
    journal: &Journal,
    reports: &Reports,
) -> Result<(), Exit> {
    let signals = {
        let _guard = runtime.enter();
        Signals::catch()
    };
    let signals = signals.map_err(|error| {
        let message = "signals cannot be caught".to_owned();
        reports.error(ErrorKind::Internal, "start", message, &error);
        Exit::Internal
    })?;
    let (interrupt, events) = (interrupt.clone(), reports.all.clone());
    let (found, journal) = (found.clone(), journal.clone());
    runtime.spawn(async move {
        interrupt::listen(signals, interrupt, events).await;
        journal.finish();
        found.restore();
        std::process::exit(Exit::Interrupted as i32);
    });
    Ok(())
}

/// Reads the nodes of a shipped playbook without changing anything; an interruption ends it at
/// once.
pub(super) fn look<T>(
    path: &Path,
    common: &Common,
    playbook: &'static str,
    reports: &Reports,
    look: impl AsyncFnOnce(Look<'_>) -> T,
) -> Result<T, Exit> {
    untrusted::refuse_command(common, reports)?;
    let inventory = load_inventory(path, common, reports)?;
    let mut playbook = load_playbook(&Book::Shipped(playbook), &inventory, reports)?;
    with_guard(&mut playbook, &inventory);
    select(common, &mut playbook, &inventory, reports)?;
    let runtime = runtime(reports)?;
    let (interrupt, terminal) = (Interrupt::default(), Terminal::remember());
    listen(&runtime, &interrupt, &terminal, &Journal::off(), reports)?;
    let passwords = asked_passwords(common, reports)?;
    let context = ssh_context(common, false, reports)?;
    let looking = look(Look {
        run: Look::new_name(),
        inventory: &inventory,
        playbook: &playbook,
        context: &context,
        passwords: &passwords,
        deadlines: common.deadlines(),
        forks: common.forks.into(),
        events: &reports.all,
    });
    let found = runtime.block_on(interrupt.or(looking));
    // An unanswered prompt must not keep the program from exiting.
    runtime.shutdown_background();
    terminal.restore();
    found.ok_or(Exit::Interrupted)
}

/// The runtime of every command that connects to nodes.
fn runtime(reports: &Reports) -> Result<tokio::runtime::Runtime, Exit> {
    base::randomness::prepare();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    runtime.map_err(|error| {
        let message = "the runtime cannot be started".to_owned();
        reports.error(ErrorKind::Internal, "start", message, &error);
        Exit::Internal
    })
}

/// Reads the inventory, and reports its errors.
pub(super) fn load_inventory(
    path: &Path,
    common: &Common,
    reports: &Reports,
) -> Result<Inventory, Exit> {
    let environment = Environment {
        untrusted: common.untrusted,
        ..Environment::of_process()
    };
    match inventory::load(path, &common.extra_vars, &environment) {
        Ok(inventory) => {
            reports.problems(ErrorKind::Inventory, "the inventory", &inventory.warnings);
            if let Some(text) = open_to_others(path) {
                reports.all.emit(Event::Warning { host: None, text });
            }
            if let Err(refusal) = check_issued_names(&inventory) {
                reports.refusal(ErrorKind::Inventory, "read the inventory", refusal);
                return Err(Exit::Usage);
            }
            Ok(inventory)
        }
        Err(errors) => {
            let mut what = format!("the inventory {}", errors.inventory);
            if is_of_environment(path) {
                what.push_str(", which DTLS_INVENTORY names");
            }
            reports.problems(ErrorKind::Inventory, &what, &errors.problems);
            Err(Exit::Usage)
        }
    }
}

/// Whether the variable, and no word of the command line, names the inventory.
fn is_of_environment(path: &Path) -> bool {
    let named = std::env::var_os("DTLS_INVENTORY");
    let is_word = |word: OsString| word.to_string_lossy().contains(&*path.to_string_lossy());
    named.is_some_and(|named| named == path) && !std::env::args_os().skip(1).any(is_word)
}

/// Whether every local account can change the inventory, which decides what runs as root.
fn open_to_others(path: &Path) -> Option<String> {
    let path = path.canonicalize().ok()?;
    let is_open = |path: &&Path| {
        let mode = path.metadata().map_or(0, |found| found.mode());
        mode & 0o002 != 0 && mode & 0o1000 == 0
    };
    let open = path.ancestors().find(is_open)?.display().to_string();
    Some(format!(
        "every account of this machine can write {open}, and who changes an inventory becomes root on its hosts: chmod o-w {}",
        base::shell::quote(&open)
    ))
}

/// Asks for the passphrases of keys if there is a terminal.
pub(super) fn ssh_context(
    common: &Common,
    changes: bool,
    reports: &Reports,
) -> Result<SshContext, Exit> {
    let context = SshContext::from_environment()
        .with_host_key_checking(common.checking())
        .with_known_hosts(common.known_hosts.clone());
    let context = if changes {
        context
    } else {
        context.without_recording()
    };
    let context = context.with_prompt(Arc::new(|request| {
        if !std::io::stdin().is_terminal() {
            return None;
        }
        let question = format!("Passphrase of {}: ", request.path.display());
        rpassword::prompt_password(question).ok().map(Into::into)
    }));
    let Some(file) = &common.ssh_config else {
        return Ok(context);
    };
    // Otherwise `ssh -G` would report the error for every host again.
    if let Err(error) = file::read(file, LARGEST_SSH_CONFIG) {
        let message = format!("--ssh-config: {} cannot be read", file.display());
        reports.error(
            ErrorKind::Usage,
            "read the SSH configuration",
            message,
            &error,
        );
        return Err(Exit::Usage);
    }
    Ok(context.with_config_file(file.clone()))
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn an_inventory_that_everyone_can_change_is_named() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("lab");
        fs::create_dir(&directory).unwrap();
        let file = directory.join("hosts.yaml");
        fs::write(&file, "").unwrap();
        let said = |file_mode, directory_mode| {
            fs::set_permissions(&file, Permissions::from_mode(file_mode)).unwrap();
            fs::set_permissions(&directory, Permissions::from_mode(directory_mode)).unwrap();
            super::open_to_others(&file)
        };
        assert_eq!(said(0o644, 0o755), None);
        assert_eq!(said(0o664, 0o1777), None, "a group's own, and /tmp");
        let file_open = said(0o666, 0o755).unwrap();
        assert!(file_open.contains("hosts.yaml, and"), "{file_open}");
        let directory_open = said(0o644, 0o777).unwrap();
        assert!(directory_open.contains("/lab, and"), "{directory_open}");
    }
}
