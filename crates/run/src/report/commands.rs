//! Completes commands in hints: hints say INVENTORY in place of the inventory's path, because the
//! crates that word them do not know the path.

use base::event::{Event, Renderer};
use base::shell;

/// The placeholder for the inventory's path.
const NAME: &str = " INVENTORY";

/// Replaces the placeholder in all events that it passes on.
pub struct Commands {
    /// With the leading space.
    path: String,
    to: Box<dyn Renderer>,
}

impl std::fmt::Debug for Commands {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Commands").finish_non_exhaustive()
    }
}

impl Commands {
    /// `path` and the options behind it as given on the command line: a command without them would
    /// be about another inventory.
    #[must_use]
    pub fn new(path: &str, options: &str, to: Box<dyn Renderer>) -> Self {
        let path = shlex::try_quote(path).map_or_else(|_| shell::quote(path), Into::into);
        Self {
            path: format!(" {path}{options}"),
            to,
        }
    }

    fn name(&self, text: &mut String) {
        let mut parts = text.split(NAME);
        let mut named = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let is_longer = part.starts_with(|next: char| next.is_alphanumeric() || next == '_');
            named.push_str(if is_longer { NAME } else { &self.path });
            named.push_str(part);
        }
        *text = named;
    }
}

impl Renderer for Commands {
    fn event(&mut self, event: &Event) {
        let mut named = match event {
            Event::Plan { .. }
            | Event::Warning { .. }
            | Event::Danger { .. }
            | Event::Failed(_)
            | Event::Error(_)
            | Event::Finding(_)
            | Event::Step { .. }
            | Event::Stopped { .. }
            | Event::Recap { .. }
            | Event::Certificate(_) => event.clone(),
            other => return self.to.event(other),
        };
        match &mut named {
            Event::Plan { changes, .. } => {
                let reasons = changes.iter_mut().flat_map(|change| &mut change.reasons);
                reasons.for_each(|reason| self.name(reason));
            }
            Event::Step { next, .. } | Event::Stopped { next, .. } | Event::Recap { next, .. } => {
                if let Some(next) = next {
                    self.name(next);
                }
            }
            Event::Warning { text, .. } | Event::Danger { text, .. } => self.name(text),
            Event::Failed(failure) => {
                self.name(&mut failure.message);
                failure.hint.iter_mut().for_each(|hint| self.name(hint));
            }
            Event::Error(error) => {
                self.name(&mut error.message);
                error.hint.iter_mut().for_each(|hint| self.name(hint));
            }
            Event::Finding(finding) => {
                self.name(&mut finding.seen);
                self.name(&mut finding.advice);
            }
            Event::Certificate(status) => {
                status.due.iter_mut().for_each(|due| self.name(due));
                status.drift.iter_mut().for_each(|drift| self.name(drift));
            }
            _ => {}
        }
        self.to.event(&named);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    struct Kept(Arc<Mutex<Vec<Event>>>);

    impl Renderer for Kept {
        fn event(&mut self, event: &Event) {
            self.0.lock().unwrap().push(event.clone());
        }
    }

    #[test]
    fn a_hint_names_the_file_as_it_was_given() {
        let kept = Arc::new(Mutex::new(Vec::new()));
        let mut commands = Commands::new(
            "my hosts.yaml",
            " -e dtls_guard=true",
            Box::new(Kept(kept.clone())),
        );
        commands.event(&Event::Warning {
            host: None,
            text: "run dtls-deploy rotate --ca INVENTORY; an INVENTORY_HOST".to_owned(),
        });
        let seen = kept.lock().unwrap();
        let Event::Warning { text, .. } = &seen[0] else {
            panic!("{seen:?}");
        };
        let expected =
            "run dtls-deploy rotate --ca 'my hosts.yaml' -e dtls_guard=true; an INVENTORY_HOST";
        assert_eq!(text, expected);
    }
}
