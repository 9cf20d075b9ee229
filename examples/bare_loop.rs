//! The bare loop that `benches/scale` compares with: connect, log in, run one
//! script, on every address, so many at one time. russh and nothing else: no
//! code of dtls-deploy, no configuration, no host key on record, no output.
//!
//! `bare_loop FORKS USER KEY SCRIPT ADDRESSES`: SCRIPT is given to `/bin/sh` on
//! standard input, ADDRESSES is a file with one address a line. Prints how many
//! answered, and the octets of their answers.

// Its result.
#![allow(clippy::print_stdout)]

use std::borrow::Cow;
use std::error::Error;
use std::sync::Arc;

use futures::StreamExt as _;
use russh::client::{self, Handle, Handler};
use russh::keys::{PrivateKey, PrivateKeyWithHashAlg, PublicKeyOrCertificate};
use russh::{ChannelMsg, Disconnect, Preferred, cipher, kex};

type Failure = Box<dyn Error + Send + Sync>;

struct Anybody;

impl Handler for Anybody {
    type Error = russh::Error;

    async fn check_server_key(&mut self, _: &PublicKeyOrCertificate) -> Result<bool, russh::Error> {
        Ok(true)
    }
}

/// What dtls-deploy agrees on with an OpenSSH of Debian 12 and later.
fn config() -> client::Config {
    const KEX: &[kex::Name] = &[
        kex::MLKEM768X25519_SHA256,
        kex::CURVE25519,
        kex::EXTENSION_SUPPORT_AS_CLIENT,
        kex::EXTENSION_OPENSSH_STRICT_KEX_AS_CLIENT,
    ];
    client::Config {
        preferred: Preferred {
            kex: Cow::Borrowed(KEX),
            cipher: Cow::Borrowed(&[cipher::AES_256_GCM]),
            ..Preferred::DEFAULT
        },
        nodelay: true,
        ..client::Config::default()
    }
}

async fn one(
    config: Arc<client::Config>,
    address: &str,
    user: &str,
    key: Arc<PrivateKey>,
    script: &[u8],
) -> Result<(usize, Handle<Anybody>), Failure> {
    let mut session = client::connect(config, (address, 22), Anybody).await?;
    let login = session
        .authenticate_publickey(user, PrivateKeyWithHashAlg::new(key, None))
        .await?;
    if !login.success() {
        return Err(format!("{address}: the key was refused").into());
    }
    let mut channel = session.channel_open_session().await?;
    channel.exec(false, "exec /bin/sh").await?;
    channel.data(script).await?;
    channel.eof().await?;
    let mut octets = 0;
    while let Some(message) = channel.wait().await {
        match message {
            ChannelMsg::Data { data } => octets += data.len(),
            ChannelMsg::ExitStatus { exit_status } if exit_status != 0 => {
                return Err(format!("{address}: exit code {exit_status}").into());
            }
            _ => {}
        }
    }
    Ok((octets, session))
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [forks, user, key, script, addresses] = words.as_slice() else {
        return Err("bare_loop FORKS USER KEY SCRIPT ADDRESSES".into());
    };
    let forks: usize = forks.parse()?;
    let key = Arc::new(russh::keys::load_secret_key(key, None)?);
    let script = std::fs::read(script)?;
    let addresses = std::fs::read_to_string(addresses)?;
    let config = Arc::new(config());
    let answers: Vec<Result<_, Failure>> = futures::stream::iter(addresses.lines())
        .map(|address| one(config.clone(), address, user, key.clone(), &script))
        .buffer_unordered(forks)
        .collect()
        .await;
    // Connections stay open until all have answered, as those of a run do.
    let mut octets = 0;
    let mut sessions = Vec::new();
    for answer in answers {
        let (own, session) = answer?;
        octets += own;
        sessions.push(session);
    }
    println!("{} answered, {octets} octets", sessions.len());
    for session in sessions {
        session
            .disconnect(Disconnect::ByApplication, "", "")
            .await?;
    }
    Ok(())
}
