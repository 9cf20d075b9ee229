//! The words of a task: every module's name, parameters and place. A table, so
//! that a playbook can be checked without the code of the modules.

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
    LiveRestore,
    Push,
    Restart,
    Rollback,
    Service,
    SystemdOverride,
    Verify,
    WaitFor,
}

/// What a playbook may say of a module.
#[derive(Debug)]
// Independent of each other.
#[allow(clippy::struct_excessive_bools)]
pub struct Spec {
    pub word: Word,
    /// The word for it in a playbook.
    pub name: &'static str,
    /// One line for the reference.
    pub summary: &'static str,
    pub parameters: &'static [Parameter],
    /// What it does can be undone on the node, so that it may stand in a `transaction:`.
    pub is_reversible: bool,
    /// It starts a program of the operator's own.
    pub runs_programs: bool,
    /// It changes nothing and proves something, after all changes.
    pub is_proof: bool,
    /// What it does is for every host, so that it is done also when `--limit` leaves its own
    /// host out.
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
        summary: "the CA's encrypted key and self-signed certificate on the CA node",
        is_shared: true,
        ..PLAIN
    },
    Spec {
        word: Word::CaRollover,
        name: "ca_rollover",
        summary: "the next step of replacing the CA by another, before `certificate` and `push` of the same run",
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
                summary: "a host or a serial that is being revoked: its certificates hold nothing back",
            },
            Parameter {
                name: "old_key",
                kind: Kind::Choice(&["keep", "destroy"]),
                required: false,
                summary: "destroy: the encrypted keys of retired CAs are removed; keep when not set",
            },
            Parameter {
                name: "begin",
                kind: Kind::Choice(&["when_none_is_under_way", "never"]),
                required: false,
                summary: "never: no new rollover is begun and none is gone on with; when_none_is_under_way when not set",
            },
        ],
        is_shared: true,
        ..PLAIN
    },
    Spec {
        word: Word::Certificate,
        name: "certificate",
        summary: "a certificate for the host, issued by the CA when none fits or the present one is due",
        parameters: &[
            ROLE,
            Parameter {
                name: "because",
                kind: Kind::Choice(&["anything", "age"]),
                required: false,
                summary: "age: only a renewal of a certificate that is due, of a daemon's inside `dtls_maintenance_window`; anything, which is what counts when not set: also when there is none, or one that does not fit",
            },
        ],
        ..PLAIN
    },
    Spec {
        word: Word::Client,
        name: "client",
        summary: "the environment of the docker CLI, in one marked block of the login shell's profile",
        parameters: &[STATE],
        ..PLAIN
    },
    Spec {
        word: Word::Command,
        name: "command",
        summary: "a program with its arguments, started without a shell; always a change unless `creates` exists",
        parameters: &[
            Parameter {
                name: "argv",
                kind: Kind::TextList,
                required: true,
                summary: "the program and each of its arguments; no shell sees them",
            },
            Parameter {
                name: "creates",
                kind: Kind::Text,
                required: false,
                summary: "a path; where it exists the command is not run",
            },
            timeout("how long the command may take; 300 when not given"),
        ],
        runs_programs: true,
        ..PLAIN
    },
    Spec {
        word: Word::DaemonJson,
        name: "daemon_json",
        summary: "tls, tlsverify, tlscacert, tlscert and tlskey in daemon.json, or out of it where `dtls_config_style` is flags; without systemd hosts, too; everything else kept",
        parameters: &[STATE],
        is_reversible: true,
        ..PLAIN
    },
    Spec {
        word: Word::DockerContext,
        name: "docker_context",
        summary: "a docker context for each daemon, with copies of the client's files",
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
        word: Word::LiveRestore,
        name: "live_restore",
        summary: "live-restore in daemon.json by a reload, where `dtls_live_restore` is true: containers outlive restarts of docker",
        ..PLAIN
    },
    Spec {
        word: Word::Push,
        name: "push",
        summary: "the CA certificate, the host's certificate and its key, renamed, with their modes",
        parameters: &[ROLE, STATE, BECAUSE],
        is_reversible: true,
        ..PLAIN
    },
    Spec {
        word: Word::Restart,
        name: "restart",
        summary: "daemon-reload and restart of the docker unit, or of its init script, when what dockerd read has changed",
        parameters: &[Parameter {
            name: "because",
            kind: Kind::Choice(&["anything", "changes"]),
            required: false,
            summary: "changes: only when the tasks before it change what dockerd reads; anything, which is what counts when not set: also when the running daemon has not read what is there",
        }],
        is_reversible: true,
        ..PLAIN
    },
    Spec {
        word: Word::Rollback,
        name: "rollback",
        summary: "the files that the last run replaced on the node, put back",
        parameters: &[Parameter {
            name: "role",
            kind: Kind::Choice(&["daemon", "client"]),
            required: false,
            summary: "whose change goes back, on a machine that is daemon and client; both when not set",
        }],
        is_reversible: true,
        ..PLAIN
    },
    Spec {
        word: Word::Service,
        name: "service",
        summary: "a systemd unit started, stopped, restarted or reloaded; the last two are a change every time",
        parameters: &[
            Parameter {
                name: "name",
                kind: Kind::Text,
                required: true,
                summary: "the unit; `.service` may be left out",
            },
            Parameter {
                name: "state",
                kind: Kind::Choice(&["started", "stopped", "restarted", "reloaded"]),
                required: true,
                summary: "what must be true, or what is done",
            },
            timeout("how long systemctl may take; 300 when not given"),
        ],
        ..PLAIN
    },
    Spec {
        word: Word::SystemdOverride,
        name: "systemd_override",
        summary: "a drop-in for the docker unit whose ExecStart listens where the inventory says; where docker.socket has TCP ports, one that closes them",
        parameters: &[STATE],
        is_reversible: true,
        ..PLAIN
    },
    Spec {
        word: Word::Verify,
        name: "verify",
        summary: "clients with a certificate reach every daemon, and clients without one do not",
        parameters: &[Parameter {
            name: "after",
            kind: Kind::Choice(&["rollback", "remove"]),
            required: false,
            summary: "what the play before it did: hosts are then measured by their own files, in place of the inventory",
        }],
        is_proof: true,
        ..PLAIN
    },
    Spec {
        word: Word::WaitFor,
        name: "wait_for",
        summary: "waits, on the node and while changes are made, until a port answers or a path is there; on a host where its play changes nothing before it there is nothing to wait for",
        parameters: &[
            Parameter {
                name: "port",
                kind: Kind::Integer {
                    unit: "",
                    least: 1,
                    most: 65_535,
                },
                required: false,
                summary: "a TCP port, dialled from the node; either this or `path`",
            },
            Parameter {
                name: "host",
                kind: Kind::Text,
                required: false,
                summary: "the port's host, resolved on the node; 127.0.0.1 when not given",
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
                summary: "`started` or `present` (as when not given): there; `stopped` or `absent`: gone",
            },
            timeout("how long to wait before the host has failed; 300 when not given"),
        ],
        ..PLAIN
    },
];

/// The module a playbook names.
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

/// What a parameter may be.
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

/// The parameter of the modules that deal with a leaf.
const ROLE: Parameter = Parameter {
    name: "role",
    kind: Kind::Choice(&["daemon", "client"]),
    required: true,
    summary: "whether the certificate is the daemon's or a client's",
};

/// The parameter of the modules that can also take away what they make.
const STATE: Parameter = Parameter {
    name: "state",
    kind: Kind::Choice(&["present", "absent"]),
    required: false,
    summary: "absent: what the module makes is removed, everything else kept; present when not set",
};

/// The parameter of the modules that deliver a leaf.
const BECAUSE: Parameter = Parameter {
    name: "because",
    kind: Kind::Choice(&["anything", "changes"]),
    required: false,
    summary: "changes: only when this run has a new certificate for the host; anything, which is what counts when not set: also when files differ",
};

/// How long a step of the operator's own may take.
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
