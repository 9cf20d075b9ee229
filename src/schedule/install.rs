//! `schedule install`: tests the schedule first, then installs it.
//!
//! An existing schedule of this name stays unchanged until the test succeeds.

use std::net::TcpListener;
use std::path::{Path, PathBuf};

use super::account::Account;
use super::credential::{self, SealedPassphrase};
use super::error::ScheduleError;
use super::follow::follow;
use super::place::{self, Place, Schedule};
use super::reads::Reads;
use super::units::{Parts, limited};
use super::{cron, systemd};
use inventory::{ConnectionKind, Inventory};
use run::Exit;
use run::passphrase;

#[derive(Debug)]
pub struct Request<'a> {
    pub inventory: &'a Inventory,
    /// As the operator named it.
    pub path: &'a Path,
    pub name: String,
    pub user: String,
    pub on_calendar: String,
    /// In seconds.
    pub randomized_delay: u64,
    pub on_failure: Option<String>,
    /// Seconds to wait for another run's lock.
    pub wait: u64,
    /// Arguments of every command: variables, the agent's binary.
    pub common: Vec<String>,
    /// Only these hosts and groups.
    pub limit: Option<String>,
    /// Further arguments, only for runs.
    pub more: Vec<String>,
    pub passphrase: passphrase::Source,
    /// What a run reads, apart from program and inventory.
    pub reads: Reads,
}

/// Installs the schedule, or reports why not; `say` receives lines for people.
///
/// # Errors If it cannot be tested or written. A failed test is no error: the exit code is that of
/// the test.
pub fn install(request: &Request<'_>, say: &mut dyn FnMut(&str)) -> Result<u8, ScheduleError> {
    let inventory = std::path::absolute(request.path).map_err(ScheduleError::file(request.path))?;
    let program = std::env::current_exe().map_err(ScheduleError::file(Path::new("/proc/self")))?;
    let name = place::check(request.name.clone())?;
    let place = Place::of(&name);
    if let Err(error) = systemd::check() {
        let file = place.credential(false, false);
        let waiting = ["--wait".to_owned(), request.wait.to_string()];
        let arguments: Vec<String> = waiting
            .into_iter()
            .chain(request.common.iter().cloned())
            .chain(request.limit.as_deref().map(limited))
            .chain(request.more.iter().cloned())
            .collect();
        let advice = cron::advice(
            &request.user,
            &file.display().to_string(),
            &program.display().to_string(),
            &inventory.display().to_string(),
            &arguments,
        );
        if let Some(advice) = advice {
            say(&advice);
        }
        return Err(error);
    }
    if !rustix::process::geteuid().is_root() {
        return Err(ScheduleError::NotRoot);
    }
    let account = Account::find(&request.user)?;
    account.check(&program)?;
    account.check(&inventory)?;
    request.reads.check(&account)?;
    systemd::check_calendar(&request.on_calendar)?;
    let before = place.record()?;
    if let Some(record) = before.filter(|record| record.inventory != inventory) {
        return Err(ScheduleError::Taken {
            name,
            inventory: record.inventory,
        });
    }
    if holds_authority(request.inventory) {
        say(&advise_own_machine(request.inventory));
    }
    let passphrase = passphrase::obtain(&request.passphrase, false)?;
    let kept = credential::seal(&passphrase);
    let state = account.state();
    let parts = Parts {
        name: &name,
        place: &place,
        user: &account.name,
        state: &state,
        program: &program.display().to_string(),
        inventory: &inventory.display().to_string(),
        authority: &request.inventory.ca().name,
        common: &request.common,
        limit: request.limit.as_deref(),
        more: &request.more,
        wait: request.wait,
        on_calendar: &request.on_calendar,
        randomized_delay: request.randomized_delay,
        on_failure: request.on_failure.as_deref(),
        local: is_local(request.inventory),
        encrypted: kept.encrypted,
    };
    account.make_state()?;
    let code = attempt(&parts, &kept, say)?;
    if code != 0 {
        say(&format!(
            "not installed: the trial failed, as the first run would. It ran as {}, with that account's SSH key, known_hosts and ~/.ssh/config, and without a terminal or an SSH agent; --user names another account",
            account.name
        ));
        return Ok(code);
    }
    write_units(&parts)?;
    place.keep(&Schedule {
        name: name.clone(),
        inventory,
        user: account.name.clone(),
        on_calendar: request.on_calendar.clone(),
        encrypted: kept.encrypted,
    })?;
    systemd::systemctl(&["daemon-reload"])?;
    let timer = place.timer();
    systemd::systemctl(&["enable", "--quiet", "--", &timer])?;
    // An active timer would keep its old times.
    systemd::systemctl(&["restart", "--", &timer])?;
    installed(&parts, say)?;
    Ok(Exit::Fine as u8)
}

fn is_local(inventory: &Inventory) -> bool {
    inventory
        .hosts
        .iter()
        .any(|host| host.connection.kind == ConnectionKind::Local)
}

/// Whether the CA's node is this machine: only a local address can be listened on.
fn holds_authority(inventory: &Inventory) -> bool {
    let connection = &inventory.ca().connection;
    connection.kind == ConnectionKind::Local
        || TcpListener::bind((connection.address.as_str(), 0)).is_ok()
}

fn advise_own_machine(inventory: &Inventory) -> String {
    format!(
        "warning: this machine is {}, the CA's node. A schedule can become root on every host of the inventory: here that lies beside the CA's key and its passphrase, and anyone who takes over this machine has both. A machine of its own is better for it",
        inventory.ca().name
    )
}

/// Starts a unit that is like the later one and changes nothing; gives its
/// exit code. What it needed stays only when it ended well.
fn attempt(
    parts: &Parts<'_>,
    kept: &SealedPassphrase,
    say: &mut dyn FnMut(&str),
) -> Result<u8, ScheduleError> {
    let place = parts.place;
    let trial = place.trial();
    let path = place.unit_path(&trial);
    let staged = place.credential(kept.encrypted, true);
    let is_new = place.make()?;
    let mut work = || {
        kept.write(&staged)?;
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory).map_err(ScheduleError::file(directory))?;
        }
        place::write(&path, parts.trial()?.as_bytes(), 0o644)?;
        systemd::systemctl(&["daemon-reload"])?;
        say(&format!("trial in {trial}:"));
        let ending = follow(&trial, &mut |line| say(&format!("  {line}")))?;
        if ending.code != 0 {
            say(&format!("the trial ended with {}", ending.text));
        }
        Ok(ending.code)
    };
    let result = work();
    let _ = std::fs::remove_file(&path);
    let _ = systemd::systemctl(&["daemon-reload"]);
    let _ = systemd::systemctl(&["reset-failed", "--", &trial]);
    if result.as_ref().is_ok_and(|code| *code == 0) {
        let target = place.credential(kept.encrypted, false);
        std::fs::rename(&staged, &target).map_err(ScheduleError::file(&target))?;
        // A passphrase stored in the other form is no longer needed.
        let _ = std::fs::remove_file(place.credential(!kept.encrypted, false));
    } else {
        let _ = std::fs::remove_file(&staged);
        if is_new {
            place.remove()?;
        }
    }
    result
}

fn write_units(parts: &Parts<'_>) -> Result<(), ScheduleError> {
    let place = parts.place;
    let unit =
        |name: String, text: String| place::write(&place.unit_path(&name), text.as_bytes(), 0o644);
    unit(place.service(), parts.service()?)?;
    unit(place.timer(), parts.timer()?)?;
    if let Some(text) = parts.failed()? {
        return unit(place.failed(), text);
    }
    remove(&place.unit_path(&place.failed()))
}

/// A missing file counts as removed.
pub(super) fn remove(path: &PathBuf) -> Result<(), ScheduleError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(ScheduleError::file(path)(error))
        }
        _ => Ok(()),
    }
}

fn installed(parts: &Parts<'_>, say: &mut dyn FnMut(&str)) -> Result<(), ScheduleError> {
    let shown = systemd::show(&parts.place.timer())?;
    let next = shown.get("NextElapseUSecRealtime");
    say(&format!(
        "installed: the schedule {}, as {}",
        parts.name, parts.user
    ));
    say(&format!(
        "  next run    {}",
        next.map_or("unknown", String::as_str)
    ));
    say(if parts.encrypted {
        "  passphrase  a systemd credential, encrypted with this machine's key"
    } else {
        "  passphrase  a systemd credential from a file that only root reads; this machine's systemd cannot encrypt it"
    });
    if parts.local {
        say(
            "  sandbox     none: the inventory has hosts with ansible_connection: local, and the runs change this machine",
        );
    }
    if parts.on_failure.is_some() {
        say(&format!(
            "  on failure  {0}; try it now: systemctl start '{0}'",
            parts.place.failed()
        ));
    }
    Ok(())
}
