//! The examples and exit codes of each command.

/// Exit codes and their meanings, in lists that commands can share.
type Codes = &'static [&'static [(u8, &'static str)]];

/// Exit codes of commands that change hosts.
const CHANGES: Codes = &[
    &[(0, "every host is as declared, and every check passed")],
    OF_CHANGES,
];
/// Exit codes of commands that take changes back.
const RESTORES: Codes = &[
    &[(0, "everything is undone or removed, or there was nothing")],
    OF_CHANGES,
];
const OF_CHANGES: &[(u8, &str)] = &[
    (
        2,
        "wrong command line or input, or the answer was no; nothing was changed",
    ),
    (
        4,
        "a change failed, or a host was refused; others may be done",
    ),
    (5, "a host could not be reached; the others are done"),
    (
        6,
        "everything was done, but a check failed or could not be made",
    ),
    (7, "another run holds the CA's lock; nothing was changed"),
    (8, "running containers would stop, and no one agreed to it"),
    (130, "interrupted; the next run completes it"),
];
/// Exit codes of commands that concern the CA alone.
const AUTHORITY: Codes = &[&[
    (0, "it is done"),
    (2, "wrong command line, input or passphrase"),
    (4, "the CA node was refused, or the work on it failed"),
    (5, "the CA node could not be reached"),
    (7, "another run holds the CA's lock; nothing was changed"),
    (130, "interrupted"),
]];
const ADOPTS: Codes = &[&[
    (0, "the ledger has the CA and the certificates"),
    (2, "wrong command line, input or passphrase"),
    (3, "with --check --exit-code: something would be adopted"),
    (4, "the CA node was refused, or the work on it failed"),
    (5, "a host could not be reached"),
    (7, "another run holds the CA's lock; nothing was changed"),
    (130, "interrupted"),
]];
/// Exit codes of `schedule`, except those of the runs.
const SCHEDULES: Codes = &[&[
    (0, "it is done"),
    (2, "wrong command line or input, or not root"),
    (4, "systemd failed"),
]];
const INSTALLS: Codes = &[&[
    (0, "the test succeeded, and the schedule is installed"),
    (2, "wrong command line or input, or not root"),
    (4, "the test or systemd failed; nothing is installed"),
    (5, "a host could not be reached; nothing is installed"),
    (7, "another run holds the CA's lock; nothing is installed"),
]];
/// Exit codes of commands that connect to no host.
const LOCAL: Codes = &[&[
    (0, "it is printed or written"),
    (1, "the output cannot be written"),
    (2, "wrong command line or input"),
]];
const SHOWS: Codes = &[&[
    (0, "the plan is shown"),
    (2, "wrong command line or input"),
    (3, "with --exit-code: something would change"),
    (4, "a host was refused, or did not answer in time"),
    (5, "a host could not be reached"),
]];
const CHECKS: Codes = &[&[
    (0, "every check passed"),
    (2, "wrong command line or input"),
    (4, "a host did not answer in time"),
    (5, "a host could not be reached"),
    (6, "a check failed or could not be made"),
]];
const STATES: Codes = &[&[
    (0, "every certificate is good"),
    (2, "wrong command line or input"),
    (3, "something is due"),
    (4, "a host did not tell what is there"),
    (5, "a host could not be reached"),
    (
        6,
        "a certificate does not work, has expired, or is revoked and still accepted",
    ),
]];
const LISTS: Codes = &[&[
    (0, "the entries are listed, if there are any"),
    (2, "wrong command line or input"),
    (4, "a host did not answer in time"),
    (
        5,
        "a host could not be reached; the entries of the others are listed",
    ),
]];
const FINDS: Codes = &[&[
    (0, "nothing was found"),
    (2, "wrong command line or input"),
    (3, "warnings only"),
    (4, "a host did not tell what is there"),
    (5, "a host could not be reached"),
    (6, "errors were found"),
]];
const ACCESS: Codes = &[&[
    (0, "a run from here could do its work"),
    (2, "wrong command line or input, or no passphrase"),
    (4, "a host was refused, or the passphrase is wrong"),
    (5, "a host could not be reached"),
    (7, "another run holds the CA's lock"),
]];

/// The examples of a command, each with a description, and its exit codes.
pub(super) type More = (&'static str, &'static [(&'static str, &'static str)], Codes);

pub(super) const MORE: &[More] = &[
    (
        "deploy",
        &[
            (
                "dtls-deploy deploy inventory.yaml",
                "show the plan, ask, carry it out",
            ),
            (
                "dtls-deploy deploy inventory.yaml -l 'docker*' --yes",
                "some hosts, without a question",
            ),
        ],
        CHANGES,
    ),
    (
        "plan",
        &[
            (
                "dtls-deploy plan inventory.yaml",
                "all changes, down to lines of files",
            ),
            (
                "dtls-deploy plan inventory.yaml --exit-code",
                "for CI: exit code 3 if something would change",
            ),
        ],
        SHOWS,
    ),
    (
        "verify",
        &[
            (
                "dtls-deploy verify inventory.yaml",
                "check every pair of a client and a daemon",
            ),
            (
                "dtls-deploy verify inventory.yaml -l docker1:desk",
                "one pair",
            ),
        ],
        CHECKS,
    ),
    (
        "rotate",
        &[
            ("dtls-deploy rotate inventory.yaml", "renew what is due"),
            (
                "dtls-deploy rotate --ca inventory.yaml",
                "replace the CA step by step",
            ),
        ],
        CHANGES,
    ),
    (
        "revoke",
        &[
            (
                "dtls-deploy revoke inventory.yaml desk",
                "reject the client desk",
            ),
            (
                "dtls-deploy revoke inventory.yaml desk --check",
                "show what that restarts",
            ),
        ],
        CHANGES,
    ),
    (
        "status",
        &[
            (
                "dtls-deploy status inventory.yaml",
                "what is due, and what is wrong",
            ),
            ("dtls-deploy status inventory.yaml -v", "every certificate"),
            (
                "dtls-deploy status inventory.yaml --html status.html",
                "a page for an auditor",
            ),
        ],
        STATES,
    ),
    (
        "doctor",
        &[
            ("dtls-deploy doctor inventory.yaml", "look at everything"),
            ("dtls-deploy doctor inventory.yaml -l docker1", "one host"),
        ],
        FINDS,
    ),
    (
        "audit",
        &[
            (
                "dtls-deploy audit inventory.yaml",
                "the last hour of all daemons",
            ),
            (
                "dtls-deploy audit inventory.yaml --denied --since 1day",
                "what was rejected",
            ),
            (
                "dtls-deploy audit inventory.yaml --identity ci --json",
                "of one client, for programs",
            ),
        ],
        LISTS,
    ),
    (
        "rollback",
        &[
            ("dtls-deploy rollback inventory.yaml", "undo the last run"),
            (
                "dtls-deploy rollback inventory.yaml -l docker1",
                "on one host",
            ),
        ],
        RESTORES,
    ),
    (
        "remove",
        &[
            (
                "dtls-deploy remove inventory.yaml --check",
                "show what would be removed",
            ),
            (
                "dtls-deploy remove inventory.yaml -l docker1",
                "uninstall one daemon",
            ),
        ],
        RESTORES,
    ),
    (
        "schedule",
        &[
            (
                "dtls-deploy schedule install inventory.yaml --ca-passphrase-file ca.pass",
                "renew every night; nothing is installed if the test fails",
            ),
            (
                "dtls-deploy schedule status",
                "the next and the last run of each schedule",
            ),
            (
                "dtls-deploy schedule run-now inventory.yaml",
                "start a run, and end with its exit code",
            ),
        ],
        CHANGES,
    ),
    (
        "check-access",
        &[
            (
                "dtls-deploy check-access inventory.yaml",
                "before the first deployment",
            ),
            (
                "dtls-deploy check-access inventory.yaml --needs-ca",
                "before a schedule is installed",
            ),
        ],
        ACCESS,
    ),
    (
        "schedule install",
        &[
            (
                "dtls-deploy schedule install inventory.yaml --ca-passphrase-file ca.pass",
                "renew every night; nothing is installed if the test fails",
            ),
            (
                "dtls-deploy schedule install inventory.yaml --ca-passphrase-file ca.pass --on-calendar weekly",
                "renew once a week",
            ),
        ],
        INSTALLS,
    ),
    (
        "schedule status",
        &[
            ("dtls-deploy schedule status", "all schedules"),
            ("dtls-deploy schedule status inventory.yaml", "one schedule"),
        ],
        SCHEDULES,
    ),
    (
        "schedule run-now",
        &[
            (
                "dtls-deploy schedule run-now inventory.yaml",
                "start a run, and end with its exit code",
            ),
            ("dtls-deploy schedule run-now nightly", "by its name"),
        ],
        CHANGES,
    ),
    (
        "schedule remove",
        &[
            (
                "dtls-deploy schedule remove inventory.yaml",
                "the schedule of an inventory",
            ),
            ("dtls-deploy schedule remove nightly", "by its name"),
        ],
        SCHEDULES,
    ),
    (
        "adopt",
        &[
            (
                "dtls-deploy adopt inventory.yaml --ca-cert ca.pem --ca-key ca-key.pem",
                "a CA whose files are on this machine",
            ),
            (
                "dtls-deploy adopt inventory.yaml --check",
                "show what would be adopted",
            ),
        ],
        ADOPTS,
    ),
    (
        "ca",
        &[
            (
                "dtls-deploy ca backup inventory.yaml --to ca.backup",
                "write the CA to one encrypted file",
            ),
            (
                "dtls-deploy ca restore inventory.yaml --from ca.backup",
                "onto a CA node that has no CA",
            ),
        ],
        AUTHORITY,
    ),
    (
        "ca backup",
        &[
            (
                "dtls-deploy ca backup inventory.yaml --to ca.backup",
                "asks for the passphrase of the backup",
            ),
            (
                "dtls-deploy ca backup inventory.yaml --to ca.backup --backup-passphrase-file backup.pass",
                "without a question",
            ),
        ],
        AUTHORITY,
    ),
    (
        "ca restore",
        &[
            (
                "dtls-deploy ca restore inventory.yaml --from ca.backup",
                "onto a CA node that has no CA",
            ),
            (
                "dtls-deploy ca restore inventory.yaml --from ca.backup --check",
                "only read the backup and the CA node",
            ),
        ],
        AUTHORITY,
    ),
    (
        "init",
        &[
            (
                "dtls-deploy init inventory.yaml --ca vault --daemon docker1 --client desk",
                "an inventory of three hosts",
            ),
            ("dtls-deploy init", "ask for the hosts"),
        ],
        LOCAL,
    ),
    (
        "env",
        &[
            (
                "dtls-deploy env inventory.yaml desk",
                "the variables for the default daemon of desk",
            ),
            (
                "dtls-deploy env inventory.yaml desk --daemon docker1",
                "for another daemon",
            ),
        ],
        LOCAL,
    ),
    (
        "history",
        &[
            ("dtls-deploy history", "the last runs"),
            ("dtls-deploy history last", "the output of the last run"),
        ],
        LOCAL,
    ),
    (
        "schema",
        &[
            ("dtls-deploy schema >inventory.schema.json", "for an editor"),
            ("dtls-deploy schema", "print it"),
        ],
        LOCAL,
    ),
    (
        "completions",
        &[
            (
                "dtls-deploy completions bash >~/.local/share/bash-completion/completions/dtls-deploy",
                "for bash",
            ),
            ("dtls-deploy completions zsh", "print the code for zsh"),
        ],
        LOCAL,
    ),
    (
        "man",
        &[
            (
                "dtls-deploy man --to ~/.local/share/man/man1",
                "for your account",
            ),
            (
                "dtls-deploy man --to /usr/local/share/man/man1",
                "for all accounts",
            ),
        ],
        LOCAL,
    ),
];
