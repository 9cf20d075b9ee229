//! The text of a schedule's units.

use std::path::Path;

use minijinja::value::Serde;
use minijinja::{Environment, UndefinedBehavior};
use serde::Serialize;

use super::error::ScheduleError;
use super::place::Place;
use super::{NO_DEFAULTS, credential, escape, run_words};

/// The values in the units.
#[derive(Debug)]
pub(super) struct Parts<'a> {
    pub(super) name: &'a str,
    pub(super) place: &'a Place,
    pub(super) user: &'a str,
    /// The journal directory of its runs.
    pub(super) state: &'a Path,
    pub(super) program: &'a str,
    pub(super) inventory: &'a str,
    /// The CA node's name.
    pub(super) authority: &'a str,
    /// Arguments of every command: variables, the agent's binary.
    pub(super) common: &'a [String],
    /// Only these hosts and groups.
    pub(super) limit: Option<&'a str>,
    /// Further arguments, only for runs.
    pub(super) more: &'a [String],
    /// Seconds that a run waits for the lock of another run.
    pub(super) wait: u64,
    pub(super) on_calendar: &'a str,
    /// In seconds.
    pub(super) randomized_delay: u64,
    /// A shell command.
    pub(super) on_failure: Option<&'a str>,
    /// A host of the inventory is this machine itself.
    pub(super) local: bool,
    pub(super) encrypted: bool,
}

#[derive(Serialize)]
struct Service {
    description: String,
    failed_unit: Option<String>,
    commands: Vec<String>,
    user: String,
    credential: String,
    local: bool,
    state: String,
}

#[derive(Serialize)]
struct Timer {
    description: String,
    on_calendar: String,
    randomized_delay: String,
}

#[derive(Serialize)]
struct Failed {
    description: String,
    user: String,
    environment: String,
    command: String,
}

impl Parts<'_> {
    /// The unit that the timer starts. Most runs renew nothing and do not need the CA's key, so
    /// each run checks that the passphrase still works, not only the one that needs it.
    pub(super) fn service(&self) -> Result<String, ScheduleError> {
        let hook = self.on_failure.map(|_| self.place.failed());
        let what = "keeps Docker's TLS certificates of the inventory";
        let commands = vec![self.run(&[]), self.access(Some(self.authority))];
        self.render(what, hook, commands, false)
    }

    /// The same without changes: first checks all that a run needs, then runs with `--check`.
    pub(super) fn trial(&self) -> Result<String, ScheduleError> {
        let commands = vec![self.access(self.limit), self.run(&["--check"])];
        self.render("tries the schedule of the inventory", None, commands, true)
    }

    pub(super) fn timer(&self) -> Result<String, ScheduleError> {
        let timer = Timer {
            description: self
                .description("when to keep Docker's TLS certificates of the inventory"),
            on_calendar: self.on_calendar.to_owned(),
            randomized_delay: format!("{}s", self.randomized_delay),
        };
        render(include_str!("run.timer"), &timer)
    }

    /// The unit that systemd starts after a failed run.
    pub(super) fn failed(&self) -> Result<Option<String>, ScheduleError> {
        let Some(line) = self.on_failure else {
            return Ok(None);
        };
        let shell = ["/bin/sh", "-c", line].map(str::to_owned);
        let variables = [
            format!("DTLS_SCHEDULE={}", self.name),
            format!("DTLS_UNIT={}", self.place.service()),
            format!("DTLS_INVENTORY={}", self.inventory),
        ];
        let failed = Failed {
            description: self.description("what is done after a failed run of the schedule"),
            user: self.user.to_owned(),
            environment: variables.map(|one| escape::word(&one)).join(" "),
            command: escape::command(&shell),
        };
        render(include_str!("failed.service"), &failed).map(Some)
    }

    fn description(&self, what: &str) -> String {
        format!("dtls-deploy: {what} {}", escape::text(self.name))
    }

    fn waiting(&self) -> [String; 2] {
        ["--wait".to_owned(), self.wait.to_string()]
    }

    fn access(&self, limit: Option<&str>) -> String {
        let words = [
            self.program,
            "check-access",
            self.inventory,
            NO_DEFAULTS,
            "--needs-ca",
        ];
        let mut words: Vec<String> = words.map(str::to_owned).into();
        words.extend(self.waiting());
        words.extend(self.common.iter().cloned());
        words.extend(limit.map(limited));
        escape::command(&words)
    }

    fn run(&self, mode: &[&str]) -> String {
        let mut words = run_words(self.program, self.inventory);
        words.extend(self.waiting());
        words.extend(self.common.iter().cloned());
        words.extend(self.limit.map(limited));
        words.extend(self.more.iter().cloned());
        words.extend(mode.iter().map(|word| (*word).to_owned()));
        escape::command(&words)
    }

    fn render(
        &self,
        what: &str,
        failed_unit: Option<String>,
        commands: Vec<String>,
        new: bool,
    ) -> Result<String, ScheduleError> {
        let service = Service {
            description: self.description(what),
            failed_unit,
            commands,
            user: self.user.to_owned(),
            credential: credential::setting(
                &self.place.credential(self.encrypted, new),
                self.encrypted,
            ),
            local: self.local,
            state: escape::word(&self.state.display().to_string()),
        };
        render(include_str!("run.service"), &service)
    }
}

/// As one word, so that a pattern with a leading `-` is not an option.
pub(super) fn limited(pattern: &str) -> String {
    format!("--limit={pattern}")
}

fn render<T: Serialize>(template: &str, values: &T) -> Result<String, ScheduleError> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    let mut text = environment.render_str(template, Serde(values))?;
    // Jinja removes the newline at the end of a template.
    text.push('\n');
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with<T>(change: impl FnOnce(&mut Parts<'_>), then: impl FnOnce(&Parts<'_>) -> T) -> T {
        let place = Place::of("my lab");
        let common = ["-e".to_owned(), "@/v%.yaml".to_owned()];
        let more = ["--forks".to_owned(), "8".to_owned()];
        let mut parts = Parts {
            name: "my lab",
            place: &place,
            user: "ubuntu",
            state: Path::new("/home/ubuntu/.local/state/dtls-deploy"),
            program: "/usr/local/bin/dtls-deploy",
            inventory: "/srv/my lab.yaml",
            authority: "vault",
            limit: Some("web:!old"),
            common: &common,
            more: &more,
            wait: 1800,
            on_calendar: "daily",
            randomized_delay: 3600,
            on_failure: Some("echo \"$DTLS_UNIT\" 100%"),
            local: false,
            encrypted: true,
        };
        change(&mut parts);
        then(&parts)
    }

    #[test]
    fn the_units_of_a_schedule() {
        let text = with(
            |_| {},
            |parts| {
                [
                    parts.service().unwrap(),
                    parts.timer().unwrap(),
                    parts.failed().unwrap().unwrap(),
                ]
                .join("\n")
            },
        );
        insta::assert_snapshot!(text);
    }

    #[test]
    fn a_trial_differs_in_its_commands_alone() {
        let lines = |text: String, skip: &[&str]| -> Vec<String> {
            let lines = text.lines().filter(|line| {
                let name = line.split('=').next().unwrap_or_default();
                !skip.contains(&name)
            });
            lines.map(str::to_owned).collect()
        };
        let skip = [
            "Description",
            "OnFailure",
            "ExecStart",
            "LoadCredentialEncrypted",
        ];
        with(
            |_| {},
            |parts| {
                let trial = parts.trial().unwrap();
                assert!(trial.contains(
                    "\"check-access\" \"/srv/my lab.yaml\" \"--no-defaults\" \"--needs-ca\" \"--wait\" \"1800\""
                ));
                assert!(trial.contains("\"8\" \"--check\"\n"), "{trial}");
                assert!(trial.contains("ca-passphrase.cred.new\n"), "{trial}");
                assert_eq!(lines(trial, &skip), lines(parts.service().unwrap(), &skip));
            },
        );
    }

    #[test]
    fn a_run_about_this_machine_itself_is_not_shut_in() {
        let text = with(
            |parts| {
                parts.local = true;
                parts.on_failure = None;
            },
            |parts| parts.service().unwrap() + parts.failed().unwrap().as_deref().unwrap_or(""),
        );
        assert!(!text.contains("ProtectSystem") && !text.contains("OnFailure"));
        assert!(text.contains("KillMode=mixed\nUMask=0077\n"), "{text}");
    }
}
