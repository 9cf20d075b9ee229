//! Checks of a client's identities together with the rest of their host: two in one directory, two
//! that share the contexts of one account, impossible names and validity periods.

use std::collections::HashMap;

use super::convert::Context;
use super::host::Host;
use super::names::tidy_path;
use super::resolve::Resolved;
use super::values::ClientEnv;
use crate::yaml::source::quoted;

pub(super) fn of_the_client(resolved: &Resolved, ca_days: Option<u32>, context: &mut Context) {
    let host = &resolved.host;
    if host.identities.is_empty() {
        return;
    }
    let span = resolved
        .variables
        .place("dtls_identities")
        .unwrap_or(resolved.span);
    let mut refuse = |message: String, help: String| {
        context
            .problems
            .error(span, message, "these identities", Some(help));
    };
    for message in directories_twice(host) {
        refuse(message, "give each a `dir` of its own".to_owned());
    }
    for message in contexts_twice(host) {
        let help = "an account has one set of contexts: leave `context` out of one of the two, or let its owner be another account";
        refuse(message, help.to_owned());
    }
    for identity in &host.identities {
        let holder = identity.holder();
        let settings = &identity.settings;
        if let Some(renew) = settings.renew_before {
            let whose = format!("certificates of {}", quoted(&holder));
            let (renew, validity) = (renew.days, settings.validity_days);
            if let Some((message, help)) = renewed_always(&whose, renew, validity, ca_days) {
                refuse(message, help);
            }
        }
    }
    let longer = host.identities.iter().find(|identity| {
        let days = identity.settings.validity_days;
        days != host.settings.validity_days && ca_days.is_some_and(|ca_days| days > ca_days)
    });
    if let Some(identity) = longer {
        let message = format!(
            "certificates of {} would outlive their CA of {} days",
            quoted(&identity.holder()),
            ca_days.unwrap_or_default()
        );
        let help = Some("they end with the CA: raise dtls_ca_validity_days or lower this".into());
        context
            .problems
            .warning(span, message, "longer than the CA", help);
    }
}

/// What is known of a directory without connecting to the node.
fn place(directory: &str, host: &Host) -> String {
    in_home(&tidy_path(directory), host)
}

fn directories_twice(host: &Host) -> Vec<String> {
    let settings = &host.settings;
    let mut taken: HashMap<String, String> = HashMap::new();
    taken.insert(
        place(&settings.client_dir, host),
        "the client itself".to_owned(),
    );
    if host.is_daemon {
        taken.insert(tidy_path(&settings.daemon_dir), "the daemon".to_owned());
    }
    if host.is_ca {
        taken.insert(tidy_path(&settings.ca_dir), "the CA".to_owned());
    }
    let mut messages = Vec::new();
    for identity in &host.identities {
        let holder = quoted(&identity.holder());
        let directory = place(&identity.settings.client_dir, host);
        if let Some(first) = taken.get(&directory) {
            messages.push(format!(
                "{first} and {holder} would both keep their files in {}",
                quoted(&directory)
            ));
        } else {
            taken.insert(directory, holder);
        }
    }
    messages
}

fn contexts_twice(host: &Host) -> Vec<String> {
    let has_contexts = |of: &Host| of.settings.client_env.contains(&ClientEnv::Context);
    let mut taken: HashMap<String, String> = HashMap::new();
    if has_contexts(host) {
        taken.insert(
            place(&host.cli_directory(), host),
            "the client itself".to_owned(),
        );
    }
    let mut messages = Vec::new();
    let present = host.identities.iter().filter(|of| !of.is_absent());
    for identity in present.filter(|of| has_contexts(of)) {
        let holder = quoted(&identity.holder());
        let directory = place(&identity.cli_directory(), host);
        if let Some(first) = taken.get(&directory) {
            messages.push(format!(
                "{first} and {holder} would both have the contexts in {}",
                quoted(&format!("{directory}/contexts"))
            ));
        } else {
            taken.insert(directory, holder);
        }
    }
    messages
}

/// A directory in the home, if that is known without connecting to the node.
pub(super) fn in_home(directory: &str, host: &Host) -> String {
    let Some((account, rest)) = directory
        .strip_prefix('~')
        .and_then(|below| below.split_once('/'))
    else {
        return directory.to_owned();
    };
    let login = host.connection.user.as_deref();
    match Some(account)
        .filter(|account| !account.is_empty())
        .or(login)
    {
        Some("root") => format!("/root/{rest}"),
        Some(user) => format!("/home/{user}/{rest}"),
        None => directory.to_owned(),
    }
}

/// Certificates that are due from the day they are issued: the error, and the hint. None outlives
/// its CA.
pub(super) fn renewed_always(
    whose: &str,
    renew: u32,
    validity: u32,
    ca_days: Option<u32>,
) -> Option<(String, String)> {
    if renew >= validity {
        return Some((
            format!(
                "{whose} that live {validity} days cannot be renewed {renew} days before their end"
            ),
            "every run would renew them: a third of their validity period is usual".to_owned(),
        ));
    }
    let ca_days = ca_days.filter(|ca_days| renew >= *ca_days)?;
    Some((
        format!(
            "{whose} end with their CA, which lives {ca_days} days, and cannot be renewed {renew} days before their end"
        ),
        "they would be due, and a new CA with them, at every run: raise dtls_ca_validity_days or lower this"
            .to_owned(),
    ))
}
