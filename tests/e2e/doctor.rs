//! `doctor`: a dozen things are broken at once, and each is named on its host,
//! and nothing else; what doctor expects deploy to fix, it fixes.

use serde_json::Value;

use crate::lab::{Lab, Run};

/// Two daemons, of which one is called by its name, and two clients.
const INVENTORY: &str = "all:
  vars: {ansible_user: ubuntu}
  children:
    ca: {hosts: {node2: {ansible_host: 10.0.0.11}}}
    daemons:
      hosts:
        node3: {ansible_host: 10.0.0.12, dtls_listen: ['tcp://node3:2376']}
        node4: {ansible_host: 10.0.0.13}
    clients:
      hosts:
        node1: {ansible_host: 10.0.0.10}
        node5: {ansible_host: 10.0.0.14}
";

/// Everything on a node that a run writes, and that docker reads.
const STATE: &str = "find /etc/docker /etc/dtls-deploy /etc/systemd/system /etc/default/docker \
    /home/ubuntu /root /var/lib/dtls-deploy -type f 2>/dev/null -exec sha256sum {} + | sort; \
    systemctl show docker.service -p InvocationID -p NeedDaemonReload; \
    ls -d /var/lib/dtls-deploy /etc/dtls-deploy /home/ubuntu/.docker 2>/dev/null; true";

/// Runs the doctor, who writes nothing.
fn doctor_writes_nothing(lab: &Lab, arguments: &[&str], code: i32) -> Vec<Value> {
    let nodes = ["node1", "node2", "node3", "node4"];
    let state = || nodes.map(|node| lab.exec(node, STATE));
    let before = state();
    let found = doctor(lab, arguments, code);
    assert_eq!(state(), before);
    found
}

/// Runs the doctor, who needs no passphrase.
fn doctor(lab: &Lab, arguments: &[&str], code: i32) -> Vec<Value> {
    let mut words = vec!["doctor", "--output", "json"];
    words.extend(arguments);
    let output = lab
        .tool(&words)
        .env_remove("DTLS_CA_PASSPHRASE")
        .output()
        .unwrap();
    let run = Run {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    };
    assert_eq!(run.code, code, "{}{}", run.stdout, run.stderr);
    let lines = run.stdout.lines();
    let events: Vec<Value> = lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(events.last().unwrap()["event"], "doctor");
    let found = events.into_iter();
    found.filter(|event| event["event"] == "finding").collect()
}

/// `error node3 disk refused`
fn summary(findings: &[Value]) -> Vec<String> {
    let mut lines: Vec<String> = findings
        .iter()
        .map(|finding| {
            let word = |name: &str| finding[name].as_str().unwrap().to_owned();
            let deploy = match (&finding["mended_by_deploy"], &finding["refused_by_deploy"]) {
                (Value::Bool(true), _) => "mended",
                (_, Value::Bool(true)) => "refused",
                _ => "left",
            };
            assert!(!word("advice").is_empty(), "{finding}");
            [
                word("severity"),
                word("host"),
                word("topic"),
                deploy.to_owned(),
            ]
            .join(" ")
        })
        .collect();
    lines.sort();
    lines
}

fn break_clients_and_ca(lab: &Lab) {
    // An open key, someone else's certificate, a name that leads elsewhere, and
    // a firewall.
    lab.exec(
        "node1",
        "cd /home/ubuntu/.docker && chmod 0644 key.pem && \
         openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout /dev/null -subj /CN=elsewhere -days 9 2>/dev/null >cert.pem; \
         sed 's/^.*node3$/10.0.0.99 node3/' /etc/hosts >/tmp/hosts; cat /tmp/hosts >/etc/hosts; \
         iptables -I OUTPUT -p tcp -d 10.0.0.13 --dport 2376 -j DROP",
    );
    lab.exec("node2", "chmod 0644 /etc/dtls-deploy/ca/ca-key.pem");
    // Another host key than the recorded one.
    lab.exec(
        "node5",
        "rm /etc/ssh/ssh_host_*; ssh-keygen -A >/dev/null; systemctl restart ssh",
    );
}

fn break_daemons(lab: &Lab) {
    // Another key, a drop-in that comes later, no CA to check clients against,
    // and no room.
    lab.exec(
        "node3",
        "openssl ecparam -name prime256v1 -genkey -noout >/tmp/key; cat /tmp/key >/etc/docker/tls/key.pem; \
         printf '[Service]\\nExecStart=\\nExecStart=/usr/sbin/dockerd -H tcp://0.0.0.0:2377\\n' >/etc/systemd/system/docker.service.d/zz-other.conf; \
         grep -v tlscacert /etc/docker/daemon.json >/tmp/json; cat /tmp/json >/etc/docker/daemon.json; \
         systemctl daemon-reload; mount -t tmpfs -o size=64k,mode=700 tmpfs /var/lib/dtls-deploy",
    );
    // Expired, and plain TCP in three places, one of them ours without daemon.json.
    // That goes last: dockerd waits half a minute before it listens without TLS.
    lab.exec(
        "node4",
        "echo 'DOCKER_OPTS=\"-H tcp://0.0.0.0:2385\"' >/etc/default/docker; \
         mkdir /etc/systemd/system/docker.socket.d; \
         printf '[Socket]\\nListenStream=2375\\n' >/etc/systemd/system/docker.socket.d/tcp.conf; \
         systemctl daemon-reload; systemctl stop docker.service docker.socket; \
         systemctl reset-failed docker.service docker.socket; systemctl start docker.socket docker.service; \
         openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout /tmp/key -subj /CN=elsewhere -days 1 -out /tmp/one 2>/dev/null; \
         openssl x509 -in /tmp/one -signkey /tmp/key -days -1 2>/dev/null >/etc/docker/tls/cert.pem; \
         echo '{}' >/etc/docker/daemon.json",
    );
    let listening = lab.exec("node4", "ss -Hltn");
    assert!(
        listening.contains(":2375 ") && listening.contains(":2385 "),
        "{listening}"
    );
}

#[test]
fn a_dozen_things_at_once_are_named_and_nothing_else() {
    let lab = Lab::with_two_of_each();
    let inventory = lab.file("doctor.yaml", INVENTORY);
    // Nothing is deployed, and nothing is wrong.
    let fresh = doctor_writes_nothing(&lab, &[&inventory], 0);
    assert_eq!(
        summary(&fresh),
        ["node1", "node2", "node3", "node4", "node5"]
            .map(|node| format!("note {node} drift mended"))
    );
    lab.deploy(&[&inventory]);
    assert_eq!(doctor(&lab, &[&inventory], 0), Vec::<Value>::new());

    break_clients_and_ca(&lab);
    break_daemons(&lab);
    let found = doctor_writes_nothing(&lab, &[&inventory], 5);
    assert_eq!(
        summary(&found),
        [
            "error node1 certificate mended",
            "error node1 files mended",
            "error node1 name left",
            "error node1 reach left",
            "error node2 files mended",
            "error node3 certificate left",
            "error node3 daemon_json left",
            "error node3 disk refused",
            "error node3 unit refused",
            "error node4 certificate mended",
            "error node4 plain_tcp mended",
            "error node4 plain_tcp mended",
            "error node4 plain_tcp mended",
            "error node5 ssh refused",
        ],
        "{found:#?}"
    );
    let said = serde_json::to_string(&found).unwrap();
    for words in [
        "key.pem: mode 0644, want 0400",
        "issued by another CA (CN=elsewhere)",
        "the name node3 is 10.0.0.99 there, which is not an address of node3 (it has 10.0.0.12",
        "tcp://10.0.0.13:2376 of node4 does not answer within 5 s",
        "ca-key.pem: mode 0644: others can read the CA's key",
        "its key is not one the ledger knows",
        "zz-other.conf sorts after our drop-in",
        "tlsverify without tlscacert",
        "/var/lib/dtls-deploy is on a file system with 64 KiB left",
        "expired on ",
        "tcp://0.0.0.0:2385 in /etc/default/docker",
        "tcp://0.0.0.0:2376 in /etc/systemd/system/docker.service.d/50-dtls-deploy.conf",
        "ListenStream=2375 in /etc/systemd/system/docker.socket.d/tcp.conf",
        "ubuntu@10.0.0.14:22 (node5): THE HOST KEY DIFFERS",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }

    // What doctor expects deploy to fix, it fixes, with a diff.
    lab.exec("node1", "iptables -D OUTPUT 1");
    let limit = ["--limit", "node1,node4"];
    let run = lab.deploy(&[&inventory, "--diff", limit[0], limit[1]]);
    for words in [
        "tcp://0.0.0.0:2385 is closed",
        "ListenStream=2375 of docker.socket is closed",
        "+ListenStream=/run/docker.sock",
        "ok  node4  does not listen on port 2375",
    ] {
        assert!(run.stdout.contains(words), "{words}: {}", run.stdout);
    }
    let listening = lab.exec("node4", "ss -Hltn");
    assert!(
        !listening.contains(":2375 ") && !listening.contains(":2385 "),
        "{listening}"
    );
    let found = doctor(&lab, &[&inventory, limit[0], limit[1]], 0);
    assert_eq!(found, Vec::<Value>::new());

    // Without sudo on the CA's node little can be said, and that is reported.
    lab.exec(
        "node2",
        "rm -f /etc/sudoers.d/*; deluser -q ubuntu sudo 2>/dev/null; true",
    );
    let found = doctor(&lab, &[&inventory, limit[0], limit[1]], 4);
    assert_eq!(summary(&found), ["error node2 sudo refused"], "{found:#?}");
}

/// What `remove` has taken is no drift, and a socket that does not answer is found.
#[test]
fn a_host_after_remove_is_not_set_up_and_a_silent_socket_is_an_error() {
    let lab = Lab::fresh();
    let inventory = lab.inventory("");
    lab.deploy(&[&inventory]);
    lab.exec("node3", "kill -STOP $(pidof dockerd)");
    let run = lab.run(&["doctor", &inventory]);
    lab.exec("node3", "kill -CONT $(pidof dockerd)");
    assert_eq!(run.code, 6, "{}", run.stdout);
    assert!(
        run.stdout.contains("does not answer on its local socket"),
        "{}",
        run.stdout
    );
    let run = lab.run(&["doctor", &inventory, "-v"]);
    assert_eq!(run.code, 0, "{}", run.stdout);
    assert!(
        run.stdout.contains("the local socket answers"),
        "{}",
        run.stdout
    );

    let removed = lab.deploy(&["remove", &inventory]);
    let next = "Next: take the hosts out of";
    assert!(removed.stdout.contains(next), "{}", removed.stdout);
    // Of one mind: it is neither broken nor failed.
    for (command, code) in [("doctor", 0), ("status", 3), ("verify", 6)] {
        let run = lab.run(&[command, &inventory]);
        assert_eq!(run.code, code, "{command}: {}", run.stdout);
        let said = run.stdout.replace("\n ", "");
        assert!(
            said.contains("nothing is deployed there"),
            "{command}: {said}"
        );
        assert!(!said.contains("broken  "), "{command}: {said}");
        assert!(!said.contains("FAILED"), "{command}: {said}");
    }
}
