//! What systemd and dockerd really read: nothing of it is lost, or the host is refused
//! before anything on it is touched.

use crate::lab::{Lab, Run};

const DROP_INS: &str = "/etc/systemd/system/docker.service.d";
/// docker.io's own command with another data root.
const ELSEWHERE: &str = "[Service]\\nExecStart=\\nExecStart=/usr/sbin/dockerd -H fd:// --containerd=/run/containerd/containerd.sock --data-root /srv/docker\\n";

/// The words of the running daemon's command line, a line each.
fn command_line(lab: &Lab) -> String {
    lab.exec(
        "node3",
        "tr '\\000' '\\n' </proc/$(systemctl show -p MainPID --value docker.service)/cmdline",
    )
}

/// The directory in which the running daemon has its database of volumes open.
fn data_root(lab: &Lab) -> String {
    lab.exec(
        "node3",
        "ls -l /proc/$(systemctl show -p MainPID --value docker.service)/fd | sed -n 's|.* -> \\(.*\\)/volumes/metadata.db$|\\1|p'",
    )
}

/// What a refused run must leave as it is.
fn state(lab: &Lab) -> String {
    lab.exec(
        "node3",
        "systemctl show docker.service docker.socket -p InvocationID -p NeedDaemonReload -p UnitFileState; \
         find /etc/docker /etc/systemd/system /var/lib/dtls-deploy 2>/dev/null | sort; cat /etc/docker/daemon.json 2>/dev/null; true",
    )
}

/// A run with this inventory is refused and says all of this.
fn refused(lab: &Lab, inventory: &str, said: &[&str]) -> Run {
    let before = state(lab);
    let run = lab.run(&[inventory]);
    assert_eq!(run.code, 4, "{}{}", run.stdout, run.stderr);
    for said in said {
        assert!(run.stdout.contains(said), "{said:?} in {}", run.stdout);
    }
    assert_eq!(state(lab), before);
    run
}

/// Runs `place` on node3, which puts a drop-in there that names another data root; a
/// deployment keeps it, and so does the way back.
fn keeps_the_data_root(place: &str) {
    let lab = Lab::fresh();
    lab.exec(
        "node3",
        &format!(
            "mkdir -p {DROP_INS}; {place}; systemctl daemon-reload && systemctl restart docker"
        ),
    );
    assert_eq!(data_root(&lab), "/srv/docker");
    let inventory = lab.inventory("");
    lab.deploy(&[&inventory]);
    let line = command_line(&lab);
    assert!(line.contains("--data-root\n/srv/docker"), "{line}");
    assert!(line.contains("tcp://0.0.0.0:2376"), "{line}");
    assert_eq!(data_root(&lab), "/srv/docker");
    let again = lab.deploy(&[&inventory]);
    assert!(
        again.stdout.contains("Nothing to change"),
        "{}",
        again.stdout
    );
    lab.deploy(&["remove", &inventory]);
    assert_eq!(data_root(&lab), "/srv/docker");
}

#[test]
fn a_drop_in_with_a_byte_order_mark_keeps_its_data_root() {
    keeps_the_data_root(&format!(
        "printf '\\357\\273\\277{ELSEWHERE}' >{DROP_INS}/10-root.conf"
    ));
}

#[test]
fn a_drop_in_with_a_blank_in_its_name_keeps_its_data_root() {
    keeps_the_data_root(&format!(
        "mkdir -p /run/systemd/system/docker.service.d; printf '{ELSEWHERE}' >'/run/systemd/system/docker.service.d/10 my root.conf'"
    ));
}

#[test]
fn a_drop_in_that_is_another_accounts_link_keeps_its_data_root() {
    keeps_the_data_root(&format!(
        "printf '{ELSEWHERE}' >/home/ubuntu/root.conf; chown ubuntu: /home/ubuntu/root.conf; ln -s /home/ubuntu/root.conf {DROP_INS}/10-root.conf"
    ));
}

/// What puts a drop-in there that is not UTF-8, because of an umlaut in a comment.
fn unreadable(name: &str) -> String {
    format!("printf '# f\\374r das Archiv\\n{ELSEWHERE}' >{DROP_INS}/{name}")
}

/// systemd ignores the comment and reads the rest.
#[test]
fn a_drop_in_that_cannot_be_read_keeps_its_data_root() {
    keeps_the_data_root(&unreadable("10-root.conf"));
}

/// It sorts after ours, or systemd has not read it as it is.
#[test]
fn a_drop_in_that_cannot_be_read_and_may_win_is_refused() {
    let lab = Lab::fresh();
    let place = unreadable("override.conf");
    lab.exec(
        "node3",
        &format!(
            "mkdir -p {DROP_INS}; {place}; systemctl daemon-reload && systemctl restart docker"
        ),
    );
    let inventory = lab.inventory("");
    refused(
        &lab,
        &inventory,
        &[
            "override.conf belongs to the unit, and dtls-deploy cannot read it: it is not UTF-8 text",
        ],
    );
    lab.exec(
        "node3",
        &format!("mv {DROP_INS}/override.conf {DROP_INS}/10-root.conf"),
    );
    refused(
        &lab,
        &inventory,
        &["10-root.conf belongs to the unit", "daemon-reload"],
    );
    lab.exec("node3", "systemctl daemon-reload");
    lab.deploy(&[&inventory]);
    assert_eq!(data_root(&lab), "/srv/docker");
}

/// Words of the command line that no one touches but the operator, and `hosts`.
#[test]
fn sockets_in_daemon_json_go_on_and_come_back() {
    let lab = Lab::fresh();
    lab.exec(
        "node3",
        &format!(
            "mkdir -p {DROP_INS} /etc/docker; printf '[Service]\\nExecStart=\\nExecStart=/usr/sbin/dockerd --containerd=/run/containerd/containerd.sock\\n' >{DROP_INS}/10-hosts.conf; \
             echo '{{\"hosts\": [\"unix:///run/docker.sock\", \"unix:///run/second.sock\"], \"debug\": true}}' >/etc/docker/daemon.json; \
             systemctl disable --now docker.socket; systemctl daemon-reload && systemctl restart docker"
        ),
    );
    let answers = |lab: &Lab| {
        lab.exec("node3", "for s in docker second; do timeout 10 curl -sS --unix-socket /run/$s.sock http://localhost/_ping; done")
    };
    assert_eq!(answers(&lab), "OKOK");
    let before = lab.exec("node3", "cat /etc/docker/daemon.json");
    let inventory = lab.inventory("");
    lab.deploy(&[&inventory]);
    assert_eq!(answers(&lab), "OKOK");
    let again = lab.deploy(&[&inventory]);
    assert!(
        again.stdout.contains("Nothing to change"),
        "{}",
        again.stdout
    );
    lab.deploy(&["rollback", &inventory]);
    assert_eq!(lab.exec("node3", "cat /etc/docker/daemon.json"), before);
    assert_eq!(answers(&lab), "OKOK");
    lab.deploy(&[&inventory]);
    lab.deploy(&["remove", &inventory]);
    let after = lab.exec("node3", "cat /etc/docker/daemon.json");
    let read = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    assert_eq!(read(&after), read(&before));
    assert_eq!(answers(&lab), "OKOK");
}

/// Docker 20.10 merges what a file gives twice: what stands first would be lost.
/// Owner and mode of daemon.json are the operator's.
#[test]
fn daemon_json_keeps_its_owner() {
    let lab = Lab::fresh();
    let state = "stat -c '%U:%G %a' /etc/docker/daemon.json; cat /etc/docker/daemon.json";
    lab.exec("node3", "mkdir -p /etc/docker; echo '{\"debug\": true}' >/etc/docker/daemon.json; chown ubuntu:docker /etc/docker/daemon.json; chmod 0664 /etc/docker/daemon.json");
    let before = lab.exec("node3", state);
    let inventory = lab.inventory("");
    lab.deploy(&[&inventory]);
    let deployed = lab.exec("node3", state);
    assert!(deployed.starts_with("ubuntu:docker 664"), "{deployed}");
    let run = lab.deploy(&[&inventory]);
    assert!(run.stdout.contains("Nothing to change"), "{}", run.stdout);
    lab.deploy(&["remove", &inventory]);
    assert_eq!(lab.exec("node3", state), before);
}

#[test]
fn a_key_of_daemon_json_that_is_there_twice_is_refused() {
    let lab = Lab::fresh();
    let inventory = lab.inventory("");
    for (text, said) in [
        (
            r#"{"log-opts": {"max-size": "1m"}, "log-driver": "json-file", "log-opts": {"max-file": "2"}}"#,
            "the key \"log-opts\" is there twice",
        ),
        (
            r#"{"debug": true} {"ip-forward": true}"#,
            "trailing characters",
        ),
    ] {
        lab.exec(
            "node3",
            &format!("mkdir -p /etc/docker; printf '%s\\n' '{text}' >/etc/docker/daemon.json; systemctl reset-failed docker; systemctl restart docker"),
        );
        refused(
            &lab,
            &inventory,
            &["/etc/docker/daemon.json is not valid", said],
        );
    }
}

/// `systemctl edit` after the deployment: what it says takes effect.
#[test]
fn a_later_edit_of_a_drop_in_takes_effect() {
    let lab = Lab::fresh();
    let inventory = lab.inventory("dtls_dropin: zz-tls.conf");
    lab.deploy(&[&inventory]);
    lab.exec(
        "node3",
        &format!("printf '[Service]\\nExecStart=\\nExecStart=/usr/sbin/dockerd -H fd:// --containerd=/run/containerd/containerd.sock --label=edit=later\\n' >{DROP_INS}/override.conf; systemctl daemon-reload"),
    );
    lab.deploy(&[&inventory]);
    let line = command_line(&lab);
    assert!(line.contains("--label=edit=later"), "{line}");
    assert!(line.contains("tcp://0.0.0.0:2376"), "{line}");
    let again = lab.deploy(&[&inventory]);
    assert!(
        again.stdout.contains("Nothing to change"),
        "{}",
        again.stdout
    );
    // One who edits ours has the last word there, and the output names what has none.
    lab.exec(
        "node3",
        &format!("sed -i 's/later/mine/' {DROP_INS}/zz-tls.conf; systemctl daemon-reload"),
    );
    let run = lab.deploy(&[&inventory]);
    assert!(
        run.stdout.contains("override.conf has no effect"),
        "{}",
        run.stdout
    );
    assert!(command_line(&lab).contains("--label=edit=mine"));
}

/// Dotfiles: the link stays, and so does what it leads to.
#[test]
fn links_to_settings_are_not_replaced() {
    let lab = Lab::fresh();
    lab.exec(
        "node3",
        "mkdir -p /etc/docker /srv/dotfiles; echo '{\"debug\": true}' >/srv/dotfiles/daemon.json; ln -s /srv/dotfiles/daemon.json /etc/docker/daemon.json",
    );
    let inventory = lab.inventory("");
    refused(
        &lab,
        &inventory,
        &[
            "/etc/docker/daemon.json is a symbolic link",
            "cp --remove-destination",
        ],
    );
    assert_eq!(
        lab.exec(
            "node3",
            "readlink /etc/docker/daemon.json; cat /srv/dotfiles/daemon.json"
        ),
        "/srv/dotfiles/daemon.json\n{\"debug\": true}"
    );
    lab.exec(
        "node3",
        "cp --remove-destination \"$(readlink -f /etc/docker/daemon.json)\" /etc/docker/daemon.json",
    );
    lab.exec_as(
        "node1",
        "ubuntu",
        "mkdir dotfiles; mv .profile dotfiles/; ln -s dotfiles/.profile .profile",
    );
    let profile = lab.inventory("dtls_client_env: [profile]");
    let run = lab.run(&[&profile, "--check"]);
    assert_eq!(run.code, 4, "{}{}", run.stdout, run.stderr);
    assert!(
        run.stdout.contains(".profile is a symbolic link"),
        "{}",
        run.stdout
    );
    lab.deploy(&[&lab.inventory("")]);
}

/// A container's user, of whom the host knows a number alone.
#[test]
fn an_owner_without_an_account_is_refused_before_anything_is_issued() {
    let lab = Lab::fresh();
    lab.exec("node1", "mkdir -m 0700 /srv/ci; chown 4711:4711 /srv/ci");
    let inventory = lab.inventory("dtls_client_dir: /srv/ci/docker\nansible_become: true");
    for arguments in [&[inventory.as_str(), "--check"][..], &[inventory.as_str()]] {
        let run = lab.run(arguments);
        assert_eq!(run.code, 4, "{}{}", run.stdout, run.stderr);
        assert!(
            run.stdout
                .contains("/srv/ci belongs to the number 4711, which no account there has"),
            "{}",
            run.stdout
        );
        assert!(
            !run.stdout.contains("client certificate for node1"),
            "{}",
            run.stdout
        );
    }
}

/// Who cannot be asked cannot confirm anything.
#[test]
fn a_client_whose_sshd_forwards_nothing_is_found_before_anything_is_changed() {
    let lab = Lab::fresh();
    lab.exec(
        "node1",
        "echo 'AllowTcpForwarding no' >/etc/ssh/sshd_config.d/no.conf; systemctl reload ssh",
    );
    let inventory = lab.inventory("");
    let said = [
        "sshd on node1 forwards no connections to tcp://10.0.0.12:2376",
        "AllowTcpForwarding",
    ];
    let check = lab.run(&[&inventory, "--check"]);
    assert_eq!(check.code, 4, "{}{}", check.stdout, check.stderr);
    for said in said {
        assert!(check.stdout.contains(said), "{said:?} in {}", check.stdout);
    }
    refused(&lab, &inventory, &said);
    lab.exec(
        "node1",
        "rm /etc/ssh/sshd_config.d/no.conf; systemctl reload ssh",
    );
    lab.deploy(&[&inventory]);
}

/// Nor do clients that do not know the name of the daemon.
#[test]
fn a_name_that_no_client_knows_is_found_before_anything_is_changed() {
    let lab = Lab::fresh();
    lab.exec("node3", "echo 10.0.0.12 only-here >>/etc/hosts");
    let inventory = lab.inventory("dtls_listen: ['tcp://only-here:2376']\n");
    let said = "node1 cannot resolve only-here";
    let check = lab.run(&[&inventory, "--check"]);
    assert_eq!(check.code, 4, "{}{}", check.stdout, check.stderr);
    assert!(check.stdout.contains(said), "{}", check.stdout);
    refused(&lab, &inventory, &[said, "dtls_listen"]);
    lab.exec("node1", "echo 10.0.0.12 only-here >>/etc/hosts");
    lab.deploy(&[&inventory]);
}

/// After a boot docker.socket starts it only when a local user asks.
#[test]
fn a_daemon_that_only_its_socket_starts_is_refused() {
    let lab = Lab::fresh();
    lab.exec(
        "node3",
        "systemctl disable docker.service; systemctl is-enabled docker.socket",
    );
    let inventory = lab.inventory("");
    let run = refused(&lab, &inventory, &["docker.service is not enabled"]);
    assert!(
        run.stdout.contains("systemctl enable docker.service"),
        "{}",
        run.stdout
    );
    let check = lab.run(&[&inventory, "--check"]);
    assert_eq!(check.code, 4, "{}{}", check.stdout, check.stderr);
    // It served before someone disabled it: `remove` has nothing against that.
    lab.exec("node3", "systemctl enable docker.service");
    lab.deploy(&[&inventory]);
    lab.exec("node3", "systemctl disable docker.service");
    lab.deploy(&["remove", &inventory]);
    lab.exec("node3", "docker version");
}

/// Another dockerd on the usual path is not ours.
#[test]
fn the_socket_of_another_daemon_proves_nothing() {
    let lab = Lab::fresh();
    let inventory = lab.inventory("");
    lab.deploy(&[&inventory]);
    lab.exec(
        "node3",
        "mkdir /srv/other; echo {} >/srv/other/daemon.json; rm -f /run/docker.sock; systemd-run --quiet --unit=other dockerd --data-root /srv/other/data --exec-root /srv/other/exec --pidfile /srv/other/pid \
         --bridge none --iptables=false --config-file /srv/other/daemon.json -H unix:///run/docker.sock; \
         for i in $(seq 50); do docker version >/dev/null 2>&1 && break; sleep 0.2; done; docker version",
    );
    let run = lab.run(&["verify", &inventory]);
    assert_eq!(run.code, 6, "{}{}", run.stdout, run.stderr);
    assert!(
        run.stdout
            .contains("another program answers on /run/docker.sock"),
        "{}",
        run.stdout
    );
}

/// Whatever the plan did not see: a restart that changes more than it should is undone.
#[test]
fn a_restart_that_changes_more_than_it_should_is_undone() {
    let lab = Lab::fresh();
    let inventory = lab.inventory("");
    lab.deploy(&[&inventory]);
    let root = data_root(&lab);
    // Systemd reads it at the next reload, and nothing that is checked says so.
    lab.exec(
        "node3",
        "mkdir -p /run/systemd/system/docker.service.d; \
         printf '[Service]\\nExecStart=\\nExecStart=/usr/sbin/dockerd -H fd:// -H tcp://0.0.0.0:2376 --containerd=/run/containerd/containerd.sock --data-root /srv/elsewhere\\n' \
         >/run/systemd/system/docker.service.d/99-later.conf",
    );
    let run = lab.run(&[
        &inventory,
        "-e",
        r#"{"dtls_extra_sans": ["other.example"]}"#,
    ]);
    assert_eq!(run.code, 4, "{}{}", run.stdout, run.stderr);
    assert!(
        run.stdout
            .contains("its command line gained --data-root (a value)"),
        "{}",
        run.stdout
    );
    // There and back: each of the two is counted.
    assert!(run.stdout.contains("restarts=2"), "{}", run.stdout);
    lab.exec("node3", "rm /run/systemd/system/docker.service.d/99-later.conf; systemctl daemon-reload; systemctl restart docker");
    assert_eq!(data_root(&lab), root);
}

/// A container is seen wherever the daemon has its data, whatever the files say of it.
#[test]
fn a_container_is_seen_wherever_the_data_are() {
    for settings in [
        r#"{"userns-remap": "ubuntu"}"#,
        r#"{"data-root": "/srv/d\u006fcker"}"#,
        r#"{"data-root":
            "/srv/joined"}"#,
    ] {
        let lab = Lab::fresh();
        lab.exec(
            "node3",
            &format!(
                "mkdir -p /etc/docker; echo ubuntu:100000:65536 | tee /etc/subuid >/etc/subgid; cat >/etc/docker/daemon.json <<'END'\n{settings}\nEND\n\
                 systemctl restart docker; \
                 tar --create --dereference /bin/busybox $(ldd /bin/busybox | grep -o '/[^ ]*') 2>/dev/null | docker import - busybox >/dev/null && \
                 docker run -d --name kept --network none busybox /bin/busybox sleep 100000"
            ),
        );
        let run = lab.run(&[&lab.inventory("")]);
        assert_eq!(run.code, 8, "{settings}: {}{}", run.stdout, run.stderr);
        assert!(
            run.stdout.contains("stops 1 running container"),
            "{settings}: {}",
            run.stdout
        );
    }
}
