//! SSH: from a [`Target`] to an authenticated [`Connection`].
//!
//! ```text
//! Target + ~/.ssh/config (config) ─> Settings ─> key files (keyring, keys)
//!   ─> jump host, if any (this file, recursively) ─> TCP and handshake
//!   (transport, handler, host_key, known_hosts) ─> login (auth, signer)
//!   ─> SshConnection (connection, process)
//! ```
//! Called by [`crate::connect`].

mod auth;
mod channel;
mod config;
mod connection;
mod context;
mod error;
mod feed;
mod handler;
mod hint;
mod host_key;
mod keyring;
mod keys;
mod known_hosts;
mod process;
mod settings;
mod shared_config;
mod signer;
mod socket;
mod transport;

use std::sync::Arc;
use std::time::{Duration, Instant};

use self::auth::{Login, Outcome};
use self::connection::SshConnection;
use self::keyring::Keyring;
use self::known_hosts::Records;
use self::settings::Settings;
use super::{BoxFuture, Connection, HostKeyChecking, Target};

pub use self::context::{Prompt, PromptRequest, SshContext, Weakened};
pub use self::error::{
    ConnectError, ConnectFault, Endpoint, HangUp, Phase, RecordedKey, TriedMethod,
};
pub use self::keys::KeyFault;

/// For all authentication attempts of one connection. sshd itself waits 120 s
/// (`LoginGraceTime`).
const LOGIN_DEADLINE: Duration = Duration::from_secs(30);

/// Jump hosts in a row; more is a loop in the configuration.
const MOST_HOPS: usize = 8;

pub(super) async fn connect(
    target: &Target,
    context: &SshContext,
) -> Result<Arc<dyn Connection>, ConnectError> {
    Ok(reach(target.clone(), context, 0).await?)
}

/// Connects to one server, jumps included. Boxed, because jumps recurse.
fn reach(
    target: Target,
    context: &SshContext,
    depth: usize,
) -> BoxFuture<'_, Result<Arc<SshConnection>, ConnectError>> {
    Box::pin(async move {
        let settings = Arc::new(resolve(&target, context, depth).await?);
        let keyring = Keyring::load(&settings, context).await?;
        loop {
            match attempt(&settings, &keyring, &target, context, depth).await? {
                Attempt::Connected(connection) => return Ok(connection),
                // The question is asked while nothing waits for the answer: a
                // server's grace period would run out, and its place in
                // MaxStartups be taken, while someone looks for a passphrase.
                Attempt::Passphrase(file) => context.unlock(&file).await,
            }
        }
    })
}

enum Attempt {
    Connected(Arc<SshConnection>),
    Passphrase(Arc<keys::KeyFile>),
}

async fn attempt(
    settings: &Arc<Settings>,
    keyring: &Keyring,
    target: &Target,
    context: &SshContext,
    depth: usize,
) -> Result<Attempt, ConnectError> {
    let endpoint = &settings.endpoint;
    let jump = match &settings.jump {
        Some(text) => Some((jump(text, settings, target, context, depth).await?, text)),
        None => None,
    };
    // Behind a jump host too it is the node's sshd that counts startups: the
    // jump host itself sees one connection and its channels.
    let via = settings.jump.as_deref().unwrap_or_default();
    let place = format!("{}:{} {via}", endpoint.host, endpoint.port);
    let permit = context.permit(place).await;
    let files = context.known_hosts(&settings.known_hosts);
    let files = files.map_err(|file| {
        ConnectFault::KnownHostsFile {
            path: file.path,
            reason: file.reason,
        }
        .at(endpoint)
    })?;
    let records = Records::of(files.iter().map(|file| &**file), &settings.known_names);
    let via = jump
        .as_ref()
        .map(|(connection, text)| (&**connection, text.as_str()));
    let mut session = transport::open(settings, Arc::new(records), via).await?;
    if let Some(how) = weakened(settings.checking) {
        context.weaken(how, &endpoint.name);
    }
    let begun = Instant::now();
    let login = Login::new(
        &mut session.handle,
        settings,
        &session.remarks,
        session.trust,
        context.can_ask(),
    );
    let outcome = tokio::time::timeout(LOGIN_DEADLINE, login.run(keyring))
        .await
        .map_err(|_| {
            ConnectFault::Timeout {
                phase: Phase::Authentication,
                after: LOGIN_DEADLINE,
            }
            .at(endpoint)
        })??;
    drop(permit);
    let jump = jump.map(|(connection, _)| connection);
    let connection = SshConnection::new(session, endpoint, begun.elapsed(), jump);
    match outcome {
        Outcome::In => Ok(Attempt::Connected(Arc::new(connection))),
        Outcome::Passphrase(file) => {
            connection.close().await;
            Ok(Attempt::Passphrase(file))
        }
    }
}

/// What is done instead of a strict check.
fn weakened(checking: HostKeyChecking) -> Option<Weakened> {
    match checking {
        HostKeyChecking::Off => Some(Weakened::Off),
        HostKeyChecking::AcceptNew => Some(Weakened::AcceptNew),
        HostKeyChecking::Strict => None,
    }
}

/// Target and configuration, put together.
async fn resolve(
    target: &Target,
    context: &SshContext,
    depth: usize,
) -> Result<Settings, ConnectError> {
    let wrong = |reason: String| {
        ConnectFault::Configuration { reason }.at(&Endpoint {
            name: target.name.clone(),
            user: target.user.clone().unwrap_or_else(|| "?".to_owned()),
            host: super::visible(&target.address),
            port: target.port.unwrap_or(22),
            known_as: String::new(),
            via: target.proxy_jump.clone(),
        })
    };
    if depth > MOST_HOPS {
        return Err(wrong(format!("more than {MOST_HOPS} jump hosts in a row")));
    }
    let config = context
        .config(&target.address, target.user.as_deref(), target.port)
        .await
        .map_err(wrong)?;
    let mut settings = Settings::new(target, &config, &context.operator).map_err(wrong)?;
    // `Host *` with a ProxyJump also applies to the jump host itself.
    if depth > 0 && target.proxy_jump.is_none() {
        let itself = settings
            .jump
            .as_deref()
            .and_then(|jump| settings::last_hop(jump).ok());
        let own =
            |hop: &settings::Hop| [&target.address, &settings.endpoint.host].contains(&&hop.host);
        if itself.is_some_and(|(_, hop)| own(&hop)) {
            settings.jump = None;
            settings.endpoint.via = None;
        }
    }
    Ok(settings)
}

/// The shared connection to the last jump host of `text`.
async fn jump(
    text: &str,
    settings: &Settings,
    target: &Target,
    context: &SshContext,
    depth: usize,
) -> Result<Arc<SshConnection>, ConnectError> {
    let (before, hop) = settings::last_hop(text)
        .map_err(|reason| ConnectFault::Configuration { reason }.at(&settings.endpoint))?;
    let hop_target = Target {
        port: hop.port,
        user: hop.user,
        proxy_jump: before.map(ToOwned::to_owned),
        connect_timeout: target.connect_timeout,
        ..Target::new(hop.host.clone(), hop.host)
    };
    // The depth is part of the key: a loop must not wait for itself.
    let key = format!("{depth} {text}");
    let connect = || reach(hop_target.clone(), context, depth + 1);
    context.jump(&key, connect).await.map_err(|source| {
        ConnectFault::JumpHost {
            which: text.to_owned(),
            source,
        }
        .at(&settings.endpoint)
    })
}
