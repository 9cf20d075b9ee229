//! `dtls-deploy status`: every certificate, on disk and as served.

use std::path::{Path, PathBuf};

use clap::Args;
use time::OffsetDateTime;

use super::arguments::Common;
use super::reports::{Reports, directory_hint};
use super::start::look;
use crate::status::{Status, write_html, write_prometheus};
use base::event::ErrorKind;
use run::Exit;
use run::journal::Journal;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Ansible inventory in YAML
    inventory: PathBuf,
    #[command(flatten)]
    common: Common,
    /// Also write metrics to this file, for `node_exporter`'s textfile collector
    #[arg(long, value_name = "FILE")]
    prometheus: Option<PathBuf>,
    /// Also write an HTML page to this file, with mode 0600
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

pub(super) fn main(arguments: &Arguments) -> Exit {
    match Reports::new(&arguments.inventory, &arguments.common, &Journal::off()) {
        Ok(reports) => show(arguments, &reports).unwrap_or_else(|exit| exit),
        Err(exit) => exit,
    }
}

fn show(arguments: &Arguments, reports: &Reports) -> Result<Exit, Exit> {
    let Arguments {
        inventory,
        common,
        prometheus,
        html,
    } = arguments;
    let found = look(inventory, common, "verify", reports, async |look| {
        Status(look).look().await
    })?;
    let now = OffsetDateTime::now_utc();
    if let Some(path) = prometheus {
        let written = write_prometheus(path, &found, now);
        written.map_err(|error| unwritten(reports, "metrics", path, &error))?;
    }
    if let Some(path) = html {
        let name = inventory.file_name().unwrap_or_default().to_string_lossy();
        let written = write_html(path, &found, &name, now);
        written.map_err(|error| unwritten(reports, "page", path, &error))?;
    }
    Ok(found.exit)
}

fn unwritten(reports: &Reports, what: &str, path: &Path, error: &std::io::Error) -> Exit {
    let message = format!("{} cannot be written", path.display());
    let step = format!("write the {what}");
    let hint = directory_hint(path);
    reports.advise(ErrorKind::Usage, &step, message, error, hint);
    Exit::Usage
}
