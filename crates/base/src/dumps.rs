//! Prevents memory with secrets from being dumped or read.
//!
//! Called first by every program of this crate. The kernel then writes no core dump of it, and no
//! process of the same account can attach to it or read its memory (prctl(2), `PR_SET_DUMPABLE`;
//! ptrace(2)). Root still can. A new program that replaces it, as
//! `passphrase::take_from_environment` does, calls this again.

use rustix::process::{
    DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit,
};

/// Forbids both. If the kernel refuses (an old one, a seccomp filter), the program continues
/// without the protection.
pub fn forbid() {
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    // The hard limit stays for child processes, for instance a docker daemon.
    let limit = Rlimit {
        current: Some(0),
        ..getrlimit(Resource::Core)
    };
    let _ = setrlimit(Resource::Core, limit);
}
