//! Makes events safe for a terminal: escapes control sequences in whatever a node reported.

use base::event::{
    Audited, CertificateStatus, Error, Event, Failure, Finding, PlannedChange, Proof, StoppedHost,
};
use node::visible;

/// The same event with every control sequence escaped.
pub(super) fn clean(event: &Event) -> Event {
    let mut event = event.clone();
    match &mut event {
        Event::Run {
            run,
            inventory,
            playbook,
            hosts,
            contexts,
            ..
        } => {
            all([run, inventory, playbook]);
            all(hosts);
            all(contexts);
        }
        Event::Connected { host, address, .. } => all([host, address]),
        Event::Facts { host, .. } | Event::Waited { host, .. } => all([host]),
        Event::Warning { host, text } | Event::Danger { host, text } => {
            all(host);
            all([text]);
        }
        Event::Step {
            what,
            next,
            following,
            ..
        } => {
            all([what]);
            all(next);
            all(following);
        }
        Event::Plan { changes, batches } => {
            changes.iter_mut().for_each(change);
            for play in batches {
                all([&mut play.play]);
                all(play.hosts.iter_mut().flatten());
            }
        }
        Event::NotBegun {
            play,
            hosts,
            because,
        } => {
            all([play]);
            all(hosts);
            all(because);
        }
        Event::Started { host, what }
        | Event::Changed { host, what }
        | Event::Access { host, what }
        | Event::Checked { host, what, .. } => all([host, what]),
        Event::Act { host, step, what } => {
            all([host, step]);
            all(what);
        }
        Event::ActEnded { host, step } => all([host, step]),
        Event::Failed(failure) => failed(failure),
        Event::Proof(Proof { from, to, seen, .. }) => all([from, to, seen]),
        Event::Certificate(certificate) => status(certificate),
        Event::Sampled(sample) => all(&mut sample.without_refusals),
        Event::Status { .. } | Event::Doctor { .. } | Event::Audit { .. } => {}
        Event::Audited(entry) => audited(entry),
        Event::Finding(finding) => found(finding),
        Event::Interrupted { waiting: hosts } | Event::Abandoned { hosts } => all(hosts),
        Event::Stopped { hosts, next } => {
            all(next);
            for StoppedHost {
                host,
                done,
                not_done,
            } in hosts
            {
                all([host]);
                all(done);
                all(not_done);
            }
        }
        Event::Error(Error {
            kind: _,
            host,
            place,
            step,
            message,
            causes,
            hint,
        }) => {
            all(host);
            all(place.iter_mut().map(|place| &mut place.file));
            all([step, message]);
            all(causes);
            all(hint);
        }
        Event::Recap { hosts, next, .. } => {
            all(next);
            all(hosts.iter_mut().map(|host| &mut host.host));
        }
    }
    event
}

fn all<'a>(texts: impl IntoIterator<Item = &'a mut String>) {
    for text in texts {
        *text = visible(text);
    }
}

fn change(change: &mut PlannedChange) {
    all([&mut change.host, &mut change.task, &mut change.what]);
    all(&mut change.reasons);
    if let Some(diff) = &mut change.diff {
        *diff = lines(diff);
    }
}

fn status(status: &mut CertificateStatus) {
    let CertificateStatus {
        host,
        identity,
        role: _,
        source: _,
        place,
        holder,
        state: _,
        drift,
        allowed,
        due,
        certificate,
    } = status;
    all([host, place, holder]);
    all(identity);
    all(drift);
    all(allowed);
    all(due);
    if let Some(text) = certificate {
        all([&mut text.subject, &mut text.issuer, &mut text.serial]);
        all(&mut text.sans);
    }
}

fn found(finding: &mut Finding) {
    let Finding {
        host, seen, advice, ..
    } = finding;
    all([host, advice]);
    // It shows a line of a file.
    let several: Vec<String> = seen.lines().map(visible).collect();
    *seen = several.join("\n");
}

fn audited(entry: &mut Audited) {
    let Audited {
        host,
        at: _,
        decision,
        reason,
        identity,
        role,
        serial,
        method,
        path,
        message,
    } = entry;
    all([host, message]);
    let optional = [decision, reason, identity, role, serial, method, path];
    all(optional.into_iter().flatten());
}

fn failed(failure: &mut Failure) {
    let Failure {
        host,
        kind: _,
        step,
        message,
        causes,
        detail,
        hint,
    } = failure;
    all([host, step, message]);
    all(causes);
    all(detail);
    all(hint);
}

/// A text of several lines keeps its line breaks and indentation.
fn lines(text: &str) -> String {
    text.lines().fold(String::new(), |mut cleaned, line| {
        let body = line.trim_start();
        let (indent, _) = line.split_at(line.len() - body.len());
        cleaned.push_str(&indent.replace(|character: char| character.is_control(), " "));
        cleaned.push_str(&visible(body));
        cleaned.push('\n');
        cleaned
    })
}
