//! The passphrase of an existing key or backup: asks for it, tries it, and asks again.

use pki::{AgentError, ErrorKind, KeyFileError, LeafName, Request};

use super::{Run, RunError};
use crate::agent::RunningAgent;
use crate::passphrase;
use base::secret::Secret;

impl Run<'_> {
    /// The passphrase that opens the CA's key on the CA node. Other problems of the CA are left to
    /// the request that needs the key. `changed`: this run has changed something; `forced`: the CA
    /// remembers these as soon as there is a passphrase.
    ///
    /// # Errors If there is no passphrase, or the last one does not open the key.
    pub(super) async fn unlock(
        &self,
        agent: &mut RunningAgent,
        changed: bool,
        forced: &[LeafName],
    ) -> Result<Secret, RunError> {
        let is_given = passphrase::is_given(&self.options.passphrase);
        until_accepted(passphrase::tries(is_given), async || {
            let passphrase = self.existing_passphrase().await?;
            self.remember(agent, forced).await?;
            let request = Request::OpenAuthority {
                passphrase: passphrase.clone(),
            };
            match self.unless(agent.client.call(request)).await? {
                Err(error @ AgentError::Refused { .. }) if is_wrong(&error) => {
                    let ca = &self.inventory.ca().name;
                    let what = format!("the CA's key on {ca}");
                    let hint = error.hint().map(|hint| match forced {
                        [] => hint.to_owned(),
                        _ => format!(
                            "{hint}; the CA has recorded what --force asked for, and the next deploy or rotate renews it"
                        ),
                    });
                    Err(RunError::not_opened(Some(ca), &what, changed, error, hint))
                }
                Err(AgentError::Refused { .. }) | Ok(_) => {
                    self.warn_of_weakness(&passphrase).await?;
                    Ok(passphrase)
                }
                Err(error) => Err(self.ca_error(agent.explain(error).await)),
            }
        })
        .await
    }

    /// The passphrase that opens a CA key on the controller: `what` is its name, followed by its
    /// bytes.
    ///
    /// # Errors Like [`Self::unlock`].
    pub(super) async fn unlock_file(&self, what: &str, key: &Secret) -> Result<Secret, RunError> {
        let is_given = passphrase::is_given(&self.options.passphrase);
        until_accepted(passphrase::tries(is_given), async || {
            let passphrase = self.existing_passphrase().await?;
            let (key, tried) = (key.clone(), passphrase.clone());
            let opening =
                tokio::task::spawn_blocking(move || pki::decrypt(key.expose(), &tried).map(drop));
            let opened = self.unless(opening).await?.map_err(RunError::Prompt)?;
            if let Err(error @ KeyFileError::WrongPassphrase) = opened {
                let ca = Some(&self.inventory.ca().name);
                let hint = error.hint().map(str::to_owned);
                return Err(RunError::not_opened(ca, what, false, error, hint));
            }
            self.warn_of_weakness(&passphrase).await?;
            Ok(passphrase)
        })
        .await
    }

    async fn existing_passphrase(&self) -> Result<Secret, RunError> {
        let source = self.options.passphrase.clone();
        self.ask(move || passphrase::obtain(&source, false)).await
    }
}

/// Repeats an attempt until it succeeds, or fails for a reason other than a wrong passphrase.
pub(super) async fn until_accepted<T>(
    tries: usize,
    mut attempt: impl AsyncFnMut() -> Result<T, RunError>,
) -> Result<T, RunError> {
    for _ in 1..tries {
        match attempt().await {
            Err(RunError::Passphrase(error)) if error.is_typed() => {
                passphrase::not_accepted(&error);
            }
            Err(RunError::NotOpened { source, .. }) => passphrase::not_accepted(&source),
            other => return other,
        }
    }
    attempt().await
}

fn is_wrong(error: &AgentError) -> bool {
    matches!(
        error,
        AgentError::Refused {
            kind: ErrorKind::WrongPassphrase,
            ..
        }
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::passphrase::PassphraseError;
    use futures::FutureExt as _;

    fn wrong() -> RunError {
        RunError::not_opened(None, "it", false, KeyFileError::WrongPassphrase, None)
    }

    /// Runs attempts with these results; returns the last result and the number of attempts.
    fn tried(tries: usize, ends: Vec<Result<(), RunError>>) -> (Result<(), RunError>, usize) {
        let (mut ends, mut made) = (ends.into_iter(), 0);
        let attempts = until_accepted(tries, async || {
            made += 1;
            ends.next().unwrap()
        });
        (attempts.now_or_never().unwrap(), made)
    }

    #[test]
    fn what_was_mistyped_is_asked_for_again() {
        let empty = || Err(PassphraseError::Empty.into());
        let (end, made) = tried(3, vec![empty(), Err(wrong()), Ok(())]);
        assert!(end.is_ok() && made == 3);
        let (end, made) = tried(3, vec![empty(), Err(wrong()), Err(wrong()), Ok(())]);
        assert!(matches!(end, Err(RunError::NotOpened { .. })) && made == 3);
        // A file would give the same passphrase again.
        let (end, made) = tried(1, vec![Err(wrong()), Ok(())]);
        let said = end.unwrap_err().to_string();
        assert_eq!(
            (said.as_str(), made),
            ("it was not opened; nothing was changed", 1)
        );
        let (end, made) = tried(3, vec![Err(RunError::Interrupted), Ok(())]);
        assert!(matches!(end, Err(RunError::Interrupted)) && made == 1);
    }
}
