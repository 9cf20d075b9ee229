//! `dtls-deploy doctor`: finds what would stop a run, and common problems.

use std::path::PathBuf;

use clap::Args;

use super::arguments::Common;
use super::reports::Reports;
use super::start::look;
use crate::doctor::Doctor;
use run::Exit;
use run::journal::Journal;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Ansible inventory in YAML
    inventory: PathBuf,
    #[command(flatten)]
    common: Common,
}

pub(super) fn main(arguments: &Arguments) -> Exit {
    let Arguments { inventory, common } = arguments;
    let found = Reports::new(inventory, common, &Journal::off()).and_then(|reports| {
        look(inventory, common, "deploy", &reports, async |look| {
            Doctor(look).look().await
        })
    });
    found.unwrap_or_else(|exit| exit)
}
