//! How a host is reached and how its shells speak, as words of the inventory.

/// What carries commands to a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionKind {
    Ssh,
    /// This very machine, without SSH.
    Local,
    /// Windows' own way, which no inventory that is accepted has.
    WinRm,
}

/// The shell that commands are written for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ShellType {
    #[default]
    Sh,
    /// Windows' own, which no inventory that is accepted has.
    Windows,
}

/// How another account is taken on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BecomeMethod {
    #[default]
    Sudo,
}
