//! Whom a run reports to, as the command line asked for it: people, programs,
//! a log.

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

/// Whom a run reports to.
pub(super) struct Reports {
    /// Everyone.
    pub(super) all: Events,
    /// Programs and the log alone, for what people are shown in another form.
    machine: Events,
    /// Whether people are shown anything.
    human: bool,
}

impl Reports {
    pub(super) fn new(inventory: &Path, common: &Common, journal: &Journal) -> Result<Self, Exit> {
        let mut json = Json::default();
        if let Some(path) = &common.log {
            match json.and_log(path) {
                Ok(both) => json = both,
                Err(error) => {
                    eprintln!(
                        "Error: the log {} cannot be written\nCaused by: {error}",
                        path.display()
                    );
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
        let named = inventory.display().to_string();
        let mut all: Box<dyn Renderer> = Box::new(Commands::new(&named, Box::new(Several(all))));
        if common.untrusted {
            all = Box::new(Masked(all));
        }
        Ok(Self {
            all: Events::new(all),
            machine,
            human: is_human,
        })
    }

    /// Mistakes in a file: people see the piece of the file.
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

    /// A mistake in what the arguments select.
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

    /// Why what the inventory asks for cannot be.
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
        self.all.emit(Event::Error(Error {
            kind,
            host: None,
            place: None,
            step: step.to_owned(),
            message,
            causes: vec![cause.to_string()],
            hint: None,
        }));
    }
}

/// Mistakes in a file, for people, each with the piece of the file.
pub(super) fn show_problems(what: &str, problems: &[Problem]) {
    let handler = miette::MietteHandlerOpts::new().build();
    for problem in problems {
        eprintln!(
            "{}",
            in_one_style(&format!("{:?}", Shown(&handler, problem)))
        );
    }
    let errors = problems.iter().filter(|problem| !problem.warning).count();
    if errors > 0 {
        eprintln!(
            "{errors} error{} in {what}; nothing was touched",
            if errors == 1 { "" } else { "s" }
        );
    }
}

struct Shown<'a>(&'a miette::MietteHandler, &'a Problem);

impl std::fmt::Debug for Shown<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        miette::ReportHandler::debug(self.0, self.1, formatter)
    }
}
