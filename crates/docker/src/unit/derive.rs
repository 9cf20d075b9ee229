//! Derives dtls-deploy's drop-in from the unit's files.

use std::collections::BTreeMap;

use super::own::{
    OPERATORS_DROP_IN, is_own, is_unedited, marked, remembered_hosts, unmarked, with_exec_start,
    without_exec_start,
};
use super::syntax::{file_name, plain, split_words, variable_of, words_of_value, written};
use super::{
    DropIn, Listening, OwnDropIn, UnitError, UnitFile, exec_starts, is_local, take_hosts, take_tls,
    with_scheme,
};

/// Derives the drop-in.
///
/// `files` are the unit file and its drop-ins in systemd's order, including the own one at
/// `own_path` if it exists: its `ExecStart` counts like any other (the `-H` arguments are replaced
/// in any case), and everything else in it is an operator's (`systemctl edit` writes to
/// override.conf) and stays. If the unit itself starts a different dockerd than the own drop-in,
/// docker has been installed from another package since, and the unit counts. `environment` holds
/// the variables of the unit's environment files.
pub fn derive(
    files: &[UnitFile],
    own_path: &str,
    environment: &BTreeMap<String, String>,
    wanted: &Listening,
) -> Result<DropIn, UnitError> {
    let own_name = file_name(own_path);
    let Base {
        words,
        former,
        mut notes,
    } = base(files, own_path, wanted)?;
    let Some((program, arguments)) = words.split_first() else {
        return Err(UnitError::NoExecStart);
    };
    // "@" makes the next word argv[0]: not a unit that is dockerd's own.
    let executable = plain(program);
    let executable = executable.trim_start_matches(['-', ':', '+', '!']);
    if executable.starts_with('@') || file_name(executable) != "dockerd" {
        return Err(UnitError::NotDockerd(executable.to_owned()));
    }
    let Taken {
        mut hosts,
        kept,
        tls: taken,
    } = take(arguments, environment, &mut notes)?;
    if !taken.is_empty() && wanted.tls.is_empty() {
        notes.push(format!(
            "{} leave the unit's command line: TLS is set in daemon.json",
            taken.join(" ")
        ));
    }

    // The own drop-in would hide one of the same name in /run or /usr/lib.
    let own = files
        .iter()
        .find(|file| file.path == own_path)
        .or_else(|| files.iter().find(|file| file_name(&file.path) == own_name));
    let own = own.map(|file| file.text.as_str());
    let remembered = if wanted.from_settings.is_empty() {
        remembered_hosts(own.unwrap_or_default())
    } else {
        wanted.from_settings.clone()
    };
    let mut line = vec![program.clone()];
    line.extend(listening_flags(&hosts, &remembered, wanted));
    line.extend(wanted.tls.iter().cloned());
    line.extend(kept);
    let exec_start = line.join(" ");

    let own = own.unwrap_or_default();
    let mut text = with_exec_start(&unmarked(own), &exec_start, &remembered);
    let is_new = own.is_empty() && own_name != OPERATORS_DROP_IN;
    if is_new || (is_own(own) && wanted.own != OwnDropIn::Edited) {
        text = marked(&text);
    }
    hosts.extend(former);
    hosts.dedup();
    let closed = hosts
        .into_iter()
        .filter(|host| !is_local(host) && !wanted.listen.contains(&with_scheme(host)))
        .collect();
    Ok(DropIn {
        text,
        exec_start,
        closed,
        notes,
    })
}

/// The command to derive from.
struct Base {
    words: Vec<String>,
    /// The previous listeners of the own drop-in, if it now follows another command.
    former: Vec<String>,
    notes: Vec<String>,
}

fn base(files: &[UnitFile], own_path: &str, wanted: &Listening) -> Result<Base, UnitError> {
    let own_name = file_name(own_path);
    let words = split_words(&effective_command(files, own_name)?);
    let mut former = Vec::new();
    let unit = if wanted.own == OwnDropIn::Ours {
        take_hosts(&words, &mut former);
        let others: Vec<UnitFile> = files
            .iter()
            .filter(|file| file.path != own_path)
            .cloned()
            .collect();
        Some(split_words(&effective_command(&others, own_name)?))
    } else {
        another_package(files, own_path, &words)
    };
    let note = unit
        .as_ref()
        .and_then(|unit| program_note(unit.first(), words.first()));
    Ok(Base {
        words: unit.unwrap_or(words),
        former,
        notes: note.into_iter().collect(),
    })
}

/// A drop-in without the lines of deployments; `None` if nothing is left. Its command stays,
/// without TCP listeners and TLS, if an operator gave it other flags than the unit's other files,
/// `others`.
#[must_use]
pub fn without_ours(own: &UnitFile, others: &[UnitFile]) -> Option<String> {
    let text = own.text.as_str();
    let name = file_name(&own.path);
    let command = effective_command(std::slice::from_ref(own), name);
    let (Ok(command), false) = (command, is_unedited(text)) else {
        return without_exec_start(text);
    };
    let words = split_words(&command);
    let with_own: Vec<UnitFile> = others.iter().chain([own]).cloned().collect();
    let remembered = remembered_hosts(text);
    let kept = without_tls_listeners(&words, &remembered);
    // What was derived from the unit's command is removed, even if its sockets came from `hosts`.
    let elsewhere = if is_own(text) { &remembered[..] } else { &[] };
    let unit = effective_command(others, name);
    let unit = unit.map(|unit| without_tls_listeners(&split_words(&unit), elsewhere));
    let is_units = unit.is_ok_and(|unit| {
        unit.iter()
            .map(|word| plain(word))
            .eq(kept.iter().map(|word| plain(word)))
    });
    if is_units || another_package(&with_own, &own.path, &words).is_some() {
        return without_exec_start(text);
    }
    Some(with_exec_start(&unmarked(text), &kept.join(" "), &[]))
}

/// A command line without TLS and without listeners other than local sockets; of these
/// `elsewhere` are set in daemon.json.
fn without_tls_listeners(words: &[String], elsewhere: &[String]) -> Vec<String> {
    let mut hosts = Vec::new();
    let rest = take_hosts(words, &mut hosts);
    let mut rest = take_tls(&rest, &mut Vec::new()).unwrap_or(rest);
    hosts.retain(|host| is_local(host) && !elsewhere.contains(host));
    let flags = hosts
        .into_iter()
        .flat_map(|host| ["-H".to_owned(), written(&host)]);
    let after_program = rest.len().min(1);
    rest.splice(after_program..after_program, flags);
    rest
}

/// The arguments of a command, by subject.
struct Taken {
    hosts: Vec<String>,
    kept: Vec<String>,
    tls: Vec<String>,
}

/// Removes listeners and TLS flags from the arguments, including those in variables.
fn take(
    arguments: &[String],
    environment: &BTreeMap<String, String>,
    notes: &mut Vec<String>,
) -> Result<Taken, UnitError> {
    let (mut hosts, mut kept, mut tls) = (Vec::new(), Vec::new(), Vec::new());
    for argument in arguments {
        match variable_of(argument).and_then(|name| Some((environment.get(&name)?, name))) {
            Some((value, name)) => {
                // systemd splits $NAME into words, but not ${NAME}.
                let expanded = if plain(argument).starts_with("${") {
                    vec![value.clone()]
                } else {
                    words_of_value(value)
                };
                let before = hosts.len();
                let rest = take_hosts(&expanded, &mut hosts);
                let rest = take_tls(&rest, &mut tls)?;
                if hosts.len() == before && rest.len() == expanded.len() {
                    kept.push(argument.clone());
                } else {
                    notes.push(format!(
                        "${name} names listeners of its own ({}): its other options were copied into the drop-in",
                        hosts.get(before..).unwrap_or_default().join(" ")
                    ));
                    // % and $ are special in a unit file.
                    kept.extend(
                        rest.iter()
                            .map(|word| written(&word.replace('%', "%%").replace('$', "$$"))),
                    );
                }
            }
            None => kept.push(argument.clone()),
        }
    }
    let kept = take_hosts(&kept, &mut hosts);
    let kept = take_tls(&kept, &mut tls)?;
    for host in &mut hosts {
        if let Some(name) = variable_of(host) {
            *host = environment
                .get(&name)
                .ok_or_else(|| UnitError::UnknownListener(host.clone()))?
                .clone();
        }
    }
    Ok(Taken { hosts, kept, tls })
}

/// The `-H` flags of the new command: local sockets, then the inventory's addresses.
fn listening_flags(hosts: &[String], remembered: &[String], wanted: &Listening) -> Vec<String> {
    let mut line = Vec::new();
    if wanted.local_socket {
        let mut local: Vec<&String> = hosts.iter().filter(|host| is_local(host)).collect();
        let comes_along = !wanted.from_settings.is_empty() || wanted.own == OwnDropIn::Ours;
        for host in remembered.iter().filter(|_| comes_along) {
            if !local.contains(&host) {
                local.push(host);
            }
        }
        if local.is_empty() {
            line.extend(["-H".to_owned(), "unix:///var/run/docker.sock".to_owned()]);
        }
        for host in local {
            line.extend(["-H".to_owned(), written(host)]);
        }
    }
    for address in &wanted.listen {
        line.extend(["-H".to_owned(), address.clone()]);
    }
    line
}

/// Notes that the unit starts another program than the drop-in did.
fn program_note(unit: Option<&String>, drop_in: Option<&String>) -> Option<String> {
    (unit != drop_in).then(|| {
        format!(
            "the unit starts {} now, and the drop-in had {}: it follows the unit",
            unit.map_or("", String::as_str),
            drop_in.map_or("", String::as_str),
        )
    })
}

/// The command line of the unit without the own drop-in, if it starts a different dockerd than
/// `words`, the command with it. override.conf is an operator's, who may want that dockerd.
fn another_package(files: &[UnitFile], own_path: &str, words: &[String]) -> Option<Vec<String>> {
    let own_name = file_name(own_path);
    if own_name == OPERATORS_DROP_IN {
        return None;
    }
    let others: Vec<UnitFile> = files
        .iter()
        .filter(|file| file.path != own_path)
        .cloned()
        .collect();
    let unit = split_words(&effective_command(&others, own_name).ok()?);
    let program = unit.first()?;
    (Some(program) != words.first() && file_name(&plain(program)) == "dockerd").then_some(unit)
}

/// The ExecStart that takes effect once every file is read.
fn effective_command(files: &[UnitFile], own_name: &str) -> Result<String, UnitError> {
    let mut commands: Vec<String> = Vec::new();
    for file in files {
        let starts = exec_starts(&file.text);
        let is_drop_in = file.path.contains(".d/");
        if !starts.is_empty() && is_drop_in && file_name(&file.path) > own_name {
            return Err(UnitError::Overridden {
                path: file.path.clone(),
            });
        }
        for start in starts {
            if start.is_empty() {
                commands.clear();
            } else {
                commands.push(start);
            }
        }
    }
    match commands.as_slice() {
        [] => Err(UnitError::NoExecStart),
        [command] => Ok(command.clone()),
        several => Err(UnitError::SeveralExecStarts(several.len())),
    }
}
