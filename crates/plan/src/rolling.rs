//! What a rollover means for the current plan: its step, what each node trusts, and whether the
//! present CA has expired meanwhile.

use super::clocks::apart;
use super::expiry::{alive, has_expired, is_past};
use super::rollover::Trust;
use super::{Content, Planner, Refusal};
use inventory::Host;
use pki::Role;

impl Planner<'_> {
    /// The step that this run takes.
    #[must_use]
    pub fn rollover_step(&self) -> Option<u8> {
        let step = self.rollover.as_ref().map_or(0, |rollover| rollover.step);
        self.rolls_over.then_some(step)
    }

    /// The CA certificates that a node will trust.
    #[must_use]
    pub fn bundle(&self, host: &Host, role: Role) -> Content {
        match &self.rollover {
            Some(rollover) => {
                Content::Certificates(rollover.bundle(&host.holder(), role).to_owned())
            }
            None => self.authority.content(),
        }
    }

    /// Why the bundle at a path changes, where the CA is the reason.
    #[must_use]
    pub(crate) fn bundle_reasons(&self, host: &Host, role: Role, path: &str) -> Vec<String> {
        if self.authority.planned {
            return vec!["the CA is new".to_owned()];
        }
        let (Some(rollover), Some(facts)) = (&self.rollover, self.facts.get(&host.name)) else {
            return Vec::new();
        };
        let wanted = rollover.wanted(&host.holder(), role);
        if rollover
            .trust(facts, path)
            .is_none_or(|found| found == wanted)
        {
            return Vec::new();
        }
        let next = rollover.next().subject();
        vec![match wanted {
            Trust::Old => format!("CA rollover: {} only for now", rollover.current.subject()),
            Trust::Both => format!("CA rollover: {next} is trusted, too"),
            Trust::New => format!("CA rollover: only {next} is trusted"),
        }]
    }

    #[must_use]
    pub fn authority_expired(&self) -> bool {
        let authority = self.authority.certificate.as_ref();
        authority
            .is_some_and(|authority| has_expired(authority, self.inventory, self.facts, self.now))
    }

    /// Refuses a rollover if clocks disagree on whether the CA has expired. A daemon or client with
    /// a clock that is ahead is refused under its own host.
    pub(crate) fn agree_on_expiry(&self) -> Result<(), Refusal> {
        const NAMED: usize = 5;
        let Some(authority) = &self.authority.certificate else {
            return Ok(());
        };
        let ca = &self.inventory.ca().name;
        let end = authority.not_after().date();
        let text = if authority.not_after() <= self.now {
            let alive = alive(authority, self.inventory, self.facts, self.now);
            if alive.is_empty() {
                return Ok(());
            }
            let mut named: Vec<String> = alive
                .iter()
                .take(NAMED)
                .map(|(host, skew)| format!("that of {host}, {} it", apart(*skew)))
                .collect();
            if alive.len() > NAMED {
                named.push(format!("those of {} more", alive.len() - NAMED));
            }
            format!(
                "the CA has expired on {end} by this machine's clock, and not by {}",
                named.join(", ")
            )
        } else {
            match self.facts.get(ca) {
                Some(facts) if is_past(authority, self.now, facts) => format!(
                    "the CA has expired on {end} by the clock of {ca}, and not by this machine's: {ca}'s is {} it",
                    apart(facts.skew)
                ),
                _ => return Ok(()),
            }
        };
        Err(Refusal::new(text).hint(
            "an expired CA is replaced in another order than one that is in use: set the clocks right first (timedatectl set-ntp true, or chronyc makestep), this machine's too",
        ))
    }
}
