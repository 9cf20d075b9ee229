//! The agent's part of `dtls-deploy revoke`: marks in the ledger.
//!
//! A mark rejects no one by itself: dockerd has no list of revoked certificates. It is what plans
//! and `status` go by.

use std::collections::BTreeSet;

use time::OffsetDateTime;

use super::failure::Failure;
use super::ledger::{Event, Revocation};
use super::protocol::{ErrorKind, Response};
use super::session::Session;

/// Longest reason, in characters: it is shown in one line.
const LONGEST_REASON: usize = 200;

impl Session {
    /// All of them or none. Pairs that were not delivered are removed: a crash before that leaves
    /// them to the next `Hello`.
    pub(crate) fn revoke(
        &mut self,
        serials: &[String],
        reason: Option<&str>,
        now: OffsetDateTime,
    ) -> Result<Response, Failure> {
        let refuse = |what: String| Failure::new(ErrorKind::Request, what);
        if reason.is_some_and(|reason| reason.chars().count() > LONGEST_REASON) {
            return Err(refuse(format!(
                "the reason is longer than {LONGEST_REASON} characters"
            )));
        }
        let unknown = |serial: &&String| self.ledger.by_serial(serial).is_none();
        if let Some(serial) = serials.iter().find(unknown) {
            return Err(refuse(format!(
                "no certificate with serial {serial:?} was issued"
            )));
        }
        let revocation = Revocation {
            at: now,
            reason: reason.map(str::to_owned),
        };
        let serials: BTreeSet<&String> = serials.iter().collect();
        let events = serials
            .into_iter()
            .filter(|serial| self.ledger.revocation(serial).is_none())
            .map(|serial| Event::Revoked {
                serial: serial.clone(),
                revocation: revocation.clone(),
            });
        let events: Vec<Event> = events.collect();
        if !events.is_empty() {
            self.record(events)?;
            self.remove_pairs(self.gone())?;
        }
        Ok(Response::Done)
    }

    /// Takes back the marks that there are.
    pub(crate) fn readmit(
        &mut self,
        serials: &[String],
        now: OffsetDateTime,
    ) -> Result<Response, Failure> {
        let serials: BTreeSet<&String> = serials.iter().collect();
        let marked = serials
            .into_iter()
            .filter(|serial| self.ledger.revocation(serial).is_some());
        let events = marked.map(|serial| Event::Readmitted {
            serial: serial.clone(),
            at: now,
        });
        let events: Vec<Event> = events.collect();
        if !events.is_empty() {
            self.record(events)?;
        }
        Ok(Response::Done)
    }
}
