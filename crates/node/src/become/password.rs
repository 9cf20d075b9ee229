//! One password for sudo, shared by several hosts.
//!
//! A wrong password sent to all hosts at once would lock an account that they share.

use std::sync::{Mutex, PoisonError};

use tokio::sync::{Mutex as Turns, MutexGuard};

use base::secret::Secret;

/// This many hosts may reject a password that none has accepted. One host may have a different
/// password; more suggest a typo.
const MOST_REFUSALS: usize = 2;

/// A password and its outcome.
#[derive(Debug)]
pub struct SudoPassword {
    secret: Secret,
    /// Taken by the task that sends it, until it has been accepted once.
    turn: Turns<()>,
    answers: Mutex<Answers>,
}

#[derive(Debug, Default)]
struct Answers {
    accepted: bool,
    refused_by: Vec<String>,
}

/// May be held while sudo checks.
#[derive(Debug)]
pub(super) struct Turn<'a>(
    #[allow(dead_code, reason = "its drop is what counts")] Option<MutexGuard<'a, ()>>,
);

impl SudoPassword {
    /// A password that has not been tried.
    #[must_use]
    pub fn new(secret: Secret) -> Self {
        Self {
            secret,
            turn: Turns::new(()),
            answers: Mutex::default(),
        }
    }

    /// The password itself, one line of text.
    #[must_use]
    pub fn secret(&self) -> &Secret {
        &self.secret
    }

    /// The hosts that rejected it, if it is given up.
    pub(super) fn given_up(&self) -> Option<Vec<String>> {
        self.with(|answers| {
            (!answers.accepted && answers.refused_by.len() >= MOST_REFUSALS)
                .then(|| answers.refused_by.clone())
        })
    }

    /// Waits for permission to send it: at once if some host has accepted it, otherwise one host
    /// after the other.
    pub(super) async fn turn(&self) -> Result<Turn<'_>, Vec<String>> {
        if self.with(|answers| answers.accepted) {
            return Ok(Turn(None));
        }
        let turn = self.turn.lock().await;
        match self.given_up() {
            Some(hosts) => Err(hosts),
            None if self.with(|answers| answers.accepted) => Ok(Turn(None)),
            None => Ok(Turn(Some(turn))),
        }
    }

    pub(super) fn accepted(&self) {
        self.with(|answers| answers.accepted = true);
    }

    pub(super) fn refused(&self, by: String) {
        self.with(|answers| answers.refused_by.push(by));
    }

    fn with<T>(&self, look: impl FnOnce(&mut Answers) -> T) -> T {
        look(&mut self.answers.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password() -> SudoPassword {
        SudoPassword::new(Secret::from("x".to_owned()))
    }

    #[tokio::test]
    async fn two_refusals_are_enough() {
        let password = password();
        for host in ["node1", "node2"] {
            let turn = password.turn().await.unwrap();
            password.refused(host.to_owned());
            drop(turn);
        }
        assert_eq!(password.turn().await.unwrap_err(), ["node1", "node2"]);
    }

    #[tokio::test]
    async fn once_accepted_it_is_no_longer_waited_for() {
        let password = password();
        let turn = password.turn().await.unwrap();
        assert!(
            tokio::time::timeout(std::time::Duration::from_millis(20), password.turn())
                .await
                .is_err(),
            "two turns at one time"
        );
        password.accepted();
        drop(turn);
        for _ in 0..5 {
            password.refused("another".to_owned());
        }
        let _first = password.turn().await.unwrap();
        let _second = password.turn().await.unwrap();
    }
}
