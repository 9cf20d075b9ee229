//! `ca_rollover`: replaces one CA with another. It plans the part on the CA node, and signals the
//! other tasks of the run to do theirs.
//!
//! One run takes one step: see [`crate::Rollover`]. `dtls-deploy rotate
//! --ca` runs its playbook until no step is left.

use super::shared::Module;
use crate::host::ca::{KEY, retired};
use crate::host::daemon_json::PATH;
use crate::host::leaf::location as leaf_location;
use crate::launch::serves_tls;
use crate::moves::check_called;
use crate::owner::refuse_foreign;
use crate::playbook::Task;
use crate::{
    Action, Authority, AuthorityProblem, Change, Outside, Planner, Refusal, leaves_of, outside_of,
    revoked, wanted_sans,
};
use inventory::{Host, Inventory, host_of};
use node::facts::{FactRequest, FileFact};
use pki::{LEDGER, RETIRED, Role};

#[derive(Debug)]
pub struct CaRollover;

impl Module for CaRollover {
    fn facts(&self, inventory: &Inventory, host: &Host, _: &Task, request: &mut FactRequest) {
        if host.is_ca {
            Authority::request(inventory, request);
            // The agent removes all of them.
            request.hashed.extend(retired(&host.settings.ca_dir, KEY));
        }
    }

    fn plan(
        &self,
        planner: &mut Planner<'_>,
        host: &Host,
        task: &Task,
    ) -> Result<Vec<Change>, Refusal> {
        planner.authority.usable()?;
        if !host.is_ca {
            return Err(Refusal::new("it is not the CA's node").hint("give the play `hosts: ca`"));
        }
        if planner.authority.certificate.is_none() {
            let directory = planner.facts(&host.name)?.expand(&host.settings.ca_dir);
            if let Some(problem) = planner.lost_authority(&directory) {
                planner.nothing_for(problem)?;
            }
            return Err(Refusal::new("there is no CA yet that another could follow")
                .hint("deploy first: dtls-deploy INVENTORY"));
        }
        if !planner.authority.knows_holders() && !is_idle(task) {
            let problem = AuthorityProblem::NoLedger(format!("{}/{LEDGER}", host.settings.ca_dir));
            planner.nothing_for(problem)?;
        }
        if !is_idle(task) {
            planner.agree_on_expiry()?;
        }
        let changes = if planner.rollover.is_none() {
            start_or_end(planner, host, task)?
        } else {
            go_on(planner, host, task)?
        };
        if planner.rolls_over {
            note_expired(planner, host);
        }
        Ok(changes)
    }
}

fn change(
    host: &Host,
    task: &Task,
    subject: String,
    reason: String,
    action: Action,
) -> Vec<Change> {
    vec![Change {
        host: host.name.clone(),
        task: task.name.clone(),
        subject,
        reasons: vec![reason],
        diff: None,
        action,
    }]
}

/// With an expired CA no connection works anyway.
fn note_expired(planner: &mut Planner<'_>, host: &Host) {
    let present = planner.authority.certificate.as_ref();
    if let Some(end) = present.map(pki::Certificate::not_after)
        && end <= planner.now
    {
        let text = format!(
            "the CA has expired on {}: daemons and clients reject each other until both have certificates of the next CA, which this run gives them",
            end.date()
        );
        planner.note(host, text);
    }
}

/// The playbook neither begins nor continues a rollover.
fn is_idle(task: &Task) -> bool {
    task.argument("begin") == Some("never")
}

/// Notes certificates that keep names or other contents which the inventory does not declare.
fn note_left_to_deploy(planner: &mut Planner<'_>) {
    for (holder, role) in leaves_of(planner.inventory) {
        let Some(certificate) = planner.certificate_at(holder, role) else {
            continue;
        };
        let faults = planner.faults(holder, role, &certificate, None);
        if !faults.is_empty() {
            let text = format!(
                "{} is not as the inventory declares ({}): the next deploy changes it",
                holder.certificate_of(role),
                faults.join("; ")
            );
            planner.note(holder, text);
        }
    }
}

/// Refuses a rollover whose certificates would not be valid for the address of a daemon. They have
/// the names of the present ones and those that the inventory declares.
fn refuse_uncalled(planner: &mut Planner<'_>) -> Result<(), Refusal> {
    for daemon in planner.inventory.daemons() {
        let Some(certificate) = planner.certificate_at(daemon, Role::Daemon) else {
            continue;
        };
        let wanted = wanted_sans(daemon, Role::Daemon, planner.facts.get(&daemon.name));
        let sans = wanted.union(certificate.sans()).cloned().collect();
        if let Err(refusal) = check_called(daemon, &sans) {
            return planner.nothing_for(AuthorityProblem::Unready {
                message: format!("CA rollover: it does not begin: {}: {refusal}", daemon.name),
                hint: refusal.hint,
            });
        }
    }
    Ok(())
}

/// No reached daemon has a delivered certificate: it was removed, or never deployed.
fn has_no_deployed_daemon(planner: &Planner<'_>) -> bool {
    let daemons = planner.inventory.daemons();
    let mut reached = daemons.filter_map(|daemon| Some((daemon, planner.facts.get(&daemon.name)?)));
    let mut seen = false;
    let lacks = reached.all(|(daemon, facts)| {
        seen = true;
        let (directory, files) = leaf_location(daemon, Role::Daemon);
        let path = facts.expand(&format!("{directory}/{}", files.cert));
        matches!(facts.file(&path), Some(FileFact::Absent))
    });
    seen && lacks
}

/// No rollover is under way: begins one, or cleans up a completed one.
fn start_or_end(
    planner: &mut Planner<'_>,
    host: &Host,
    task: &Task,
) -> Result<Vec<Change>, Refusal> {
    let facts = planner.facts(&host.name)?;
    let directory = facts.expand(&host.settings.ca_dir);
    let keys = retired(&directory, KEY)
        .filter(|path| facts.regular(path).is_some())
        .count();
    let is_over = planner.authority.is_rolled_over;
    let destroy_old = task.argument("old_key") == Some("destroy");
    let end = |reason: String| {
        let what = if destroy_old && keys > 0 {
            "keys of retired CAs"
        } else {
            "retired CAs"
        };
        let subject = format!("{what} in {directory}/{RETIRED}");
        change(
            host,
            task,
            subject,
            reason,
            Action::EndRollover { destroy_old },
        )
    };
    if is_over {
        // What this run leaves behind.
        planner.authority.is_rolled_over = false;
        if !is_idle(task) {
            // It ends the rollover, and replaces no certificate of the new CA.
            planner.rolls_over = true;
            note_left_to_deploy(planner);
        }
        let mut reason = "the rollover is over: every node trusts the new CA only".to_owned();
        let gone: Vec<_> = revoked::revoked(&planner.authority, planner.now)
            .map(|(entry, _)| entry)
            .filter(|entry| !revoked::is_of_present(&planner.authority, entry))
            .collect();
        if !gone.is_empty() {
            reason = format!(
                "{reason}, and revoked certificates are rejected: {}",
                revoked::listed(&gone)
            );
        }
        return Ok(end(reason));
    }
    if is_idle(task) && destroy_old && keys > 0 {
        return Ok(end(format!("{keys} to be removed for good")));
    }
    if is_idle(task) {
        return Ok(Vec::new());
    }
    if has_no_deployed_daemon(planner) {
        planner.nothing_for(AuthorityProblem::Undeployed)?;
    }
    refuse_unready(planner, "it does not begin")?;
    refuse_uncalled(planner)?;
    if let Some(daemon) = down(planner)
        && !planner.authority_expired()
    {
        let text = "docker does not run here: it is started first, and the CA rollover begins when it runs";
        planner.note(daemon, text);
        return Ok(Vec::new());
    }
    planner.rolls_over = true;
    let declared = Declared::by(task);
    let mut outside = outside_of(&planner.authority, planner.inventory, planner.now);
    outside.retain(|outside| {
        !declared.lets_go(outside) && !outside.is_removed(planner.inventory, planner.facts)
    });
    if !outside.is_empty() {
        return Err(held_by(planner, &outside, "it does not begin"));
    }
    let mut subject = host.settings.ca_subject.clone();
    if subject.common_name.is_none() {
        subject.common_name = Some(format!("{} CA", planner.inventory.name));
    }
    let action = Action::NextAuthority(planner.authority_profile(host, subject));
    let reason = "a rollover begins".to_owned();
    Ok(change(
        host,
        task,
        format!("next CA in {directory}/next"),
        reason,
        action,
    ))
}

/// A rollover is under way: the other tasks continue it, and the old CA retires once they have
/// nothing left to do.
fn go_on(planner: &mut Planner<'_>, host: &Host, task: &Task) -> Result<Vec<Change>, Refusal> {
    if is_idle(task) {
        return Ok(Vec::new());
    }
    refuse_unready(planner, "it does not go on")?;
    planner.rolls_over = true;
    let directory = planner.facts(&host.name)?.expand(&host.settings.ca_dir);
    let Some(rollover) = &mut planner.rollover else {
        return Ok(Vec::new());
    };
    rollover.advances = true;
    let declared = Declared::by(task);
    rollover
        .outside
        .retain(|outside| !declared.lets_go(outside));
    let outside = rollover.outside.clone();
    let step = rollover.step;
    // Certificates that are already rejected cannot be cut off.
    let cuts_off = !rollover.expired && !rollover.cut_off().is_empty();
    rollover.waits = cuts_off;
    let next = rollover.next().subject().to_owned();
    let unreachable: Vec<(String, String)> = rollover
        .held_back()
        .into_iter()
        .filter(|(host, _)| !planner.facts.contains_key(host))
        .collect();
    for (name, text) in unreachable {
        if let Some(host) = planner.inventory.host(&name) {
            planner.note(host, text);
        }
    }
    if outside.is_empty() {
        if step < 6 {
            return Ok(Vec::new());
        }
        return Ok(change(
            host,
            task,
            format!("CA in {directory}"),
            format!("CA rollover: every node trusts {next} only"),
            Action::Promote,
        ));
    }
    if cuts_off {
        return Err(held_by(
            planner,
            &outside,
            &format!("step {step} is not taken"),
        ));
    }
    let text = format!(
        "CA rollover: it stops before it cuts off others that hold certificates of the old CA and are not in the inventory: {}; {}",
        listed(&outside),
        let_go(planner, &outside)
    );
    planner.note(host, text);
    Ok(Vec::new())
}

/// Refuses a rollover while a daemon of the inventory does not serve a certificate of this CA: the
/// step would change files that dockerd does not read, and the rollover would stop there.
fn refuse_unready(planner: &mut Planner<'_>, what: &str) -> Result<(), Refusal> {
    let is_expired = planner.authority_expired();
    let mut missing = Vec::new();
    for daemon in planner.inventory.daemons() {
        let Some(facts) = planner.facts.get(&daemon.name) else {
            continue;
        };
        // The playbook does not check this.
        if facts.file(PATH).is_none() {
            continue;
        }
        if let Err(refusal) = refuse_foreign(planner, daemon, facts) {
            return planner.nothing_for(AuthorityProblem::Unready {
                message: format!("CA rollover: {what}: {}: {refusal}", daemon.name),
                hint: refusal.hint,
            });
        }
        // An expired CA issues nothing for a deployment.
        if !is_expired && !serves_tls(daemon, facts) {
            missing.push(daemon.name.clone());
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let (names, are) = match missing.as_slice() {
        [one] => (one.clone(), "is"),
        _ => (missing.join(", "), "are"),
    };
    planner.nothing_for(AuthorityProblem::Unready {
        message: format!("CA rollover: {what}, because {names} {are} not deployed yet"),
        hint: Some(format!(
            "deploy first: dtls-deploy deploy INVENTORY; or take {names} out of the inventory"
        )),
    })
}

impl Planner<'_> {
    /// The following tasks issue nothing either.
    pub(crate) fn nothing_for(&mut self, problem: AuthorityProblem) -> Result<(), Refusal> {
        self.authority.problem = Some(problem.clone());
        Err(problem.into())
    }
}

/// A daemon that is already down: its step would fail, and the others would stay between two CAs.
fn down<'a>(planner: &Planner<'a>) -> Option<&'a Host> {
    let mut daemons = planner.inventory.daemons();
    daemons.find(|host| {
        let facts = planner.facts.get(&host.name);
        let unit = facts.and_then(|facts| facts.unit.as_ref());
        unit.is_some_and(|unit| matches!(unit.active_state(), "failed" | "inactive"))
    })
}

fn let_go(planner: &Planner<'_>, outside: &[Outside]) -> String {
    let names = outside.iter().flat_map(|one| one.names(planner.inventory));
    let mut names: Vec<String> = names.collect();
    names.dedup();
    let names = names.iter().map(|name| format!(" --abandon {name}"));
    format!(
        "give these hosts this role in the inventory, or let them go: dtls-deploy rotate --ca INVENTORY{}",
        names.collect::<String>()
    )
}

fn listed(outside: &[Outside]) -> String {
    let described: Vec<String> = outside.iter().map(Outside::described).collect();
    described.join(", ")
}

/// The refusal of a step that would cut off others.
fn held_by(planner: &Planner<'_>, outside: &[Outside], what: &str) -> Refusal {
    Refusal::new(format!(
        "CA rollover: {what}, because it would cut off others that hold certificates of the old CA and are not in the inventory: {}",
        listed(outside)
    ))
    .hint(let_go(planner, outside))
}

/// Holders whose certificates of the old CA may stop working.
struct Declared<'a> {
    abandoned: Vec<String>,
    revoking: Option<&'a str>,
}

impl<'a> Declared<'a> {
    fn by(task: &'a Task) -> Self {
        Self {
            abandoned: task.list("abandon"),
            revoking: task.argument("revoking"),
        }
    }

    fn lets_go(&self, outside: &Outside) -> bool {
        let of_host = host_of(&outside.host);
        let is_named = |serial: &String| self.abandoned.contains(serial);
        let is_abandoned = self
            .abandoned
            .iter()
            .any(|name| *name == outside.host || *name == of_host)
            || outside.serials.iter().all(is_named);
        let is_revoked = self.revoking.is_some_and(|name| {
            let serial = name.replace(':', "").to_ascii_uppercase();
            name == outside.host || outside.serials.iter().all(|of| *of == serial)
        });
        is_abandoned || is_revoked
    }
}
