//! The exchange with systemd: the socket, readiness, signs of life. See `sd_notify(3)` and
//! `StandardInput=socket` in systemd.exec(5).

use std::io;
use std::os::fd::AsFd as _;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};
use std::time::Duration;

/// The listening socket, which systemd passes as standard input.
pub fn listener() -> io::Result<UnixListener> {
    let listener = UnixListener::from(io::stdin().as_fd().try_clone_to_owned()?);
    // Fails for anything but a socket.
    listener.local_addr()?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// The manager's socket for notifications.
#[derive(Debug)]
pub struct Manager {
    socket: UnixDatagram,
    address: SocketAddr,
}

impl Manager {
    /// None without a manager that expects notifications.
    pub fn from_environment() -> Option<Self> {
        let name = std::env::var_os("NOTIFY_SOCKET")?;
        let address = match name.as_bytes().strip_prefix(b"@") {
            Some(name) => SocketAddr::from_abstract_name(name),
            None => SocketAddr::from_pathname(&name),
        };
        let socket = UnixDatagram::unbound().ok()?;
        socket.set_nonblocking(true).ok()?;
        Some(Self {
            socket,
            address: address.ok()?,
        })
    }

    /// A lost notification is followed by the next one.
    pub fn tell(&self, state: &str) {
        let _ = self.socket.send_to_addr(state.as_bytes(), &self.address);
    }
}

/// The interval of signs of life: three in `WatchdogSec=`.
pub fn watchdog() -> Option<Duration> {
    let text = std::env::var("WATCHDOG_USEC").ok()?;
    let microseconds: u64 = text.parse().ok()?;
    (microseconds > 0).then(|| Duration::from_micros(microseconds / 3))
}
