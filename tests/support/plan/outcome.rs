//! A plan in the words of a case's `expect:`.

use std::fmt::Write as _;

use pki::{AuthorityProfile, Signer, Subject};
use plan::{Action, Content, Forget, LeafPart, Plan, Served};

/// What came out, in the words of `expect:`.
pub struct Outcome {
    changes: Vec<String>,
    refusals: Vec<String>,
    notes: Vec<String>,
    pub proof: bool,
}

impl Outcome {
    pub fn to_yaml(&self) -> String {
        let mut text = String::new();
        for (name, lines) in [
            ("changes", &self.changes),
            ("refusals", &self.refusals),
            ("notes", &self.notes),
        ] {
            if !lines.is_empty() {
                writeln!(text, "  {name}:").unwrap();
                for line in lines {
                    writeln!(text, "    - '{}'", line.replace('\'', "''")).unwrap();
                }
            }
        }
        text
    }
}

pub fn describe(plan: &Plan) -> Outcome {
    let changes = plan
        .changes()
        .map(|change| {
            format!(
                "{} | {} | {} | {}",
                change.host,
                change.subject,
                change.reasons.join("; "),
                action(&change.action)
            )
        })
        .collect();
    let refusals = plan
        .problems
        .iter()
        .map(|problem| {
            let hint = problem.refusal.hint.as_deref().unwrap_or("-");
            format!(
                "{} | {} | {}",
                problem.host,
                without_serials(&problem.refusal.message.replace('\n', " / ")),
                without_serials(hint)
            )
        })
        .collect();
    let notes: Vec<String> = plan
        .notes
        .iter()
        .map(|note| format!("{} | {}", note.host, without_serials(&note.text)))
        .collect();
    let due = plan
        .rollover_due
        .iter()
        .map(|why| format!("(the CA) | due: {why}"));
    let notes = notes.into_iter().chain(due).collect();
    Outcome {
        changes,
        refusals,
        notes,
        proof: plan.verify,
    }
}

fn action(action: &Action) -> String {
    match action {
        Action::Authority(profile) => created(profile, None),
        Action::NextAuthority(profile) => created(profile, Some(&profile.subject)),
        Action::Promote => "promote".to_owned(),
        Action::EndRollover { destroy_old } => format!("end, destroy the old key: {destroy_old}"),
        Action::Issue(request) => format!(
            "issue {} {} for {} days{}",
            request.role,
            request.key_type,
            request.validity_days,
            match request.signer {
                Signer::Current => "",
                Signer::Next => ", of the next CA",
            }
        ),
        Action::Fetch { .. } => "fetch".to_owned(),
        Action::Sweep { account, .. } => format!("sweep as {account}"),
        Action::File(file) => {
            let content = match &file.content {
                Content::Text(_) | Content::Certificates(_) => "write".to_owned(),
                Content::Same => "keep the bytes".to_owned(),
                Content::Copy { from } => format!("copy {from}"),
                Content::Kept { .. } => "what was kept".to_owned(),
                Content::Gone { prune } => format!("remove, {prune} directories when empty"),
                Content::Program(_) => "the program".to_owned(),
                Content::Authority => "the new CA".to_owned(),
                Content::Leaf {
                    part: LeafPart::Certificate,
                    ..
                } => "the new certificate".to_owned(),
                Content::Leaf {
                    part: LeafPart::Key,
                    ..
                } => "the new key".to_owned(),
            };
            format!("{content}, {:04o} {}", file.mode, file.account)
        }
        Action::Restart(restart) => {
            let read = restart.reads.len();
            match &restart.serves {
                Served::Kept { address, .. } => {
                    format!("restart, {read} files read, seen at {}", address.url())
                }
                _ => format!("restart, {read} files read"),
            }
        }
        Action::Forget(Forget::Generation(kept)) => format!("forget {}", kept.path),
        Action::Forget(Forget::Everything) => "forget everything".to_owned(),
        Action::Reload(reload) => match &reload.has_read {
            Some(lines) => format!("reload, {} files read", lines.lines().count()),
            None => "reload".to_owned(),
        },
        Action::Command { argv, seconds } => format!("run {argv:?} within {seconds} s"),
        Action::Service {
            unit,
            verb,
            seconds,
        } => {
            format!("systemctl {} {unit} within {seconds} s", verb.word())
        }
        Action::Wait { seconds, .. } => format!("wait {seconds} s"),
    }
}

/// Serials are drawn again in each run.
pub fn without_serials(text: &str) -> String {
    ["serial ", "--abandon "]
        .into_iter()
        .fold(text.to_owned(), |text, before| {
            let mut parts = text.split(before);
            let first = parts.next().unwrap_or_default().to_owned();
            parts.fold(first, |text, part| {
                let rest = part.trim_start_matches(|letter: char| letter.is_ascii_hexdigit());
                // Not the beginning of a name.
                let is_serial = before == "serial " || part.len() - rest.len() >= 16;
                let part = if is_serial {
                    format!("SERIAL{rest}")
                } else {
                    part.to_owned()
                };
                text + before + &part
            })
        })
}

fn created(profile: &AuthorityProfile, subject: Option<&Subject>) -> String {
    let mut text = "create ".to_owned();
    if let Some(subject) = subject {
        write!(text, "{subject} ").unwrap();
    }
    let AuthorityProfile {
        key_type,
        validity_days,
        permitted,
        ..
    } = profile;
    write!(text, "{key_type} for {validity_days} days").unwrap();
    if !permitted.is_empty() {
        let names: Vec<_> = permitted.iter().map(ToString::to_string).collect();
        write!(text, ", only {}", names.join(" ")).unwrap();
    }
    text
}
