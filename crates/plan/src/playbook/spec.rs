//! The vocabulary of tasks: every module's name, parameters and place. A table, so that a playbook
//! can be checked without the code of the modules.

/// The module that a task names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Word {
    Ca,
    CaRollover,
    Certificate,
    Client,
    Command,
    DaemonJson,
    DockerContext,
    Forget,
    Guard,
    LiveRestore,
    Push,
    Restart,
    Rollback,
    Service,
    SystemdOverride,
    Verify,
    WaitFor,
}

/// How a playbook may use a module.
#[derive(Debug)]
// Each is independent of the others.
#[allow(clippy::struct_excessive_bools)]
pub struct Spec {
    pub word: Word,
    /// Its name in a playbook.
    pub name: &'static str,
    /// One line for the reference.
    pub summary: &'static str,
    pub parameters: &'static [Parameter],
    /// It can be undone on the node, so it may be part of a `transaction:`.
    pub is_reversible: bool,
    /// It starts a program of the operator.
    pub runs_programs: bool,
    /// It changes nothing and verifies the result, after all changes.
    pub is_proof: bool,
    /// It acts for every host, so it runs even if `--limit` excludes its own host.
    pub is_shared: bool,
}

const PLAIN: Spec = Spec {
    word: Word::Ca,
    name: "",
    summary: "",
    parameters: &[],
    is_reversible: false,
    runs_programs: false,
    is_proof: false,
    is_shared: false,
};

/// Every module there is.
pub const MODULES: &[Spec] = &[
    Spec {
        word: Word::Ca,
        name: "ca",
        summary: "creates the CA on the CA node: an encrypted key and a self-signed certificate",
        is_shared: true,
        ..PLAIN
    },
    Spec {
        word: Word::CaRollover,
        name: "ca_rollover",
        summary: "carries out the next step of replacing the CA; comes before `certificate` and `push` in the same run",
        parameters: &[
            Parameter {
                name: "abandon",
                kind: Kind::TextList,
                required: false,
                summary: "hosts outside the inventory whose certificates of the old CA may stop working",
            },
            Parameter {
                name: "revoking",
                kind: Kind::Text,
                required: false,
                summary: "a host or serial number that is being revoked: its certificates do not hold up the rollover",
            },
            Parameter {
                name: "old_key",
                kind: Kind::Choice(&["keep", "destroy"]),
                required: false,
                summary: "`destroy`: remove the encrypted keys of retired CAs; default: keep",
            },
            Parameter {
                name: "begin",
                kind: Kind::Choice(&["when_none_is_under_way", "never"]),
                required: false,
                summary: "`never`: neither begin nor continue a rollover; default: when_none_is_under_way",
            },
        ],
        is_shared: true,
        ..PLAIN
    },
    Spec {
        word: Word::Certificate,
        name: "certificate",
        summary: "issues a certificate for the host if it has none that fits, or if its certificate is due",
        parameters: &[
            ROLE,
            Parameter {
                name: "because",
                kind: Kind::Choice(&["anything", "age"]),
                required: false,
                summary: "`age`: only renew a certificate that is due, and that of a daemon only inside `dtls_maintenance_window`; `anything` (default): also replace one that is missing or does not fit",
            },
        ],
        ..PLAIN
    },
    Spec {
        word: Word::Client,
        name: "client",
        summary: "sets the environment of the Docker CLI in one marked block of the login shell's profile",
        parameters: &[STATE],
        ..PLAIN
    },
    Spec {
        word: Word::Command,
        name: "command",
        summary: "runs a program with arguments, without a shell; always a change unless `creates` exists",
        parameters: &[
            Parameter {
                name: "argv",
                kind: Kind::TextList,
                required: true,
                summary: "the program and each of its arguments; no shell interprets them",
            },
            Parameter {
                name: "creates",
                kind: Kind::Text,
                required: false,
                summary: "a path; if it exists, the command does not run",
            },
            timeout("how long the command may take; default: 300"),
        ],
        runs_programs: true,
        ..PLAIN
    },
    Spec {
        word: Word::DaemonJson,
        name: "daemon_json",
        summary: "writes tls, tlsverify, tlscacert, tlscert and tlskey to daemon.json, or removes them if `dtls_config_style` is flags; without systemd, also hosts; keeps all other settings",
        parameters: &[STATE],
        is_reversible: true,
        ..PLAIN
    },
    Spec {
        word: Word::DockerContext,
        name: "docker_context",
        summary: "creates a Docker context for each daemon, with copies of the client's files",
        parameters: &[STATE, BECAUSE],
        ..PLAIN
    },
    Spec {
        word: Word::Forget,
        name: "forget",
        summary: "removes what the node keeps of earlier changes: generations and the record of the last restart",
        is_reversible: true,
        ..PLAIN
    },
    Spec {
        word: Word::Guard,
        name: "guard",
        summary: "if `dtls_guard` is true, installs the guard of the daemon and its policy; otherwise removes a guard that dtls-deploy has installed; comes before `daemon_json`",
        parameters: &[
            STATE,
            Parameter {
                name: "because",
                kind: Kind::Choice(&["anything", "policy"]),
                required: false,
                summary: "`policy`: only update the policy of a guard that is installed; `anything` (default): also install, update or remove it",
            },
        ],
        is_reversible: true,
        ..PLAIN
    },
    Spec {
        word: Word::LiveRestore,
        name: "live_restore",
        summary: "turns on live-restore in daemon.json with a reload if `dtls_live_restore` is true, so that containers keep running while Docker restarts",
        ..PLAIN
    },
    Spec {
        word: Word::Push,
        name: "push",
        summary: "delivers the CA certificate, and the host's certificate and key, with their names and modes on the host",
        parameters: &[ROLE, STATE, BECAUSE],
        is_reversible: true,
        ..PLAIN
    },
    Spec {
        word: Word::Restart,
        name: "restart",
        summary: "reloads systemd and restarts the Docker unit, or its init script, if something that dockerd reads has changed",
        parameters: &[Parameter {
            name: "because",
            kind: Kind::Choice(&["anything", "changes"]),
            required: false,
            summary: "`changes`: only if the tasks before it change what dockerd reads; `anything` (default): also if the running daemon has not read the current files",
        }],
        is_reversible: true,
        ..PLAIN
    },
    Spec {
        word: Word::Rollback,
        name: "rollback",
        summary: "restores the files that the last run replaced on the node",
        parameters: &[Parameter {
            name: "role",
            kind: Kind::Choice(&["daemon", "client"]),
            required: false,
            summary: "which change to roll back on a host that is both daemon and client; default: both",
        }],
        is_reversible: true,
        ..PLAIN
    },
    Spec {
        word: Word::Service,
        name: "service",
        summary: "starts, stops, restarts or reloads a systemd unit; the last two are a change in every run",
        parameters: &[
            Parameter {
                name: "name",
                kind: Kind::Text,
                required: true,
                summary: "the unit; `.service` can be omitted",
            },
            Parameter {
                name: "state",
                kind: Kind::Choice(&["started", "stopped", "restarted", "reloaded"]),
                required: true,
                summary: "the state that is required, or the action",
            },
            timeout("how long systemctl may take; default: 300"),
        ],
        ..PLAIN
    },
    Spec {
        word: Word::SystemdOverride,
        name: "systemd_override",
        summary: "writes a drop-in for the Docker unit whose ExecStart listens on the addresses in the inventory, and, if docker.socket has TCP ports, a drop-in that closes them",
        parameters: &[STATE],
        is_reversible: true,
        ..PLAIN
    },
    Spec {
        word: Word::Verify,
        name: "verify",
        summary: "checks that clients with a certificate reach every daemon, and that clients without one do not",
        parameters: &[Parameter {
            name: "after",
            kind: Kind::Choice(&["rollback", "remove"]),
            required: false,
            summary: "what the play before it did: hosts are then checked against their own files instead of the inventory",
        }],
        is_proof: true,
        ..PLAIN
    },
    Spec {
        word: Word::WaitFor,
        name: "wait_for",
        summary: "waits on the node, while changes are made, until a port answers or a path exists; does nothing on a host on which its play changes nothing before it",
        parameters: &[
            Parameter {
                name: "port",
                kind: Kind::Integer {
                    unit: "",
                    least: 1,
                    most: 65_535,
                },
                required: false,
                summary: "a TCP port to which the node connects; either this or `path`",
            },
            Parameter {
                name: "host",
                kind: Kind::Text,
                required: false,
                summary: "the host of the port, resolved on the node; default: 127.0.0.1",
            },
            Parameter {
                name: "path",
                kind: Kind::Text,
                required: false,
                summary: "a path on the node",
            },
            Parameter {
                name: "state",
                kind: Kind::Choice(&["started", "stopped", "present", "absent"]),
                required: false,
                summary: "`started` or `present` (default): wait until it is there; `stopped` or `absent`: wait until it is gone",
            },
            timeout("how long to wait before the host fails; default: 300"),
        ],
        ..PLAIN
    },
];

/// The module that a playbook names.
#[must_use]
pub fn find(name: &str) -> Option<&'static Spec> {
    MODULES.iter().find(|spec| spec.name == name)
}

/// A parameter of a module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parameter {
    pub name: &'static str,
    pub kind: Kind,
    pub required: bool,
    pub summary: &'static str,
}

/// The type of a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One of these words; no template.
    Choice(&'static [&'static str]),
    /// A text; may be a template.
    Text,
    /// A list of at least one text; each may be a template.
    TextList,
    /// A whole number within these bounds.
    Integer {
        unit: &'static str,
        least: u64,
        most: u64,
    },
}

impl Kind {
    /// For messages and the reference.
    #[must_use]
    pub fn described(self) -> String {
        match self {
            Self::Choice(values) => format!("one of: {}", values.join(", ")),
            Self::Text => "a text".to_owned(),
            Self::TextList => "a list of texts".to_owned(),
            Self::Integer {
                unit: "",
                least,
                most,
            } => {
                format!("a number from {least} to {most}")
            }
            Self::Integer { unit, least, most } => format!("{unit}, from {least} to {most}"),
        }
    }
}

/// The parameter of modules that handle a leaf.
const ROLE: Parameter = Parameter {
    name: "role",
    kind: Kind::Choice(&["daemon", "client"]),
    required: true,
    summary: "whether the certificate is the daemon's or a client's",
};

/// The parameter of modules that can also remove what they create.
const STATE: Parameter = Parameter {
    name: "state",
    kind: Kind::Choice(&["present", "absent"]),
    required: false,
    summary: "`absent`: remove what the module creates, and keep everything else; default: present",
};

/// The parameter of modules that deliver a leaf.
const BECAUSE: Parameter = Parameter {
    name: "because",
    kind: Kind::Choice(&["anything", "changes"]),
    required: false,
    summary: "`changes`: only if this run has a new certificate for the host; `anything` (default): also if files differ",
};

/// The timeout of a step that the operator defined.
const fn timeout(summary: &'static str) -> Parameter {
    Parameter {
        name: "timeout",
        kind: Kind::Integer {
            unit: "seconds",
            least: 1,
            most: 86_400,
        },
        required: false,
        summary,
    }
}
