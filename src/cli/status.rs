//! `dtls-deploy status`: every certificate, on disk and as served.
//!
//! Comes in: the arguments. Goes out: a look at the nodes, and perhaps a file of
//! metrics. Called by the command line.

use std::path::PathBuf;

use clap::Args;
use time::OffsetDateTime;

use super::arguments::Common;
use super::reports::Reports;
use super::start::{Book, asked_passwords, listen, load_inventory, load_playbook, ssh_context};
use crate::event::ErrorKind;
use crate::interrupt::Interrupt;
use crate::journal::Journal;
use crate::run::{Exit, run_id};
use crate::status::{Status, write_prometheus};
use crate::terminal::Terminal;

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
    match Reports::new(&arguments.common, &Journal::off()) {
        Ok(reports) => look(arguments, &reports).unwrap_or_else(|exit| exit),
        Err(exit) => exit,
    }
}

fn look(arguments: &Arguments, reports: &Reports) -> Result<Exit, Exit> {
    let common = &arguments.common;
    let inventory = load_inventory(&arguments.inventory, common, reports)?;
    let mut playbook = load_playbook(&Book::Shipped("verify"), &inventory, reports)?;
    common.selection.apply(&mut playbook, &inventory, reports)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| {
            let message = "the runtime cannot be started".to_owned();
            reports.error(ErrorKind::Internal, "start", message, &error);
            Exit::Internal
        })?;
    let (interrupt, terminal) = (Interrupt::default(), Terminal::remember());
    listen(&runtime, &interrupt, &terminal, &Journal::off(), reports)?;
    let passwords = asked_passwords(common, reports)?;
    let context = ssh_context(common, reports)?;
    let status = Status {
        run: run_id(OffsetDateTime::now_utc()),
        inventory: &inventory,
        playbook: &playbook,
        context: &context,
        passwords: &passwords,
        deadlines: common.deadlines(),
        forks: common.forks.into(),
        events: &reports.all,
    };
    // Nothing is changed: an interruption just ends it.
    let found = runtime.block_on(interrupt.or(status.look()));
    // A prompt that nobody answers must not keep the program from ending.
    runtime.shutdown_background();
    terminal.restore();
    let found = found.ok_or(Exit::Interrupted)?;
    if let Some(path) = &arguments.prometheus {
        write_prometheus(path, &found, OffsetDateTime::now_utc()).map_err(|error| {
            let message = format!("the metrics cannot be written to {}", path.display());
            reports.error(ErrorKind::Usage, "write the metrics", message, &error);
            Exit::Usage
        })?;
    }
    Ok(found.exit)
}
