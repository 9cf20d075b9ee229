//! Running containers: seen before anything is changed, and kept running by
//! live-restore through a deployment, a rotation and a rollback.

use std::io::{Read as _, Write as _};
use std::process::Stdio;

use crate::lab::{Lab, PASSPHRASE, Run};

pub const IMAGE: &str = "tar --create --dereference /bin/busybox $(ldd /bin/busybox | grep -o '/[^ ]*') 2>/dev/null | docker import - busybox >/dev/null";

/// Starts a container on node3 that runs until it is stopped.
fn start_container(lab: &Lab) {
    lab.exec(
        "node3",
        &format!("{IMAGE} && docker run -d --name kept busybox /bin/busybox sleep 100000"),
    );
}

/// PID and start of the container's process: the same pair is the same process.
fn process(lab: &Lab) -> String {
    lab.exec(
        "node3",
        "pid=$(docker inspect -f '{{.State.Pid}}' kept) && awk '{print $1, $22}' /proc/$pid/stat",
    )
}

fn is_live_restore(lab: &Lab) -> bool {
    lab.exec(
        "node3",
        "timeout 10 docker info --format '{{.LiveRestoreEnabled}}' 2>/dev/null",
    ) == "true"
}

/// Everything that a run could have changed.
fn state(lab: &Lab) -> String {
    let mut state = lab.invocation();
    for node in ["node1", "node2", "node3"] {
        state += &lab.exec(
            node,
            "ls -d /etc/docker/tls /etc/dtls-deploy /var/lib/dtls-deploy /home/ubuntu/.docker /etc/systemd/system/docker.service.d 2>/dev/null; cat /etc/docker/daemon.json 2>/dev/null; true",
        );
    }
    state
}

/// A run on a terminal, on which `answer` is typed at the question.
fn on_a_terminal(lab: &Lab, arguments: &[&str], answer: &[u8]) -> Run {
    with_output_to(lab, "", arguments, answer)
}

/// The same with the shell's words behind the command.
fn with_output_to(lab: &Lab, behind: &str, arguments: &[&str], answer: &[u8]) -> Run {
    let tool = lab.tool(arguments);
    let line: Vec<String> = std::iter::once(tool.get_program())
        .chain(tool.get_args())
        .map(|word| format!("'{}'", word.to_str().unwrap()))
        .collect();
    let mut child = std::process::Command::new("script")
        .args(["-qec", &format!("{}{behind}", line.join(" ")), "/dev/null"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("DTLS_CA_PASSPHRASE", PASSPHRASE)
        .spawn()
        .unwrap();
    let mut keyboard = child.stdin.take().unwrap();
    let mut screen = child.stdout.take().unwrap();
    let mut seen = String::new();
    let mut buffer = [0; 4096];
    let mut typed = false;
    while let Ok(length @ 1..) = screen.read(&mut buffer) {
        seen += &String::from_utf8_lossy(&buffer[..length]);
        if !typed && seen.contains("Go on? [y/N]") {
            typed = true;
            keyboard.write_all(answer).unwrap();
        }
    }
    assert!(typed, "nothing was asked: {seen}");
    Run {
        code: child.wait().unwrap().code().unwrap_or(-1),
        stdout: seen,
        stderr: String::new(),
    }
}

/// A user at the terminal is asked, even if the output goes elsewhere.
#[test]
fn a_pipe_behind_the_command_answers_no_question() {
    let lab = Lab::fresh();
    let inventory = lab.inventory("");
    let piped = |arguments: &[&str]| with_output_to(&lab, " 2>&1 | cat", arguments, b"n\n");
    let before = state(&lab);
    let run = piped(&["deploy", &inventory]);
    assert!(
        run.stdout.contains("Make these changes to "),
        "{}",
        run.stdout
    );
    assert_eq!(state(&lab), before);
    lab.deploy(&[&inventory]);
    let deployed = state(&lab);
    let run = piped(&["remove", &inventory]);
    assert!(
        run.stdout.contains("Make these changes to "),
        "{}",
        run.stdout
    );
    // With -q, the question is all that is shown.
    let run = piped(&["remove", "-q", &inventory]);
    assert!(
        run.stdout.contains("Make these changes to node"),
        "{}",
        run.stdout
    );
    let run = piped(&["rotate", "--ca", &inventory]);
    // What is agreed to is all of it.
    for said in [
        "2. daemons trust both CAs and serve certificates of the new CA (restarts Docker)",
        ", then take the steps that follow.",
    ] {
        assert!(run.stdout.contains(said), "{}", run.stdout);
    }
    assert_eq!(state(&lab), deployed);
}

#[test]
fn containers_are_not_stopped_without_a_word() {
    let lab = Lab::fresh();
    start_container(&lab);
    let inventory = lab.inventory("");
    let before = (state(&lab), process(&lab));

    // No one to ask.
    let run = lab.run(&[&inventory]);
    assert_eq!(run.code, 8, "{}{}", run.stdout, run.stderr);
    assert!(
        run.stdout.contains("stops 1 running container"),
        "{}",
        run.stdout
    );
    assert!(
        run.stderr
            .contains("restarting docker would stop 1 container on node3"),
        "{}",
        run.stderr
    );
    assert!(
        run.stderr.contains("--allow-container-restart")
            && run.stderr.contains("dtls_live_restore"),
        "{}",
        run.stderr
    );
    let run = lab.run(&[&inventory, "--output", "json"]);
    assert_eq!(run.code, 8);
    assert!(
        run.stdout.contains("\"kind\":\"containers_running\""),
        "{}",
        run.stdout
    );
    assert_eq!((state(&lab), process(&lab)), before);

    // --check asks nothing.
    let run = lab.run(&[&inventory, "--check"]);
    assert_eq!(run.code, 0, "{}{}", run.stdout, run.stderr);

    // No is no, and so is Ctrl-C.
    let run = on_a_terminal(&lab, &[&inventory], b"n\n");
    assert_eq!(run.code, 8, "{}", run.stdout);
    assert!(
        run.stdout
            .contains("Restarting docker stops 1 container on node3. Go on? [y/N]"),
        "{}",
        run.stdout
    );
    let run = on_a_terminal(&lab, &[&inventory], b"\x03");
    assert_eq!(run.code, 130, "{}", run.stdout);
    let (untouched, process_after) = (
        lab.exec("node3", "ls -d /etc/docker/tls 2>/dev/null; true"),
        process(&lab),
    );
    assert_eq!((untouched.as_str(), &process_after), ("", &before.1));

    // Yes is yes.
    let run = on_a_terminal(&lab, &[&inventory], b"y\n");
    assert_eq!(run.code, 0, "{}", run.stdout);
    let running = "docker inspect -f '{{.State.Running}}' kept";
    assert_eq!(lab.exec("node3", running), "false");

    // And so is the option.
    lab.exec("node3", "docker start kept");
    let more = "{dtls_extra_sans: ['DNS:more.example.com']}";
    let run = lab.run(&[&inventory, "-e", more]);
    assert_eq!(run.code, 8, "{}{}", run.stdout, run.stderr);
    lab.deploy(&[&inventory, "-e", more, "--allow-container-restart"]);
    assert_eq!(lab.exec("node3", running), "false");
}

#[test]
fn live_restore_keeps_a_container_through_deployment_rotation_and_rollback() {
    let lab = Lab::fresh();
    start_container(&lab);
    lab.exec(
        "node3",
        "printf '{\\n    \"debug\": false\\n}\\n' >/etc/docker/daemon.json",
    );
    let kept = process(&lab);
    let inventory = lab.inventory("dtls_live_restore: true");

    let run = lab.deploy(&[&inventory]);
    assert!(
        run.stdout
            .contains("1 running container goes on: live-restore"),
        "{}",
        run.stdout
    );
    assert_eq!(process(&lab), kept, "after the deployment");
    let settings = lab.exec("node3", "cat /etc/docker/daemon.json");
    assert!(
        settings.contains("    \"live-restore\": true") && settings.contains("\"debug\": false"),
        "{settings}"
    );
    let run = lab.deploy(&[&inventory]);
    assert!(run.stdout.contains("Nothing to change."), "{}", run.stdout);

    // Another certificate, another start of docker.
    let serial = "openssl x509 -in /etc/docker/tls/cert.pem -noout -serial";
    let (old_serial, old_start) = (lab.exec("node3", serial), lab.invocation());
    let inventory =
        lab.inventory("dtls_live_restore: true\ndtls_extra_sans: ['DNS:more.example.com']");
    lab.deploy(&[&inventory]);
    assert_ne!(lab.exec("node3", serial), old_serial);
    assert_ne!(lab.invocation(), old_start);
    assert_eq!(process(&lab), kept, "after the rotation");

    // The node undoes it by itself: docker does not start with this port.
    lab.guard("node3", "9376");
    let old_start = lab.invocation();
    let broken = lab.inventory(
        "dtls_live_restore: true\ndtls_extra_sans: ['DNS:more.example.com']\ndtls_listen: ['tcp://0.0.0.0:9376']",
    );
    let run = lab.run(&[&broken]);
    assert_eq!(run.code, 4, "{}{}", run.stdout, run.stderr);
    assert!(
        run.stdout.contains("failed, everything is as it was"),
        "{}",
        run.stdout
    );
    assert_ne!(lab.invocation(), old_start);
    assert_eq!(process(&lab), kept, "after the node's own rollback");
    assert!(is_live_restore(&lab));

    // The controller has it undone: no client reaches the daemon.
    let broken = lab.inventory(&format!("dtls_live_restore: true\n{}", lab.unreached()));
    let run = lab.run(&[&broken]);
    assert_eq!(run.code, 4, "{}{}", run.stdout, run.stderr);
    assert_eq!(process(&lab), kept, "after the controller's rollback");
    assert!(is_live_restore(&lab));
}

/// The very first deployment fails: what is put back is the file with
/// live-restore, and it stays on.
#[test]
fn live_restore_stays_on_when_the_first_deployment_is_undone() {
    let lab = Lab::fresh();
    start_container(&lab);
    let kept = process(&lab);
    lab.guard("node3", "9376");
    let inventory = lab.inventory("dtls_live_restore: true\ndtls_listen: ['tcp://0.0.0.0:9376']");
    let run = lab.run(&[&inventory]);
    assert_eq!(run.code, 4, "{}{}", run.stdout, run.stderr);
    assert_eq!(
        lab.exec("node3", "tr -d ' \\n' </etc/docker/daemon.json"),
        "{\"live-restore\":true}"
    );
    assert_eq!(process(&lab), kept);
    assert!(is_live_restore(&lab));
}

#[test]
fn live_restore_on_a_deployed_daemon_needs_no_restart() {
    let lab = Lab::fresh();
    lab.deploy(&[&lab.inventory("")]);
    start_container(&lab);
    let (kept, start) = (process(&lab), lab.invocation());
    let inventory = lab.inventory("dtls_live_restore: true");
    let run = lab.deploy(&[&inventory]);
    assert!(
        run.stdout.contains("reload of docker.service"),
        "{}",
        run.stdout
    );
    assert!(is_live_restore(&lab));
    assert_eq!((process(&lab), lab.invocation()), (kept, start));
    let run = lab.deploy(&[&inventory]);
    assert!(run.stdout.contains("Nothing to change."), "{}", run.stdout);
}

/// The reload does not reach dockerd: nothing says that live-restore is on.
#[test]
fn a_reload_without_effect_is_undone() {
    let lab = Lab::fresh();
    start_container(&lab);
    lab.exec(
        "node3",
        "echo '{\"debug\": true}' >/etc/docker/daemon.json; mkdir -p /etc/systemd/system/docker.service.d; printf '[Service]\\nExecReload=\\nExecReload=/bin/true\\n' >/etc/systemd/system/docker.service.d/90-deaf.conf; systemctl daemon-reload",
    );
    let before = (lab.invocation(), process(&lab));
    let run = lab.run(&[&lab.inventory("dtls_live_restore: true")]);
    assert_eq!(run.code, 4, "{}{}", run.stdout, run.stderr);
    assert!(
        run.stdout
            .contains("there is no sign that live-restore is on now")
            && run.stdout.contains("failed, everything is as it was"),
        "{}",
        run.stdout
    );
    assert_eq!(
        lab.exec("node3", "cat /etc/docker/daemon.json"),
        "{\"debug\": true}"
    );
    assert_eq!((lab.invocation(), process(&lab)), before);
    let left =
        "ls -A /etc/docker/tls 2>/dev/null; ls -Ad /etc/docker/.dtls-deploy* 2>/dev/null; true";
    assert_eq!(lab.exec("node3", left), "");
}

#[test]
fn live_restore_is_refused_in_a_swarm() {
    let lab = Lab::fresh();
    lab.exec(
        "node3",
        "docker swarm init --advertise-addr 10.0.0.12 >/dev/null",
    );
    let before = lab.invocation();
    let run = lab.run(&[&lab.inventory("dtls_live_restore: true")]);
    assert_eq!(run.code, 4, "{}{}", run.stdout, run.stderr);
    assert!(run.stdout.contains("in a swarm"), "{}", run.stdout);
    assert_eq!(lab.invocation(), before);
    let touched = "ls -d /etc/docker/tls /etc/docker/daemon.json 2>/dev/null; true";
    assert_eq!(lab.exec("node3", touched), "");
}

/// `remove` takes out what a deployment has put in, and says what that stops.
#[test]
fn remove_takes_live_restore_out_again_and_says_what_stops() {
    let lab = Lab::fresh();
    let inventory = lab.inventory("dtls_live_restore: true");
    let settings = "cat /etc/docker/daemon.json";
    for before in [
        "{ \"log-level\":\"warn\",\n\t\"live-restore\" : false }",
        "{\n    \"log-level\": \"warn\"\n}\n",
    ] {
        lab.exec(
            "node3",
            &format!("printf '%s' '{before}' >/etc/docker/daemon.json; systemctl restart docker"),
        );
        let before = lab.exec("node3", &format!("{settings} | sha256sum"));
        lab.deploy(&[&inventory]);
        assert!(is_live_restore(&lab));
        lab.exec("node3", "docker rm -f kept 2>/dev/null; true");
        start_container(&lab);
        let alive = process(&lab);

        let run = lab.run(&["remove", &inventory]);
        assert_eq!(run.code, 8, "{}{}", run.stdout, run.stderr);
        assert!(
            run.stdout.contains("stops 1 running container"),
            "{}",
            run.stdout
        );
        assert!(
            run.stdout.contains("live-restore goes, too"),
            "{}",
            run.stdout
        );
        assert!(
            !run.stderr.contains("dtls_live_restore: true"),
            "{}",
            run.stderr
        );
        assert_eq!(process(&lab), alive);

        let run = lab.deploy(&["remove", &inventory, "--allow-container-restart"]);
        assert!(
            run.stdout.contains("has no files of the deployment left"),
            "{}",
            run.stdout
        );
        assert_eq!(
            lab.exec("node3", &format!("{settings} | sha256sum")),
            before
        );
        assert!(!is_live_restore(&lab));
        assert_eq!(
            lab.exec("node3", "ls -d /var/lib/dtls-deploy 2>/dev/null; true"),
            ""
        );
    }

    // An operator's own stays, and containers with it.
    lab.exec("node3", "docker rm -f kept; printf '{\"live-restore\": true}' >/etc/docker/daemon.json; systemctl restart docker");
    lab.deploy(&[&inventory]);
    start_container(&lab);
    let alive = process(&lab);
    lab.deploy(&["remove", &inventory]);
    assert_eq!(lab.exec("node3", settings), "{\"live-restore\": true}");
    assert_eq!(process(&lab), alive);
}

/// There was no daemon.json before: the file goes, or goes back to nothing, and live-restore with it.
#[test]
fn what_stops_is_counted_when_daemon_json_goes() {
    let lab = Lab::fresh();
    let inventory = lab.inventory("dtls_live_restore: true");
    for command in ["remove", "rollback"] {
        lab.exec("node3", "docker rm -f kept 2>/dev/null; true");
        lab.deploy(&[&inventory]);
        assert!(is_live_restore(&lab));
        start_container(&lab);
        let before = (state(&lab), process(&lab));

        let run = lab.run(&[command, &inventory]);
        assert_eq!(run.code, 8, "{command}: {}{}", run.stdout, run.stderr);
        assert!(
            run.stdout.contains("stops 1 running container"),
            "{command}: {}",
            run.stdout
        );
        assert!(
            !run.stderr.contains("dtls_live_restore: true"),
            "{command}: {}",
            run.stderr
        );
        assert_eq!((state(&lab), process(&lab)), before, "{command}");

        lab.deploy(&[command, &inventory, "--allow-container-restart"]);
        assert!(!is_live_restore(&lab), "{command}");
        let running = "docker inspect -f '{{.State.Running}}' kept";
        assert_eq!(lab.exec("node3", running), "false", "{command}");
        let left = "ls -d /etc/docker/daemon.json /etc/docker/tls 2>/dev/null; true";
        assert_eq!(lab.exec("node3", left), "", "{command}");
    }
}

/// A user at a terminal agrees to what is shown; a script is not asked.
#[test]
fn a_plan_is_agreed_to_on_a_terminal() {
    let lab = Lab::fresh();
    let inventory = lab.inventory("");
    let untouched = "ls -A /etc/dtls-deploy /var/lib/dtls-deploy /etc/docker/tls 2>/dev/null; true";
    let run = on_a_terminal(&lab, &[&inventory], b"n\n");
    assert_eq!(run.code, 2, "{}", run.stdout);
    assert!(
        run.stdout
            .contains("the answer was no; nothing was changed"),
        "{}",
        run.stdout
    );
    for node in ["node2", "node3"] {
        assert_eq!(lab.exec(node, untouched), "");
    }
    let run = on_a_terminal(&lab, &["deploy", &inventory], b"y\n");
    assert_eq!(run.code, 0, "{}", run.stdout);
    for arguments in [
        &["rollback", &inventory][..],
        &["remove", &inventory],
        &["rotate", "--force", &inventory],
        &["rotate", "--ca", &inventory],
    ] {
        let run = on_a_terminal(&lab, arguments, b"n\n");
        assert_eq!(run.code, 2, "{arguments:?}: {}", run.stdout);
    }
    let run = on_a_terminal(&lab, &["rotate", "--ca", &inventory], b"y\n");
    assert_eq!(run.code, 0, "{}", run.stdout);
    assert_eq!(run.stdout.matches("[y/N]").count(), 1, "{}", run.stdout);
    lab.deploy(&["remove", &inventory]);
}
