use super::*;

const OWN: &str = "/etc/systemd/system/docker.service.d/50-dtls-deploy.conf";
const OVERRIDE: &str = "/etc/systemd/system/docker.service.d/override.conf";

fn unit(exec_start: &str) -> Vec<UnitFile> {
    vec![UnitFile {
        path: "/lib/systemd/system/docker.service".to_owned(),
        text: format!("[Unit]\nDescription=x\n[Service]\nType=notify\n{exec_start}\n[Install]\n"),
    }]
}

fn wanted(listen: &str, local_socket: bool) -> Listening {
    Listening {
        listen: vec![listen.to_owned()],
        local_socket,
        tls: Vec::new(),
        from_settings: Vec::new(),
        own: OwnDropIn::Unknown,
    }
}

/// A later edit of the unit's other files takes effect; an edit of dtls-deploy's own is kept.
#[test]
fn our_drop_in_follows_the_units_other_files() {
    let later = |text: &str| UnitFile {
        path: "/etc/systemd/system/docker.service.d/10-flags.conf".to_owned(),
        text: format!("[Service]\nExecStart=\nExecStart={text}\n"),
    };
    let mut files = unit("ExecStart=/usr/bin/dockerd -H fd://");
    let mut listening = wanted("tcp://a:2376", true);
    let first = derive(&files, OWN, &none(), &listening).unwrap();
    assert!(is_unedited(&first.text), "{}", first.text);
    // The file itself shows any change.
    for edited in [
        first.text.replace("tcp://a", "tcp://b"),
        format!("{}# a note\n", first.text),
        format!("# a note\n{}", first.text),
        first.text.replace("ExecStart=\n", ""),
    ] {
        assert!(is_own(&edited) && !is_unedited(&edited), "{edited}");
    }
    let own = |text: &str| UnitFile {
        path: OWN.to_owned(),
        text: text.to_owned(),
    };
    files.push(later("/usr/bin/dockerd -H fd:// --data-root /srv/docker"));
    files.push(own(&first.text));
    // It was edited, or may have been.
    let stays = derive(&files, OWN, &none(), &listening).unwrap();
    assert_eq!(stays.text, first.text);
    listening.own = OwnDropIn::Ours;
    let follows = derive(&files, OWN, &none(), &listening).unwrap();
    assert_eq!(
        follows.exec_start,
        "/usr/bin/dockerd -H fd:// -H tcp://a:2376 --data-root /srv/docker"
    );
    assert!(is_unedited(&follows.text));
    *files.last_mut().unwrap() = own(&follows.text);
    assert_eq!(derive(&files, OWN, &none(), &listening).unwrap(), follows);
    assert_eq!(without_exec_start(&follows.text), None);
    listening.own = OwnDropIn::Edited;
    assert!(!is_own(
        &derive(&files, OWN, &none(), &listening).unwrap().text
    ));
    // The operator's file keeps the guide's three lines.
    let files = unit("ExecStart=/usr/bin/dockerd -H fd://");
    let guide = derive(&files, OVERRIDE, &none(), &wanted("tcp://a:2376", false)).unwrap();
    assert!(!is_own(&guide.text));
}

/// The sockets in `hosts` of daemon.json stay, and are restored to that file.
#[test]
fn sockets_of_daemon_json_are_listened_on_and_remembered() {
    let sockets = [
        "unix:///run/a.sock".to_owned(),
        "unix:///run/b.sock".to_owned(),
    ];
    let mut listening = wanted("tcp://a:2376", true);
    listening.from_settings = sockets.to_vec();
    let mut files = unit("ExecStart=/usr/bin/dockerd --debug");
    let first = derive(&files, OWN, &none(), &listening).unwrap();
    assert_eq!(
        first.exec_start,
        "/usr/bin/dockerd -H unix:///run/a.sock -H unix:///run/b.sock -H tcp://a:2376 --debug"
    );
    assert_eq!(remembered_hosts(&first.text), sockets);
    // daemon.json no longer has them.
    files.push(UnitFile {
        path: OWN.to_owned(),
        text: first.text.clone(),
    });
    let second = derive(&files, OWN, &none(), &wanted("tcp://b:2376", true)).unwrap();
    assert_eq!(remembered_hosts(&second.text), sockets);
    let moved = own::unmarked(&first.text).replace("tcp://a", "tcp://b");
    assert_eq!(second.text, own::marked(&moved));
    assert_eq!(without_exec_start(&second.text), None);
}

fn none() -> BTreeMap<String, String> {
    BTreeMap::new()
}

#[test]
fn the_guides_unit_gives_exactly_the_guides_three_lines() {
    let files = unit("ExecStart=/usr/bin/dockerd -H fd://");
    let drop_in = derive(
        &files,
        OVERRIDE,
        &none(),
        &wanted("tcp://node3:2376", false),
    )
    .unwrap();
    assert_eq!(
        drop_in.text,
        "[Service]\nExecStart=\nExecStart=/usr/bin/dockerd -H tcp://node3:2376\n"
    );
}

#[test]
fn other_flags_and_the_local_socket_are_kept() {
    let cases = [
        (
            "ExecStart=/usr/bin/dockerd -H fd:// --containerd=/run/containerd/containerd.sock",
            "/usr/bin/dockerd -H fd:// -H tcp://0.0.0.0:2376 --containerd=/run/containerd/containerd.sock",
        ),
        (
            "ExecStart=/usr/sbin/dockerd -H fd:// --containerd=/run/c.sock $DOCKER_OPTS",
            "/usr/sbin/dockerd -H fd:// -H tcp://0.0.0.0:2376 --containerd=/run/c.sock $DOCKER_OPTS",
        ),
        (
            "ExecStart=/usr/bin/dockerd \\\n  --label \"a b\" \\\n  --host=unix:///x.sock --debug",
            "/usr/bin/dockerd -H unix:///x.sock -H tcp://0.0.0.0:2376 --label \"a b\" --debug",
        ),
        (
            "ExecStart=/usr/bin/dockerd",
            "/usr/bin/dockerd -H unix:///var/run/docker.sock -H tcp://0.0.0.0:2376",
        ),
    ];
    for (exec_start, expected) in cases {
        let drop_in = derive(
            &unit(exec_start),
            OWN,
            &none(),
            &wanted("tcp://0.0.0.0:2376", true),
        )
        .unwrap();
        assert_eq!(drop_in.exec_start, expected);
        assert_eq!(drop_in.closed, Vec::<String>::new());
    }
}

#[test]
fn plain_tcp_is_found_and_closed_wherever_it_is_said() {
    let files = unit("ExecStart=/usr/sbin/dockerd -H fd:// -Htcp://0.0.0.0:2375 $DOCKER_OPTS");
    let environment = parse_environment(
        "# comment\nDOCKER_OPTS=\"--dns 8.8.8.8 -H tcp://10.0.0.1:2375\"\nOTHER=1\n",
    );
    let drop_in = derive(
        &files,
        OWN,
        &environment,
        &wanted("tcp://0.0.0.0:2376", true),
    )
    .unwrap();
    assert_eq!(
        drop_in.exec_start,
        "/usr/sbin/dockerd -H fd:// -H tcp://0.0.0.0:2376 --dns 8.8.8.8"
    );
    assert_eq!(drop_in.closed.len(), 2);
    assert_eq!(drop_in.notes.len(), 1);
}

#[test]
fn a_second_derivation_changes_nothing() {
    let mut files = unit("ExecStart=/usr/bin/dockerd -H fd:// --debug");
    let first = derive(&files, OWN, &none(), &wanted("tcp://a:2376", true)).unwrap();
    files.push(UnitFile {
        path: OWN.to_owned(),
        text: first.text.clone(),
    });
    let second = derive(&files, OWN, &none(), &wanted("tcp://a:2376", true)).unwrap();
    assert_eq!((second.text, second.closed), (first.text, vec![]));
}

/// docker.io was replaced by docker-ce: the program in the drop-in may be gone.
#[test]
fn our_drop_in_follows_the_unit_of_another_package() {
    let of = |path: &str, dockerd: &str| UnitFile {
        path: path.to_owned(),
        text: format!(
            "[Service]\nEnvironment=MINE=1\nExecStart=\nExecStart={dockerd} -H fd:// -H tcp://a:2376 $DOCKER_OPTS\n"
        ),
    };
    let listening = wanted("tcp://a:2376", true);
    let mut files = unit("ExecStart=/usr/bin/dockerd -H fd:// --debug");
    files.push(of(OWN, "/usr/sbin/dockerd"));
    let drop_in = derive(&files, OWN, &none(), &listening).unwrap();
    assert_eq!(
        drop_in.text,
        "[Service]\nEnvironment=MINE=1\nExecStart=\nExecStart=/usr/bin/dockerd -H fd:// -H tcp://a:2376 --debug\n"
    );
    assert_eq!(drop_in.notes.len(), 1);

    // An operator's own file may want another dockerd, and does not follow.
    let mut files = unit("ExecStart=/usr/bin/dockerd -H fd:// --debug");
    files.push(of(OVERRIDE, "/opt/dockerd"));
    let drop_in = derive(&files, OVERRIDE, &none(), &listening).unwrap();
    assert!(drop_in.exec_start.starts_with("/opt/dockerd -H fd://"));
    assert_eq!(drop_in.notes.len(), 0);
    // Nor does the own drop-in if an earlier drop-in of the operator sets it.
    files[1].path = "/etc/systemd/system/docker.service.d/10-mine.conf".to_owned();
    files.push(of(OWN, "/opt/dockerd"));
    let drop_in = derive(&files, OWN, &none(), &listening).unwrap();
    assert!(drop_in.exec_start.starts_with("/opt/dockerd -H fd://"));
    assert_eq!(drop_in.notes.len(), 0);
}

#[test]
fn an_operators_settings_in_our_file_are_kept() {
    let mut files = unit("ExecStart=/usr/bin/dockerd -H fd://");
    files.push(UnitFile {
        path: OVERRIDE.to_owned(),
        text: "# mine\n[Service]\nEnvironment=HTTP_PROXY=x\nExecStart=\nExecStart=/usr/bin/dockerd -H fd:// \\\n --mtu 1400\nRestart=no\n".to_owned(),
    });
    let drop_in = derive(&files, OVERRIDE, &none(), &wanted("tcp://a:2376", false)).unwrap();
    assert_eq!(
        drop_in.text,
        "# mine\n[Service]\nEnvironment=HTTP_PROXY=x\nExecStart=\nExecStart=/usr/bin/dockerd -H tcp://a:2376 --mtu 1400\nRestart=no\n"
    );
}

#[test]
fn what_cannot_be_taken_over_is_refused() {
    let listening = wanted("tcp://a:2376", true);
    let refused = |files: &[UnitFile]| derive(files, OWN, &none(), &listening).unwrap_err();
    assert_eq!(refused(&unit("Type=simple")), UnitError::NoExecStart);
    assert_eq!(
        refused(&unit("ExecStart=/usr/bin/dockerd\nExecStart=/bin/true")),
        UnitError::SeveralExecStarts(2)
    );
    assert_eq!(
        refused(&unit("ExecStart=/snap/bin/docker.dockerd")),
        UnitError::NotDockerd("/snap/bin/docker.dockerd".to_owned())
    );
    let mut files = unit("ExecStart=/usr/bin/dockerd");
    files.push(UnitFile {
        path: "/etc/systemd/system/docker.service.d/99-x.conf".to_owned(),
        text: "[Service]\nExecStart=\nExecStart=/usr/bin/dockerd -H fd://\n".to_owned(),
    });
    assert!(matches!(refused(&files), UnitError::Overridden { .. }));
}

#[test]
fn guide_b_s_command_line_is_taken_over() {
    let files = unit(
        "ExecStart=/usr/bin/dockerd --tlsverify --tlscacert=/k/ca.pem --tlscert /k/c.pem --tlskey=/k/k.pem -H=0.0.0.0:2376",
    );
    let drop_in = derive(&files, OWN, &none(), &wanted("tcp://0.0.0.0:2376", true)).unwrap();
    assert_eq!(
        drop_in.exec_start,
        "/usr/bin/dockerd -H unix:///var/run/docker.sock -H tcp://0.0.0.0:2376"
    );
    assert_eq!((drop_in.closed.len(), drop_in.notes.len()), (0, 1));
}

#[test]
fn listeners_without_a_scheme_and_in_variables_are_tcp() {
    let mut files = unit("ExecStart=/usr/bin/dockerd -H $LISTEN $OPTS ${KEPT}");
    files.push(UnitFile {
        path: OVERRIDE.to_owned(),
        text: "[Service]\nEnvironment=\"OPTS=-H :2375 --label 100%\" LISTEN=fd://\n".to_owned(),
    });
    let environment = unit_environment(&files);
    let drop_in = derive(
        &files,
        "z.conf",
        &environment,
        &wanted("tcp://a:2376", true),
    )
    .unwrap();
    assert_eq!(
        drop_in.exec_start,
        "/usr/bin/dockerd -H fd:// -H tcp://a:2376 --label 100%% ${KEPT}"
    );
    assert_eq!(drop_in.closed, [":2375"]);
    let files = unit("ExecStart=/usr/bin/dockerd -H $UNKNOWN");
    assert!(matches!(
        derive(&files, OWN, &none(), &wanted("tcp://a:2376", true)),
        Err(UnitError::UnknownListener(_))
    ));
}

#[test]
fn another_configuration_file_or_program_name_is_refused() {
    for (line, expected) in [
        (
            "ExecStart=/usr/bin/dockerd --config-file /x.json",
            UnitError::OtherConfiguration("/x.json".to_owned()),
        ),
        (
            "ExecStart=@/usr/bin/dockerd docker",
            UnitError::NotDockerd("@/usr/bin/dockerd".to_owned()),
        ),
    ] {
        let refused = derive(&unit(line), OWN, &none(), &wanted("tcp://a:2376", true));
        assert_eq!(refused.unwrap_err(), expected);
    }
}

#[test]
fn a_comment_that_looks_like_the_section_is_none() {
    let mut files = unit("ExecStart=/usr/bin/dockerd");
    files.push(UnitFile {
        path: OVERRIDE.to_owned(),
        text: "# [Service]\n[Unit]\nDescription=x\n".to_owned(),
    });
    let drop_in = derive(&files, OVERRIDE, &none(), &wanted("tcp://a:2376", false)).unwrap();
    assert_eq!(
        drop_in.text,
        "# [Service]\n[Unit]\nDescription=x\n[Service]\nExecStart=\nExecStart=/usr/bin/dockerd -H tcp://a:2376\n"
    );
}

/// The effect of a deployment on an operator's drop-in, and what removal leaves.
#[test]
fn an_operators_command_stays_without_what_is_ours() {
    let files = unit("ExecStart=/usr/sbin/dockerd -H fd:// --containerd=/c.sock $DOCKER_OPTS");
    let left = |path: &str, text: &str| {
        let own = UnitFile {
            path: path.to_owned(),
            text: text.to_owned(),
        };
        without_ours(&own, &files)
    };
    let deployed = |before: &str, tls: Vec<String>| {
        let mut with_own = files.clone();
        with_own.push(UnitFile {
            path: OVERRIDE.to_owned(),
            text: before.to_owned(),
        });
        let listening = Listening {
            tls,
            ..wanted("tcp://a:2376", true)
        };
        derive(&with_own, OVERRIDE, &none(), &listening)
            .unwrap()
            .text
    };
    let verify = || vec!["--tlsverify".to_owned(), "--tlscacert=/x/ca.pem".to_owned()];
    // Other flags than the unit's, and other settings next to them.
    for mine in [
        "# mine\n[Service]\nNice=1\nExecStart=\nExecStart=/usr/sbin/dockerd -H fd:// -H unix:///x.sock --label=a=b $DOCKER_OPTS\n[Unit]\nAfter=x\n",
        "[Service]\nExecStart=\nExecStart=/opt/dockerd --debug\n",
    ] {
        for tls in [Vec::new(), verify()] {
            let found = left(OVERRIDE, &deployed(mine, tls)).unwrap();
            let mine = mine.replace(
                "/opt/dockerd --",
                "/opt/dockerd -H unix:///var/run/docker.sock --",
            );
            assert_eq!(found, mine);
        }
    }
    // docker-machine's: earlier listeners are not restored.
    let machine = "[Service]\nExecStart=\nExecStart=/usr/sbin/dockerd -H tcp://0.0.0.0:2376 -H unix:///var/run/docker.sock --tlsverify --tlskey /k --label a\n";
    assert_eq!(
        left(OVERRIDE, machine).unwrap(),
        "[Service]\nExecStart=\nExecStart=/usr/sbin/dockerd -H unix:///var/run/docker.sock --label a\n"
    );
    // The unit's own command applies again.
    let environment = "[Service]\nEnvironment=A=b\n";
    let text = deployed(environment, Vec::new());
    assert_eq!(left(OVERRIDE, &text).unwrap(), environment);
    // The own drop-in is removed, whatever the unit contains by now.
    let own = derive(&files, OWN, &none(), &wanted("tcp://a:2376", true)).unwrap();
    assert_eq!(left(OWN, &own.text), None);
    let other = own.text.replace(" $DOCKER_OPTS", " --debug");
    assert!(left(OWN, &other).unwrap().contains("--debug\n"));
}

#[test]
fn escapes_are_read_as_systemd_reads_them() {
    let cases = [
        (r"a\x20b", "a b"),
        (r"\t\\\s\a\b\f\n\r\v", "\t\\ \u{7}\u{8}\u{c}\n\r\u{b}"),
        (r"\101\u00fc\U0001f40b\xc3\xbc", "A\u{fc}\u{1f40b}\u{fc}"),
        (r#""a\"b" "#, "a\"b"),
        (r#"'it\'s'"-"\""#, "it's-\""),
        (r"\;", ";"),
        // No escapes: systemd keeps the backslash.
        (r"\q\x0\x00\000\9\ud800", r"\q\x0\x00\000\9\ud800"),
        ("a\u{a0}b", "a\u{a0}b"),
    ];
    for (text, word) in cases {
        let files = unit(&format!("ExecStart=/usr/bin/dockerd {text} end"));
        let line = command_line(&files, &none()).unwrap();
        assert_eq!(line, ["/usr/bin/dockerd", word, "end"], "{text}");
    }
    let lines = "ExecStart=/usr/bin/dockerd a\\\\\nNice=1\nExecStart=\nExecStart=/usr/bin/dockerd b\\\\\\\n c";
    let line = command_line(&unit(lines), &none()).unwrap();
    assert_eq!(line, ["/usr/bin/dockerd", "b\\", "c"]);
    // A listener is the same in every spelling, and is written so that it can be read again.
    let files = unit(r#"ExecStart=/usr/bin/dockerd "\x2dH" "unix:///a\x20b" -H tcp\x3a//a:2375"#);
    let drop_in = derive(&files, OWN, &none(), &wanted("tcp://a:2376", true)).unwrap();
    assert_eq!(drop_in.closed, ["tcp://a:2375"]);
    assert_eq!(
        drop_in.exec_start,
        "/usr/bin/dockerd -H \"unix:///a b\" -H tcp://a:2376"
    );
}

proptest::proptest! {
    /// The derived command is what systemd runs, and a second deployment changes nothing.
    #[test]
    fn any_words_survive_the_derivation(
        values in proptest::collection::vec("[^\0]{0,6}|[\\\\\"' %$x07unt{}\t\n;-]{0,8}", 1..4),
        escaped: bool,
    ) {
        let mut words = vec!["/usr/bin/dockerd".to_owned(), "-H".to_owned(), "fd://".to_owned()];
        words.extend(values.iter().map(|value| format!("--label={value}")));
        let text = |word: &String| match word.strip_prefix("--label=") {
            Some(value) if escaped => {
                let bytes = value.bytes().map(|byte| match byte {
                    b'%' | b'$' => format!("\\x{byte:02x}\\{byte:03o}"),
                    _ => format!("\\x{byte:02x}"),
                });
                format!("--label={}", bytes.collect::<String>())
            }
            _ => syntax::written(&word.replace('%', "%%").replace('$', "$$")),
        };
        let line: Vec<String> = words.iter().map(text).collect();
        let mut files = unit(&format!("ExecStart={}", line.join(" ")));
        proptest::prop_assert_eq!(command_line(&files, &none()), Some(words.clone()));
        let loaded = Command {
            path: words[0].clone(),
            arguments: words.iter().map(|word| word.replace('$', "$$")).collect(),
            flags: Vec::new(),
        };
        proptest::prop_assert!(says(&files, &loaded));
        proptest::prop_assert!(says(&[as_file(&loaded)], &loaded));
        let mut listening = wanted("tcp://a:2376", true);
        let first = derive(&files, OWN, &none(), &listening).unwrap();
        files.push(UnitFile { path: OWN.to_owned(), text: first.text.clone() });
        let derived = command_line(&files, &none()).unwrap();
        proptest::prop_assert_eq!(others(&derived), others(&words));
        listening.own = OwnDropIn::Ours;
        proptest::prop_assert_eq!(derive(&files, OWN, &none(), &listening).unwrap(), first);
    }
}
