//! Logging in.

use std::sync::Arc;

use russh::MethodKind;
use russh::client::{AuthResult, Handle, KeyboardInteractiveAuthResponse};

use super::error::{ConnectError, ConnectFault, TriedMethod};
use super::handler::{Remarks, Watcher, describe};
use super::host_key::Trust;
use super::keyring::{Keyring, Offer};
use super::keys::KeyFile;
use super::settings::Settings;
use super::signer::{SignFault, Signing};

/// Failed attempts after which nothing more is tried. sshd hangs up at the
/// sixth (`MaxAuthTries`), and since 9.8 failures lock the source out.
const MOST_FAILURES: usize = 5;

/// How an authentication ended, errors apart.
#[derive(Debug)]
pub(super) enum Outcome {
    In,
    /// The server would accept this key: ask for its passphrase, come back.
    Passphrase(Arc<KeyFile>),
}

/// One authentication.
pub(super) struct Login<'a> {
    pub handle: &'a mut Handle<Watcher>,
    pub settings: &'a Settings,
    pub remarks: &'a Remarks,
    pub trust: Trust,
    pub can_ask: bool,
    tried: Vec<TriedMethod>,
    failures: usize,
    /// What the server said it accepts; unknown before the first failure.
    offered: Option<Vec<MethodKind>>,
}

/// What a single attempt led to.
enum Step {
    In,
    Next,
    Stop,
}

impl<'a> Login<'a> {
    pub(super) fn new(
        handle: &'a mut Handle<Watcher>,
        settings: &'a Settings,
        remarks: &'a Remarks,
        trust: Trust,
        can_ask: bool,
    ) -> Self {
        Self {
            handle,
            settings,
            remarks,
            trust,
            can_ask,
            tried: Vec::new(),
            failures: 0,
            offered: None,
        }
    }

    /// Tries what there is, in OpenSSH's order: agent and file keys, then the
    /// password.
    pub(super) async fn run(mut self, keyring: &Keyring) -> Result<Outcome, ConnectError> {
        self.tried.extend(keyring.remarks.iter().cloned());
        if self.settings.methods.public_key {
            let agent = keyring.agent(self.settings, self.handle).await;
            let (offers, mut signing, remarks) = keyring.offers(self.settings, agent);
            self.tried.extend(remarks);
            let reserve = if self.settings.password.is_some() {
                2
            } else {
                0
            };
            let mut left = offers.len();
            for offer in &offers {
                if !self.accepts(MethodKind::PublicKey) {
                    break;
                }
                if self.failures + reserve >= MOST_FAILURES {
                    self.note(
                        "publickey",
                        format!("{left} more"),
                        "not tried, because servers hang up after six failures; name the right \
                         key with ansible_ssh_private_key_file or IdentityFile",
                    );
                    break;
                }
                left -= 1;
                match self.offer(offer, &mut signing).await? {
                    Ok(Step::In) => return Ok(Outcome::In),
                    Ok(Step::Next) => {}
                    Ok(Step::Stop) => return Err(self.failed()),
                    Err(file) => return Ok(Outcome::Passphrase(file)),
                }
            }
        }
        match self.password().await {
            Step::In => Ok(Outcome::In),
            Step::Next | Step::Stop => Err(self.failed()),
        }
    }

    /// One key. The inner error is the key file whose passphrase is wanted.
    async fn offer(
        &mut self,
        offer: &Offer,
        signing: &mut Signing,
    ) -> Result<Result<Step, Arc<KeyFile>>, ConnectError> {
        let label = offer.label.clone();
        let hash = if offer.key.algorithm().is_rsa() {
            match self.handle.best_supported_rsa_hash().await {
                Ok(Some(None)) => {
                    self.note(
                        "publickey",
                        label,
                        "not tried, the server knows RSA with SHA-1 only",
                    );
                    return Ok(Ok(Step::Next));
                }
                Ok(Some(hash)) => hash,
                // No `server-sig-algs`, or no answer, which the attempt will show.
                Ok(None) | Err(_) => Some(russh::keys::HashAlg::Sha512),
            }
        } else {
            None
        };
        let user = self.settings.endpoint.user.clone();
        signing.select(&offer.source);
        let result = match &offer.certificate {
            Some(certificate) => {
                let certificate = certificate.clone();
                self.handle
                    .authenticate_certificate_with(user, certificate, hash, signing)
                    .await
            }
            None => {
                self.handle
                    .authenticate_publickey_with(user, offer.key.clone(), hash, signing)
                    .await
            }
        };
        match result {
            Ok(answer) => Ok(Ok(self.judge("publickey", label, answer))),
            Err(SignFault::Locked(file)) if self.can_ask && !file.is_given_up() => Ok(Err(file)),
            Err(SignFault::Locked(_)) => {
                self.note(
                    "publickey",
                    label,
                    "accepted by the server, but the key is encrypted and its passphrase was not given",
                );
                Ok(Ok(Step::Next))
            }
            Err(SignFault::Failed(reason)) => {
                self.note("publickey", label, format!("could not sign: {reason}"));
                Ok(Ok(Step::Next))
            }
            Err(SignFault::ConnectionLost) => {
                self.note("publickey", label, "the connection ended");
                Ok(Ok(Step::Stop))
            }
        }
    }

    async fn password(&mut self) -> Step {
        let Some(password) = self.settings.password.clone() else {
            return Step::Stop;
        };
        let why = match self.trust {
            Trust::Identified => None,
            Trust::Unverified => {
                Some("not sent, because no known_hosts file of yours vouches for the host key")
            }
            Trust::Contradicted => Some("not sent, because the host key is not the recorded one"),
        };
        if let Some(why) = why {
            self.note("password", "", why);
            return Step::Stop;
        }
        let Ok(text) = password.expose_str() else {
            self.note("password", "", "not sent, because it is not UTF-8 text");
            return Step::Stop;
        };
        if self.settings.methods.password && self.accepts(MethodKind::Password) {
            let user = self.settings.endpoint.user.clone();
            let step = match self.handle.authenticate_password(user, text).await {
                Ok(answer) => self.judge("password", String::new(), answer),
                Err(error) => self.broken("password", &error),
            };
            if !matches!(step, Step::Next) {
                return step;
            }
        }
        if self.settings.methods.keyboard_interactive
            && self.failures < MOST_FAILURES
            && self.accepts(MethodKind::KeyboardInteractive)
        {
            return self.interact(text).await;
        }
        Step::Stop
    }

    /// Keyboard-interactive: the password answers one hidden question. A
    /// second one is something else (a one-time code), and no one's to guess.
    async fn interact(&mut self, password: &str) -> Step {
        const METHOD: &str = "keyboard-interactive";
        let user = self.settings.endpoint.user.clone();
        let mut answer = self
            .handle
            .authenticate_keyboard_interactive_start(user, None)
            .await;
        let mut answered = false;
        // PAM may send any number of empty rounds; a server that never stops
        // is cut off by the deadline and, sooner, here.
        for _ in 0..16 {
            let prompts = match answer {
                Ok(KeyboardInteractiveAuthResponse::Success) => return Step::In,
                Ok(KeyboardInteractiveAuthResponse::Failure {
                    remaining_methods,
                    partial_success,
                }) => {
                    let answer = AuthResult::Failure {
                        remaining_methods,
                        partial_success,
                    };
                    return self.judge(METHOD, String::new(), answer);
                }
                Ok(KeyboardInteractiveAuthResponse::InfoRequest { prompts, .. }) => prompts,
                Err(error) => return self.broken(METHOD, &error),
            };
            let responses = match prompts.as_slice() {
                [] => Vec::new(),
                [only] if !only.echo && !answered => {
                    answered = true;
                    vec![password.to_owned()]
                }
                others => {
                    let asked: Vec<_> = others.iter().map(|one| one.prompt.as_str()).collect();
                    let asked = crate::visible(&asked.join(" / "));
                    self.note(
                        METHOD,
                        "",
                        format!("the server asks \"{asked}\", which a password does not answer"),
                    );
                    return Step::Stop;
                }
            };
            answer = self
                .handle
                .authenticate_keyboard_interactive_respond(responses)
                .await;
        }
        self.note(METHOD, "", "the server does not come to an end");
        Step::Stop
    }

    fn accepts(&self, method: MethodKind) -> bool {
        self.offered
            .as_ref()
            .is_none_or(|offered| offered.contains(&method))
    }

    fn judge(&mut self, method: &'static str, what: String, answer: AuthResult) -> Step {
        match answer {
            AuthResult::Success => Step::In,
            AuthResult::Failure {
                remaining_methods,
                partial_success,
            } => {
                if remaining_methods.is_empty() {
                    self.note(method, what, "refused");
                    return Step::Stop;
                }
                self.offered = Some(remaining_methods.to_vec());
                if partial_success {
                    self.note(method, what, "accepted, and more is asked for");
                } else {
                    self.failures += 1;
                    self.note(method, what, "refused");
                }
                Step::Next
            }
        }
    }

    fn broken(&mut self, method: &'static str, error: &russh::Error) -> Step {
        let outcome = match error {
            russh::Error::SendError | russh::Error::RecvError => "the connection ended".to_owned(),
            error => describe(error),
        };
        self.note(method, "", outcome);
        Step::Stop
    }

    fn note(&mut self, method: &'static str, what: impl Into<String>, outcome: impl Into<String>) {
        self.tried.push(TriedMethod {
            method,
            what: what.into(),
            outcome: outcome.into(),
        });
    }

    fn failed(&self) -> ConnectError {
        let offered = self.offered.iter().flatten();
        ConnectFault::AuthenticationFailed {
            tried: self.tried.clone(),
            offered: offered.map(String::from).collect(),
            disconnected: self.remarks.last_words(),
        }
        .at(&self.settings.endpoint)
    }
}
