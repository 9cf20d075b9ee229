//! Runs that never were.

use base::event::{
    CertificateCounts, CertificateRole, CertificateSource, CertificateState, CertificateStatus,
    CertificateText, PlannedBatches,
};
use base::event::{
    Check, Event, Failure, FailureKind, Finding, FindingCounts, HostRecap, PlannedChange, Proof,
    Severity, Topic, Verdict,
};

pub fn run(hosts: Vec<String>) -> Event {
    Event::Run {
        schema: base::event::SCHEMA,
        version: "0.0.0".to_owned(),
        run: "20260101T000000Z-me@here-1".to_owned(),
        inventory: "inventory.yaml".to_owned(),
        playbook: "deploy".to_owned(),
        hosts,
        contexts: vec!["node3".to_owned()],
        check: false,
    }
}

/// What a doctor tells of three hosts.
pub fn doctor() -> Vec<Event> {
    let finding = |severity, host: &str, topic, seen: &str, advice: &str| Finding {
        severity,
        host: host.to_owned(),
        topic,
        seen: seen.to_owned(),
        advice: advice.to_owned(),
        mended_by_deploy: topic == Topic::Files,
        refused_by_deploy: topic == Topic::DaemonJson,
    };
    let found = [
        finding(
            Severity::Error,
            "node3",
            Topic::DaemonJson,
            "/etc/docker/daemon.json is not valid: line 3, column 1: trailing comma\n  3 | }",
            "mend the file on the node",
        ),
        finding(
            Severity::Warning,
            "node1",
            Topic::Files,
            "/home/ubuntu/.docker/key.pem: mode 0644, want 0400",
            "chmod, chown",
        ),
        finding(
            Severity::Note,
            "node3",
            Topic::Confinement,
            "dockerd runs under the AppArmor profile docker",
            "the profile has to let it read /etc/docker/tls",
        ),
    ];
    let mut events = vec![
        Event::Run {
            schema: base::event::SCHEMA,
            version: "0.0.0".to_owned(),
            run: "20260101T000000Z-me@here-1".to_owned(),
            inventory: "inventory.yaml".to_owned(),
            playbook: "doctor".to_owned(),
            hosts: vec!["node1".to_owned(), "node3".to_owned()],
            contexts: vec!["node3".to_owned()],
            check: false,
        },
        Event::Checked {
            host: "node1".to_owned(),
            topic: Topic::Clock,
            what: "its clock is this machine's".to_owned(),
        },
    ];
    events.extend(found.map(|one| Event::Finding(Box::new(one))));
    events.push(Event::Doctor {
        found: FindingCounts {
            errors: 1,
            warnings: 1,
            notes: 1,
            hosts: 2,
            checks: 4,
        },
        milliseconds: 1234,
    });
    events
}

pub fn change(host: &str, task: &str, what: &str, reasons: &[&str]) -> PlannedChange {
    PlannedChange {
        host: host.to_owned(),
        task: task.to_owned(),
        what: what.to_owned(),
        reasons: reasons.iter().map(|reason| (*reason).to_owned()).collect(),
        diff: None,
    }
}

pub fn changed(host: &str, what: &str) -> Event {
    Event::Changed {
        host: host.to_owned(),
        what: what.to_owned(),
    }
}

pub fn proof(from: &str, to: &str, check: Check, verdict: Verdict, seen: &str) -> Event {
    Event::Proof(Proof {
        from: from.to_owned(),
        to: to.to_owned(),
        check,
        verdict,
        seen: seen.to_owned(),
    })
}

pub fn recap(host: &str, changed: usize, proved: usize) -> HostRecap {
    HostRecap {
        host: host.to_owned(),
        changed,
        proved,
        ..HostRecap::default()
    }
}

pub fn failure(host: &str, kind: FailureKind) -> Failure {
    Failure {
        host: host.to_owned(),
        kind,
        step: "restart".to_owned(),
        message: "the unit did not come up".to_owned(),
        causes: Vec::new(),
        detail: Vec::new(),
        hint: None,
    }
}

fn daemon(host: &str) -> Vec<PlannedChange> {
    let absent = &["none present"];
    let mut changes = vec![
        change(host, "push", "/etc/docker/tls/ca.pem", absent),
        change(host, "push", "/etc/docker/tls/cert.pem", absent),
        change(host, "push", "/etc/docker/tls/key.pem", absent),
        change(
            host,
            "daemon.json",
            "/etc/docker/daemon.json",
            &["tls is off", "tcp://0.0.0.0:2375 is closed"],
        ),
    ];
    let reads: Vec<String> = changes
        .iter()
        .map(|change| format!("{} changes", change.what))
        .collect();
    let reads: Vec<&str> = reads.iter().map(String::as_str).collect();
    changes.push(change(host, "restart", "docker.service", &reads));
    changes
}

/// Three hosts, one of which cannot be reached in the middle of its change.
pub fn three_hosts() -> Vec<Event> {
    let context = docker::context::paths("~/.docker", "node3");
    let metadata = format!("{}/meta.json", context.metadata);
    let key = format!("{}/key.pem", context.tls);
    let mut changes = vec![
        change("node2", "ca", "certificate authority", &["none present"]),
        change("node2", "issue", "certificate for node3", &["none present"]),
    ];
    changes.extend(daemon("node3"));
    for path in [&key, &metadata] {
        changes.push(change("node1", "context", path, &["none present"]));
    }
    vec![
        run(["node1", "node2", "node3"].map(str::to_owned).to_vec()),
        Event::Connected {
            host: "node3".to_owned(),
            address: "ubuntu@node3 (10.0.0.12:22)".to_owned(),
            milliseconds: 12,
        },
        Event::Facts {
            host: "node3".to_owned(),
            milliseconds: 34,
        },
        Event::Warning {
            host: Some("node3".to_owned()),
            text: "its daemon certificate ends with the CA, on 2027-01-01".to_owned(),
        },
        Event::Danger {
            host: Some("node3".to_owned()),
            text: "anyone who can connect is root".to_owned(),
        },
        Event::Plan {
            changes,
            batches: Vec::new(),
        },
        Event::Started {
            host: "node3".to_owned(),
            what: "restarting docker".to_owned(),
        },
        Event::Failed(Failure {
            host: "node3".to_owned(),
            kind: FailureKind::Unknown,
            step: "daemons".to_owned(),
            message: "the connection was lost in the middle of a change; its outcome is not known".to_owned(),
            causes: vec!["the connection to ubuntu@node3 (10.0.0.12:22) ended: the node has not answered for a minute (keepalives)".to_owned()],
            detail: Vec::new(),
            hint: Some("run again: the next run checks what is there".to_owned()),
        }),
        Event::Failed(Failure {
            detail: vec![
                "failed to load listeners: listen tcp 10.9.9.9:2376: bind: cannot assign requested address".to_owned(),
                "Main process exited, code=exited, status=1/FAILURE".to_owned(),
            ],
            ..failure("node9", FailureKind::Undone)
        }),
        changed("node1", &key),
        proof("node1", "node3", Check::Accepted, Verdict::Failed, "docker: Cannot connect to the Docker daemon at tcp://node3:2376. Is the docker daemon running?"),
        proof("node1", "node3", Check::Port2375, Verdict::Proved, "refused"),
        Event::Recap {
            hosts: vec![
                recap("node1", 1, 1),
                recap("node2", 2, 0),
                HostRecap {
                    not_done: 5,
                    skipped: 0,
                    unreachable: true,
                    restarts: 0,
                    away_milliseconds: 0,
                    ..recap("node3", 0, 0)
                },
            ],
            milliseconds: 12_345,
            next: None,
        },
    ]
}

/// 300 daemons of which five fail, a CA, and one client.
pub fn many_hosts() -> Vec<Event> {
    let name = |number: usize| format!("web{number:03}");
    let fails = |number: usize| number % 60 == 7;
    let mut hosts = vec!["ca1".to_owned(), "ops1".to_owned()];
    hosts.extend((1..=300).map(name));
    let mut events = vec![run(hosts)];
    let mut changes = Vec::new();
    for number in 1..=300 {
        events.push(Event::Connected {
            host: name(number),
            address: "x".to_owned(),
            milliseconds: 1,
        });
        events.push(Event::Facts {
            host: name(number),
            milliseconds: 1,
        });
        let what = format!("daemon certificate for {}", name(number));
        changes.push(change(&name(number), "issue", &what, &["none present"]));
        changes.extend(daemon(&name(number)));
    }
    events.push(Event::Plan {
        changes,
        batches: vec![PlannedBatches {
            play: "Daemons".to_owned(),
            restarts: true,
            hosts: vec![
                vec![name(1)],
                (2..=31).map(name).collect(),
                (32..=106).map(name).collect(),
                (107..=300).map(name).collect(),
            ],
        }],
    });
    let mut recaps = vec![recap("ca1", 0, 0), recap("ops1", 0, 600)];
    for number in 1..=300 {
        let host = name(number);
        events.push(Event::Started {
            host: host.clone(),
            what: "restarting docker".to_owned(),
        });
        if fails(number) {
            events.push(Event::Failed(failure(&host, FailureKind::Undone)));
            recaps.push(HostRecap {
                failed: 1,
                not_done: 5,
                skipped: 0,
                ..recap(&host, 0, 0)
            });
        } else {
            events.push(Event::Changed {
                host: host.clone(),
                what: "docker.service".to_owned(),
            });
            recaps.push(recap(&host, 5, 0));
        }
        for (check, seen) in [
            (Check::Accepted, "docker 20.10"),
            (Check::Port2375, "refused"),
        ] {
            let verdict = if fails(number) && check == Check::Accepted {
                Verdict::Failed
            } else {
                Verdict::Proved
            };
            events.push(proof("ops1", &host, check, verdict, seen));
        }
    }
    events.push(Event::Recap {
        hosts: recaps,
        milliseconds: 98_765,
        next: None,
    });
    events
}

fn certificate(
    host: &str,
    role: CertificateRole,
    source: CertificateSource,
    state: CertificateState,
    days_left: i64,
) -> CertificateStatus {
    let now = time::macros::datetime!(2030-01-01 00:00 UTC);
    let end = now + time::Duration::days(days_left);
    CertificateStatus {
        host: host.to_owned(),
        identity: None,
        role,
        source,
        place: "/etc/docker/tls/cert.pem".to_owned(),
        holder: format!("root on {host}"),
        state,
        drift: Vec::new(),
        allowed: None,
        due: None,
        certificate: Some(CertificateText {
            subject: format!("CN={host}"),
            sans: vec![format!("DNS:{host}"), "IP:10.0.0.12".to_owned()],
            issuer: "CN=lab CA 1".to_owned(),
            serial: "0A0B".to_owned(),
            not_before: end - time::Duration::days(100),
            not_after: end,
            days_left,
            used: u8::try_from(100 - days_left.clamp(0, 100)).unwrap(),
        }),
    }
}

/// One certificate in each state.
pub fn status() -> Vec<Event> {
    use CertificateRole::{Ca, Client, Daemon};
    use CertificateSource::{Context, Disk, Ledger, Served};
    use CertificateState::{Broken, Due, Expired, Fine, Unknown, Unlisted};
    let mut rows = vec![
        certificate("node3", Daemon, Disk, Expired, -2),
        certificate("node4", Daemon, Served, Broken, 0),
        certificate("node5", Daemon, Ledger, Unknown, 40),
        certificate("node1", Client, Disk, Due, 20),
        certificate("node9", Client, Ledger, Unlisted, 50),
        certificate("node1", Client, Context, Fine, 99),
        certificate("node2", Ca, Disk, Fine, 100),
    ];
    rows[0].drift = vec!["issued by another CA (CN=elsewhere)".to_owned()];
    rows[1].certificate = None;
    rows[1].drift = vec!["seen from node1: connection refused".to_owned()];
    rows[3].due = Some("expires on 2030-01-21, due for renewal".to_owned());
    let mut first = run(vec!["node1".to_owned(), "node2".to_owned()]);
    if let Event::Run { playbook, .. } = &mut first {
        "status".clone_into(playbook);
    }
    let mut events = vec![first];
    let counts = CertificateCounts::of(&rows);
    events.extend(
        rows.into_iter()
            .map(|row| Event::Certificate(Box::new(row))),
    );
    events.push(Event::Status {
        certificates: counts,
        milliseconds: 170,
    });
    events
}
