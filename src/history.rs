//! `dtls-deploy history`: shows the runs that changed something, from their journals.
//!
//! `--output json` prints the same for programs.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use clap::{Args, ValueEnum};
use serde::Serialize;
use time::{OffsetDateTime, UtcOffset};

use crate::terminal;
use base::event::Renderer as _;
use node::visible;
use run::Exit;
use run::journal::record::{Ending, OpenAct, Record};
use run::journal::{directory, newest};
use run::report::plain::Text;
use run::report::{self, Style, Verbosity};

/// Spaces between the time and the text of a line.
const MARGIN: usize = "00:00:00.000  ".len();

#[derive(Debug, Args)]
pub struct Arguments {
    /// The run to show: its name, enough of its beginning, or `last`
    run: Option<String>,
    /// How many runs to list
    #[arg(
        short = 'n',
        value_name = "COUNT",
        default_value_t = 20,
        conflicts_with = "run"
    )]
    count: usize,
    /// How to report
    #[arg(long, value_enum, default_value_t = Output::Plain)]
    output: Output,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people
    Plain,
    /// One JSON object a line
    Json,
}

#[derive(Debug, thiserror::Error)]
enum HistoryError {
    #[error("there is no place for journals: neither XDG_STATE_HOME nor HOME is set")]
    NoPlace,
    #[error("{0} cannot be read: {1}")]
    Read(String, std::io::Error),
    #[error("there is no journal of any run in {0}")]
    None(String),
    #[error("no run begins with {0:?}; `dtls-deploy history` lists them")]
    Unknown(String),
    #[error("several runs begin with {name:?}: {}", .runs.join(", "))]
    Several { name: String, runs: Vec<String> },
}

#[must_use]
pub fn main(arguments: &Arguments) -> Exit {
    let result = match &arguments.run {
        Some(run) => show(run, arguments.output),
        None => list(arguments.count, arguments.output),
    };
    match result {
        Ok(lines) => {
            for line in lines {
                base::output::print(&format!("{line}\n"));
            }
            Exit::Fine
        }
        Err(error) => {
            base::output::error(&format!("Error: {error}\n"));
            Exit::Usage
        }
    }
}

fn journals() -> Result<(String, Vec<std::path::PathBuf>), HistoryError> {
    let directory = directory(|name| std::env::var_os(name)).ok_or(HistoryError::NoPlace)?;
    let name = visible(&directory.display().to_string());
    let paths = newest(&directory).map_err(|error| HistoryError::Read(name.clone(), error))?;
    Ok((name, paths))
}

fn read(path: &Path) -> Result<Option<Record>, HistoryError> {
    let name = || visible(&path.display().to_string());
    Record::read(path).map_err(|error| HistoryError::Read(name(), error))
}

/// One run, for programs.
#[derive(Serialize)]
struct Line<'a> {
    run: &'a str,
    #[serde(with = "time::serde::rfc3339")]
    time: OffsetDateTime,
    inventory: &'a Path,
    playbook: &'a str,
    hosts: usize,
    changed: usize,
    failed: usize,
    state: &'static str,
    /// For people.
    ended: String,
}

fn list(count: usize, output: Output) -> Result<Vec<String>, HistoryError> {
    let (_, paths) = journals()?;
    let mut records = Vec::new();
    for path in paths {
        if records.len() == count {
            break;
        }
        records.extend(read(&path)?);
    }
    if output == Output::Json {
        let lines = records.iter().map(|record| {
            let (playbook, hosts) = record.about();
            let (changed, failed) = record.counts();
            let (state, ended) = ended(&record.ending());
            let line = Line {
                run: &record.run,
                time: record.begun,
                inventory: &record.inventory,
                playbook,
                hosts,
                changed,
                failed,
                state,
                ended,
            };
            serde_json::to_string(&line).unwrap_or_default()
        });
        return Ok(lines.collect());
    }
    if records.is_empty() {
        return Ok(vec!["no run has changed anything so far".to_owned()]);
    }
    let rows = records.iter().map(|record| {
        let (playbook, hosts) = record.about();
        let (changed, failed) = record.counts();
        let inventory = record.inventory.display().to_string();
        [
            visible(&record.run),
            local(record.begun),
            visible(&inventory),
            visible(playbook),
            hosts.to_string(),
            changed.to_string(),
            failed.to_string(),
            ended(&record.ending()).1,
        ]
    });
    let heads = [
        "run",
        "when",
        "inventory",
        "playbook",
        "hosts",
        "changed",
        "failed",
        "ended",
    ];
    let rows: Vec<_> = std::iter::once(heads.map(str::to_owned))
        .chain(rows)
        .collect();
    Ok(report::table(&rows, terminal::width(std::io::stdout())))
}

/// How a run ended, for programs and for people.
fn ended(ending: &Ending) -> (&'static str, String) {
    let names = |names: &[String]| {
        let names: Vec<String> = names.iter().map(|name| visible(name)).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        report::some_of(&names, 3)
    };
    let changing = |acts: &[OpenAct]| {
        let acts: Vec<String> = acts
            .iter()
            .map(|act| format!("{} ({})", act.host, act.step))
            .collect();
        match acts.as_slice() {
            [] => String::new(),
            acts => format!(" while changing {}", names(acts)),
        }
    };
    match ending {
        Ending::UnderWay => ("under_way", "is under way".to_owned()),
        Ending::Fine => ("fine", "fine".to_owned()),
        Ending::Failed(hosts) => ("failed", format!("failed on {}", names(hosts))),
        Ending::NotProved(hosts) => ("not_proved", format!("not proved: {}", names(hosts))),
        Ending::Interrupted => ("interrupted", "interrupted".to_owned()),
        Ending::Abandoned(acts) => ("abandoned", format!("left{}", changing(acts))),
        Ending::Error(message) => ("error", visible(message)),
        Ending::Silent(acts) => (
            "silent",
            format!("ended without a report{}", changing(acts)),
        ),
    }
}

/// In the local time zone, or in UTC, which is then named.
fn local(at: OffsetDateTime) -> String {
    let format = time::macros::format_description!("[year]-[month]-[day] [hour]:[minute]:[second]");
    let (offset, zone) = offset(at);
    let text = at.to_offset(offset).format(&format);
    text.unwrap_or_default() + zone
}

fn offset(at: OffsetDateTime) -> (UtcOffset, &'static str) {
    UtcOffset::local_offset_at(at).map_or((UtcOffset::UTC, " UTC"), |offset| (offset, ""))
}

fn find(name: &str) -> Result<std::path::PathBuf, HistoryError> {
    let (directory, paths) = journals()?;
    let of = |path: &Path| {
        let stem = path.file_stem().unwrap_or_default();
        stem.to_string_lossy().into_owned()
    };
    let mut found: Vec<_> = if name == "last" {
        let last = paths.into_iter().next();
        vec![last.ok_or(HistoryError::None(directory))?]
    } else {
        paths
            .into_iter()
            .filter(|path| of(path).starts_with(name))
            .collect()
    };
    if let Some(exact) = found.iter().position(|path| of(path) == name) {
        return Ok(found.swap_remove(exact));
    }
    match found.as_slice() {
        [] => Err(HistoryError::Unknown(name.to_owned())),
        [path] => Ok(path.clone()),
        several => Err(HistoryError::Several {
            name: name.to_owned(),
            runs: several.iter().map(|path| visible(&of(path))).collect(),
        }),
    }
}

fn show(name: &str, output: Output) -> Result<Vec<String>, HistoryError> {
    let path = find(name)?;
    if output == Output::Json {
        let text = std::fs::read_to_string(&path)
            .map_err(|error| HistoryError::Read(visible(&path.display().to_string()), error))?;
        return Ok(text.lines().map(str::to_owned).collect());
    }
    let Some(record) = read(&path)? else {
        return Ok(vec![
            "the run has ended before it wrote anything".to_owned(),
        ]);
    };
    let at = Arc::new(Mutex::new(String::new()));
    let lines = Arc::new(Mutex::new(Vec::new()));
    let terminal = std::io::IsTerminal::is_terminal(&std::io::stdout());
    let width = terminal::width(std::io::stdout());
    let style = Style {
        timings: false,
        colour: report::wants_colour(terminal, |name| std::env::var(name).ok()),
        verbosity: Verbosity::Verbose,
        width: width.map(|width| width.saturating_sub(MARGIN)),
    };
    let (when, drawn) = (Arc::clone(&at), Arc::clone(&lines));
    let mut text = Text::new(style, move |_, line: &str| {
        let when = when.lock().unwrap_or_else(PoisonError::into_inner);
        let mut drawn = drawn.lock().unwrap_or_else(PoisonError::into_inner);
        let lines = line.split('\n').map(|line| format!("{when}  {line}"));
        drawn.extend(lines.map(|line| line.trim_end().to_owned()));
    });
    let format = time::macros::format_description!("[hour]:[minute]:[second].[subsecond digits:3]");
    for (time, event) in &record.events {
        let time = time.to_offset(offset(*time).0).format(&format);
        *at.lock().unwrap_or_else(PoisonError::into_inner) = time.unwrap_or_default();
        text.event(event);
    }
    let mut all = vec![format!(
        "run {} of {}, {}",
        visible(&record.run),
        local(record.begun),
        visible(&record.inventory.display().to_string())
    )];
    all.append(&mut lines.lock().unwrap_or_else(PoisonError::into_inner));
    all.push(format!("ended: {}", ended(&record.ending()).1));
    for run in &record.adopted {
        all.push(format!(
            "what it left was checked by the run {}",
            visible(run)
        ));
    }
    Ok(all)
}
