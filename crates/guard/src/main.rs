//! An authorization plugin for dockerd: decides each request by the serial of the
//! client's certificate, its method and its path. systemd starts it with the
//! first request; docs/guard.md has the rest.

mod audit;
mod message;
mod plugin;
mod sieve;
mod store;
mod systemd;

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::{Duration, Instant};

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::UnixListener;
use tokio::task::LocalSet;

use crate::audit::Audit;
use crate::plugin::Plugin;
use crate::store::Store;

const POLICY: &str = "/etc/dtls-deploy-guard/policy.json";
/// Bytes that a connection buffers.
const BUFFER: usize = 16 * 1024;
/// After a failed accept, usually for lack of file descriptors.
const PAUSE: Duration = Duration::from_millis(10);

fn main() -> ExitCode {
    match run() {
        Ok(never) => match never {},
        Err(error) => {
            let _ = writeln!(
                io::stderr(),
                "dtls-deploy-guard: {error} (systemd starts it: systemctl start dtls-deploy-guard.socket)"
            );
            ExitCode::FAILURE
        }
    }
}

fn run() -> io::Result<std::convert::Infallible> {
    let listener = systemd::listener()?;
    let path = std::env::args_os().nth(1);
    let path = path.map_or_else(|| PathBuf::from(POLICY), PathBuf::from);
    let has_journal = std::env::var_os("JOURNAL_STREAM").is_some();
    let audit = Audit::new(has_journal, Instant::now());
    let plugin = Rc::new(Plugin::new(Store::new(path, 0), audit));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(LocalSet::new().run_until(async {
        let listener = UnixListener::from_std(listener)?;
        tokio::task::spawn_local(keep_alive(Rc::clone(&plugin)));
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    tokio::task::spawn_local(serve(stream, Rc::clone(&plugin)));
                }
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }))
}

/// Tells systemd that this thread, which answers all requests, is alive; and reports a broken
/// policy even if there are no requests.
async fn keep_alive(plugin: Rc<Plugin>) {
    let manager = systemd::Manager::from_environment();
    if let Some(manager) = &manager {
        manager.tell("READY=1");
    }
    let mut clock = tokio::time::interval(systemd::watchdog().unwrap_or(Duration::from_secs(1)));
    loop {
        clock.tick().await;
        plugin.refresh();
        if let Some(manager) = &manager {
            manager.tell("WATCHDOG=1");
        }
    }
}

async fn serve(stream: tokio::net::UnixStream, plugin: Rc<Plugin>) {
    let service = service_fn(move |request| {
        let plugin = Rc::clone(&plugin);
        async move { plugin.answer(request).await }
    });
    // dockerd reports a broken connection.
    let _ = http1::Builder::new()
        .max_buf_size(BUFFER)
        // A request to a guard that hangs is on a connection that is not accepted yet, and the next
        // guard answers it. dockerd repeats one whose connection was cut only after a second.
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}
