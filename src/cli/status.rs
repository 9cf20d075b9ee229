//! `dtls-deploy status`: every certificate, on disk and as served.
//!
//! Comes in: the arguments. Goes out: a look at the nodes, and perhaps a file of
//! metrics. Called by the command line.

use std::path::PathBuf;

use clap::Args;
use time::OffsetDateTime;

use super::arguments::Common;
use super::reports::Reports;
use super::start::look;
use crate::status::{Status, write_prometheus};
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
    } = arguments;
    let found = look(inventory, common, "verify", reports, async |look| {
        Status(look).look().await
    })?;
    if let Some(path) = prometheus {
        write_prometheus(path, &found, OffsetDateTime::now_utc()).map_err(|error| {
            let message = format!("the metrics cannot be written to {}", path.display());
            reports.error(ErrorKind::Usage, "write the metrics", message, &error);
            Exit::Usage
        })?;
    }
    Ok(found.exit)
}
