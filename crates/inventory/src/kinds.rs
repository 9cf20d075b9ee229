//! Connection and shell types of an inventory.

/// The transport of commands to a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionKind {
    Ssh,
    /// The local machine, without SSH.
    Local,
    /// Windows Remote Management; no accepted inventory has it.
    WinRm,
}

/// The shell that commands are written for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ShellType {
    #[default]
    Sh,
    /// A Windows shell; no accepted inventory has it.
    Windows,
}

/// The method to become another account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BecomeMethod {
    #[default]
    Sudo,
}
