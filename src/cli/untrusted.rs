//! `--untrusted`: what is refused for an unreviewed inventory.
//!
//! The inventory reader refuses values that such an inventory may not set, and
//! [`run::report::masked`] masks the output of nodes.

use super::arguments::Common;
use super::book::Book;
use super::reports::Reports;
use base::event::ErrorKind;
use plan::Refusal;
use plan::playbook::{Playbook, Step};
use run::{Exit, Options};

const STEP: &str = "read the command line";

/// Refuses everything but plans and lists.
pub(super) fn refuse(
    common: &Common,
    book: &Book,
    options: &Options,
    reports: &Reports,
) -> Result<(), Exit> {
    if !common.untrusted || common.selection.is_list() {
        return Ok(());
    }
    if options.diff {
        let refusal = Refusal::new("--diff shows texts of nodes, and --untrusted shows none")
            .hint("leave out --diff");
        return no(reports, refusal);
    }
    if options.check && !matches!(book, Book::Access { .. }) {
        return Ok(());
    }
    refuse_command(common, reports)
}

/// Refuses a command that does more than that.
pub(super) fn refuse_command(common: &Common, reports: &Reports) -> Result<(), Exit> {
    if !common.untrusted || common.selection.is_list() {
        return Ok(());
    }
    let refusal = Refusal::new("--untrusted is for plans and lists: this command does more")
        .hint("add --check, --list-hosts or --list-tasks, or leave out --untrusted");
    no(reports, refusal)
}

/// Refuses commands in a playbook that use the inventory's values.
pub(super) fn refuse_templates(
    common: &Common,
    playbook: &Playbook,
    reports: &Reports,
) -> Result<(), Exit> {
    if !common.untrusted {
        return Ok(());
    }
    let tasks = playbook.plays.iter().flat_map(|play| &play.steps);
    let mut tasks = tasks.flat_map(Step::tasks);
    let templated = tasks.find(|task| {
        task.module.runs_programs && !task.arguments.iter().all(|(_, value)| value.is_fixed())
    });
    let Some(task) = templated else {
        return Ok(());
    };
    let refusal = Refusal::new(format!(
        "the task {} puts a command together from the inventory's values",
        node::visible(&task.name)
    ))
    .hint("write the command out: --untrusted takes no templates in it");
    reports.refusal(ErrorKind::Playbook, "read the playbook", refusal);
    Err(Exit::Usage)
}

fn no(reports: &Reports, refusal: Refusal) -> Result<(), Exit> {
    reports.refusal(ErrorKind::Usage, STEP, refusal);
    Err(Exit::Usage)
}
