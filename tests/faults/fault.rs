//! The faults at a step.
//!
//! A fault is applied to a run that the shim has paused at a step, and the run continues with it.
//! Once the run has ended, the nodes are fixed as an operator would fix them.

use std::process::Child;

use crate::node::{Node, poll};
use crate::scenario::Scenario;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// The command fails without having done anything.
    Error,
    /// The file systems that are written to have no block and no inode left.
    Full,
    /// They can no longer be written to.
    ReadOnly,
    /// Packets are dropped both ways until the node has settled by itself.
    Cut,
    /// SIGKILL to the controller's program.
    KillController,
    /// SIGKILL to the node's sshd, listener and sessions.
    KillSshd,
    /// SIGKILL to the controller's program and to all that its sessions run.
    Die,
    /// SIGKILL to every process of the node, which is booted again.
    Power,
}

impl Fault {
    pub const ALL: [Self; 8] = [
        Self::Error,
        Self::Cut,
        Self::KillController,
        Self::KillSshd,
        Self::Die,
        Self::Power,
        Self::Full,
        Self::ReadOnly,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Full => "full",
            Self::ReadOnly => "readonly",
            Self::Cut => "cut",
            Self::KillController => "kill-controller",
            Self::KillSshd => "kill-sshd",
            Self::Die => "die",
            Self::Power => "power",
        }
    }

    /// Whether it needs the file systems of [`mount`].
    pub fn needs_small_file_systems(self) -> bool {
        self == Self::Full
    }

    /// The shim has stopped at the step; afterwards it goes on.
    pub fn happen(self, node: &Node<'_>, scenario: Scenario, run: &mut Child) {
        match self {
            Self::Error => return,
            Self::Full => {
                for directory in scenario.directories() {
                    // What is in use is all there is; a size of nothing would be
                    // no limit. What runs beside the step may write meanwhile.
                    node.sh(&format!(
                        "used() {{ stat -f -c '%b %f %c %d %S' {directory}; }}; set -- $(used); [ $1 != $2 ] || echo x >{directory}/.0; tries=0; until set -- $(used); mount -o remount,size=$((($1 - $2) * $5)),nr_inodes=$(($3 - $4)) {directory} 2>/dev/null; do tries=$((tries + 1)); [ $tries -lt 200 ] || exit 1; done"
                    ));
                }
            }
            // On top of what is there: a mount through which someone writes
            // cannot be made read-only, and the step itself may be doing so.
            Self::ReadOnly => {
                for directory in scenario.directories() {
                    node.sh(&format!(
                        "mkdir -p {directory}; mount --bind {directory} {directory} && until mount -o remount,bind,ro {directory} 2>/dev/null; do sleep 0.02; done"
                    ));
                }
            }
            Self::Cut => node.connected(false),
            Self::KillController => run.kill().unwrap(),
            Self::KillSshd => node.kill_sshd(),
            Self::Die => {
                run.kill().unwrap();
                node.kill_sessions();
            }
            Self::Power => {
                node.lab.control(&["stop", node.name, "--cut"]);
                node.lab.control(&["start", node.name]);
                return;
            }
        }
        node.go_on();
    }

    /// What an operator does once he has seen it.
    pub fn mend(self, node: &Node<'_>, scenario: Scenario) {
        match self {
            Self::Full => {
                for directory in scenario.directories() {
                    node.sh(&format!(
                        "mount -o remount,{ROOM} {directory}; rm -f {directory}/.0"
                    ));
                }
            }
            Self::ReadOnly => {
                for directory in scenario.directories() {
                    node.sh(&format!("umount -l {directory}"));
                }
            }
            Self::Cut => node.connected(true),
            Self::KillSshd => {
                node.sh("systemctl reset-failed ssh; systemctl start ssh");
            }
            _ => {}
        }
    }
}

const ROOM: &str = "size=512m,nr_inodes=10000";

/// A small file system of its own for each directory that is written to.
pub fn mount(node: &Node<'_>, scenario: Scenario) {
    for directory in scenario.directories() {
        node.sh(&format!(
            "mkdir -p {directory} && rm -rf /run/kept && cp -a {directory} /run/kept && mount -t tmpfs -o {ROOM} tmpfs {directory} && cp -a /run/kept/. {directory}/ && rm -rf /run/kept"
        ));
    }
}

/// The other way round.
pub fn unmount(node: &Node<'_>, scenario: Scenario) {
    for directory in scenario.directories() {
        node.sh(&format!(
            "rm -rf /run/kept && cp -a {directory} /run/kept && umount -l {directory} && find {directory} -mindepth 1 -delete && cp -a /run/kept/. {directory}/ && rm -rf /run/kept"
        ));
    }
}

/// The node does by itself what it would do without any help: a script
/// under way ends, and a timer that is armed runs out. The timer is not waited
/// for; what it starts is started now.
pub fn settle(node: &Node<'_>) -> Result<(), String> {
    if !poll(120, || node.scripts_have_ended()) {
        return Err("a script has not ended after 120 s".to_owned());
    }
    node.sh(
        "units() { systemctl list-units --plain --no-legend --state=active,activating,reloading \"$@\" | cut -d' ' -f1; }; for timer in $(units --type=timer 'dtls-deploy*'); do systemctl start \"${timer%.timer}.service\"; systemctl stop \"$timer\"; done; while [ -n \"$(units 'dtls-deploy*')\" ]; do sleep 0.1; done; true",
    );
    Ok(())
}
