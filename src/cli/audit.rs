//! `dtls-deploy audit`: the audit logs of all guards in one table.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::arguments::{Common, Output};
use super::duration;
use super::reports::Reports;
use super::start::look;
use crate::audit::{Audit, Filter};
use run::Exit;
use run::journal::Journal;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Ansible inventory in YAML
    inventory: PathBuf,
    #[command(flatten)]
    common: Common,
    /// How far back, by the clock of each daemon: 90s, 5m, 1h30m
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = duration::positive)]
    since: Duration,
    /// Only the requests of this identity: HOST, NAME@HOST, or `local` for the local socket
    #[arg(long, value_name = "NAME")]
    identity: Option<String>,
    /// Only rejected requests
    #[arg(long)]
    denied: bool,
    /// The newest entries of each daemon
    #[arg(short = 'n', long, value_name = "ENTRIES", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    count: u32,
    /// The same as `--output json`
    #[arg(long)]
    json: bool,
}

pub(super) fn main(mut arguments: Arguments) -> Exit {
    if arguments.json {
        arguments.common.output = Output::Json;
    }
    let filter = Filter {
        since: arguments.since,
        identity: arguments.identity,
        denied: arguments.denied,
        count: arguments.count,
    };
    let (inventory, common) = (&arguments.inventory, &arguments.common);
    let found = Reports::new(inventory, common, &Journal::off()).and_then(|reports| {
        look(inventory, common, "verify", &reports, async |look| {
            Audit { look, filter }.collect().await
        })
    });
    found.unwrap_or_else(|exit| exit)
}
