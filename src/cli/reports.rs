//! Sets up the reports that the command line asked for: people, programs, a log.

use std::io::IsTerminal as _;
use std::path::Path;

use super::arguments::{Common, Output};
use crate::terminal;
use base::event::{Error, ErrorKind, Event, Events, Place, Renderer};
use inventory::{Problem, in_one_style};
use plan::Refusal;
use run::Exit;
use run::journal::Journal;
use run::report::commands::Commands;
use run::report::json::Json;
use run::report::masked::Masked;
use run::report::{self, Several, Style, Verbosity};

/// The outputs of a run's events.
pub(super) struct Reports {
    /// All outputs.
    pub(super) all: Events,
    /// Only programs and the log, for what people see in another form.
    machine: Events,
    /// Whether a person reads the output.
    human: bool,
}

impl Reports {
    pub(super) fn new(file: &Path, common: &Common, journal: &Journal) -> Result<Self, Exit> {
        let mut json = Json::default();
        if let Some(path) = &common.log {
            match json.and_log(path) {
                Ok(both) => json = both,
                Err(error) => {
                    let hint = directory_hint(path).map(|hint| format!("Hint: {hint}\n"));
                    base::output::error(&format!(
                        "Error: the log {} cannot be written\nCaused by: {error}\n{}",
                        path.display(),
                        hint.unwrap_or_default()
                    ));
                    return Err(Exit::Usage);
                }
            }
        }
        let terminal = std::io::stdout().is_terminal();
        let variable = |name: &str| std::env::var(name).ok();
        let style = Style {
            colour: report::wants_colour(terminal, variable),
            verbosity: match (common.quiet, common.verbose > 0) {
                (true, _) => Verbosity::Quiet,
                (_, true) => Verbosity::Verbose,
                _ => Verbosity::Normal,
            },
            width: terminal::width(std::io::stdout()),
            timings: common.timings,
        };
        let moving = terminal && variable("TERM").is_some_and(|term| term != "dumb");
        let human: Option<Box<dyn Renderer>> = match common.output {
            Output::Json => {
                json = json.and_standard_output();
                None
            }
            Output::Auto if moving && !common.quiet => {
                Some(Box::new(report::live::Live::new(style)))
            }
            Output::Auto | Output::Plain => Some(Box::new(report::plain::plain(style))),
        };
        let machine = Events::new(Box::new(json));
        let is_human = human.is_some();
        let mut all: Vec<Box<dyn Renderer>> = vec![Box::new(machine.clone())];
        all.extend(human);
        all.extend(journal.renderer());
        let named = file.display().to_string();
        let options = inventory::repeated(&common.extra_vars);
        let mut all: Box<dyn Renderer> =
            Box::new(Commands::new(&named, &options, Box::new(Several(all))));
        if common.untrusted {
            all = Box::new(Masked(all));
        }
        Ok(Self {
            all: Events::new(all),
            machine,
            human: is_human,
        })
    }

    /// Errors in a file: people see the relevant excerpt.
    pub(super) fn problems(&self, kind: ErrorKind, what: &str, problems: &[Problem]) {
        if self.human {
            show_problems(what, problems);
        }
        for problem in problems {
            let place = Place {
                file: problem.file.clone(),
                line: problem.line,
                column: problem.column,
            };
            self.machine.emit(if problem.warning {
                let Place { file, line, .. } = place;
                Event::Warning {
                    host: None,
                    text: format!("{file}:{line}: {}", problem.message),
                }
            } else {
                Event::Error(Error {
                    kind,
                    host: None,
                    place: Some(place),
                    step: format!("read {what}"),
                    message: problem.message.clone(),
                    causes: Vec::new(),
                    hint: problem.help.clone(),
                })
            });
        }
    }

    /// An error in what the arguments select.
    pub(super) fn selection(&self, message: String, hint: Option<String>) {
        self.all.emit(Event::Error(Error {
            kind: ErrorKind::Usage,
            host: None,
            place: None,
            step: "select hosts and tasks".to_owned(),
            message,
            causes: Vec::new(),
            hint,
        }));
    }

    /// Why the inventory's request is impossible.
    pub(super) fn refusal(&self, kind: ErrorKind, step: &str, refusal: Refusal) {
        self.all.emit(Event::Error(Error {
            kind,
            host: None,
            place: None,
            step: step.to_owned(),
            message: refusal.message,
            causes: Vec::new(),
            hint: refusal.hint,
        }));
    }

    pub(super) fn error(
        &self,
        kind: ErrorKind,
        step: &str,
        message: String,
        cause: &dyn std::error::Error,
    ) {
        self.advise(kind, step, message, cause, None);
    }

    /// An error with the next step.
    pub(super) fn advise(
        &self,
        kind: ErrorKind,
        step: &str,
        message: String,
        cause: &dyn std::error::Error,
        hint: Option<String>,
    ) {
        self.all.emit(Event::Error(Error {
            kind,
            host: None,
            place: None,
            step: step.to_owned(),
            message,
            causes: vec![cause.to_string()],
            hint,
        }));
    }
}

/// What to do if the directory of a file to be written does not exist.
pub(super) fn directory_hint(file: &Path) -> Option<String> {
    let directory = file.parent().filter(|path| !path.as_os_str().is_empty())?;
    let text = directory.display().to_string();
    let quoted = shlex::try_quote(&text).ok()?;
    (!directory.exists()).then(|| format!("create the directory first: mkdir -p {quoted}"))
}

/// Errors in a file, for people, each with its excerpt.
pub(super) fn show_problems(what: &str, problems: &[Problem]) {
    let handler = miette::MietteHandlerOpts::new().build();
    for problem in problems {
        let shown = in_one_style(&format!("{:?}", Shown(&handler, problem)));
        base::output::error(&format!("{shown}\n"));
    }
    let errors = problems.iter().filter(|problem| !problem.warning).count();
    if errors > 0 {
        let ending = if errors == 1 { "" } else { "s" };
        base::output::error(&format!(
            "{errors} error{ending} in {what}; nothing was touched\n"
        ));
    }
}

struct Shown<'a>(&'a miette::MietteHandler, &'a Problem);

impl std::fmt::Debug for Shown<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        miette::ReportHandler::debug(self.0, self.1, formatter)
    }
}
