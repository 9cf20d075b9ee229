//! Schedules, by the real systemd of a node: timer, sandbox, credential, hook.

use std::time::{Duration, Instant};

use crate::interrupt::slow_restart;
use crate::lab::{Lab, PASSPHRASE};

const UNIT: &str = "dtls-deploy-lab.service";
const UNITS: &str = "/etc/systemd/system/dtls-deploy-lab.service /etc/systemd/system/dtls-deploy-lab.timer /etc/systemd/system/dtls-deploy-lab-failed.service";
const HOOK: &str = "--on-failure 'echo \"$DTLS_SCHEDULE 100% $DTLS_UNIT\" >>/var/log/hook'";

/// A node that has what a controller has: the program, an SSH key, the hosts'
/// keys, and an inventory.
pub struct Controller<'a> {
    lab: &'a Lab,
    node: &'static str,
}

impl<'a> Controller<'a> {
    pub fn on(lab: &'a Lab, node: &'static str) -> Self {
        let program = "/usr/local/bin/dtls-deploy";
        lab.put(node, env!("CARGO_BIN_EXE_dtls-deploy"), program);
        lab.exec(node, &format!("chmod 755 {program}"));
        let controller = Self { lab, node };
        controller.trust("root", "/root");
        controller
    }

    fn trust(&self, user: &str, home: &str) {
        let directory = format!("{home}/.ssh");
        self.lab.exec(
            self.node,
            &format!("install -d -m 700 -o {user} {directory}"),
        );
        for name in ["id_ed25519", "known_hosts"] {
            let from = self.lab.state(&format!("ssh/{name}"));
            let to = format!("{directory}/{name}");
            self.lab.put(self.node, &from, &to);
            self.lab
                .exec(self.node, &format!("chmod 600 {to}; chown {user}: {to}"));
        }
    }

    pub fn inventory(&self, to: &str, variables: &str) {
        self.lab.put(self.node, &self.lab.inventory(variables), to);
    }

    /// The program on the controller, as root, with the passphrase at hand.
    fn try_tool(&self, arguments: &str) -> (i32, String) {
        self.try_shell(&format!("dtls-deploy {arguments}"))
    }

    fn try_shell(&self, command: &str) -> (i32, String) {
        let command = format!(
            "exec 2>&1; export DTLS_CA_PASSPHRASE='{PASSPHRASE}'; {command}; echo \"code $?\"",
        );
        let text = self.lab.exec(self.node, &command);
        let (_, code) = text.rsplit_once("code ").unwrap();
        (code.trim().parse().unwrap(), text)
    }

    pub fn tool(&self, arguments: &str) -> String {
        let (code, text) = self.try_tool(arguments);
        assert_eq!(code, 0, "{arguments}: {text}");
        text
    }

    fn exec(&self, command: &str) -> String {
        self.lab.exec(self.node, command)
    }

    /// Waits until a shell command on the controller succeeds.
    fn until(&self, command: &str) {
        let deadline = Instant::now() + Duration::from_secs(180);
        while !self.lab.try_exec(self.node, command).0 {
            let log = format!("journalctl --no-pager -n 40 -u {UNIT}");
            assert!(Instant::now() < deadline, "{command}: {}", self.exec(&log));
            std::thread::sleep(Duration::from_millis(500));
        }
    }

    /// Waits for a run that begins from now on and ends well, no matter how soon
    /// the timer starts the one after it. The journal's message ids are systemd's
    /// own: a unit is being started, and has been.
    fn until_a_run_has_ended(&self) {
        let now = self.exec("date +%s.%N");
        self.until(&format!(
            "journalctl --since=@{now} -u {UNIT} -o json --output-fields=MESSAGE_ID | awk '/7d4958e842da4a758f6c1cdc7b36dcc5/ {{ begun = 1 }} begun && /39f53479d3a045ac8e11786248231fbf/ {{ ended = 1 }} END {{ exit !ended }}'"
        ));
    }
}

fn certificate(lab: &Lab) -> String {
    lab.exec("node3", "sha256sum /etc/docker/tls/cert.pem")
}

/// Certificates that the CA has ever issued.
fn issued(lab: &Lab) -> usize {
    let ledger = lab.exec("node2", "cat /etc/dtls-deploy/ca/.ledger.jsonl");
    let lines = ledger.lines();
    lines
        .filter(|line| line.starts_with("{\"event\":\"issued\""))
        .count()
}

#[test]
fn a_timer_renews_what_is_due_and_its_hook_hears_of_failures() {
    let lab = Lab::fresh();
    let controller = Controller::on(&lab, "node1");
    controller.inventory("/srv/lab.yaml", "dtls_validity_days: 10");
    controller.tool("/srv/lab.yaml");
    let before = certificate(&lab);
    controller.inventory(
        "/srv/lab.yaml",
        "dtls_validity_days: 90\ndtls_renew_before: 5",
    );
    controller.exec("printf 'Host *\\n  ConnectTimeout 9\\n' >/srv/ssh-config");
    let said = controller.tool(&format!(
        "schedule install /srv/lab.yaml --on-calendar '*:*:0/5' --randomized-delay 0 --ssh-config /srv/../srv/ssh-config {HOOK}"
    ));
    let commands = controller.exec(&format!("grep -c 'ssh-config' /etc/systemd/system/{UNIT}"));
    assert_eq!(commands, "2");
    assert!(said.contains("the passphrase opens the CA's key"), "{said}");
    assert!(said.contains("encrypted with this machine's key"), "{said}");

    // The units: sound, shut in, and without the secret.
    let said = controller.exec(&format!("systemd-analyze verify {UNITS} 2>&1"));
    assert!(!said.contains("dtls-deploy"), "{said}");
    let said = controller.exec(&format!(
        "systemd-analyze security --no-pager {UNIT} | tail -1"
    ));
    println!("{said}");
    let score: f64 = said
        .split_whitespace()
        .find_map(|word| word.parse().ok())
        .unwrap();
    assert!(score < 2.0, "{said}");
    let secret = format!(
        "! grep -rF '{PASSPHRASE}' /etc /run/systemd /var/log /var/lib/systemd /root 2>/dev/null"
    );
    controller.exec(&secret);
    let modes = "stat -c %a:%U /etc/dtls-deploy/schedule/lab /etc/dtls-deploy/schedule/lab/ca-passphrase.cred | xargs";
    assert_eq!(controller.exec(modes), "700:root 600:root");

    // Ten days are more than five.
    controller.until_a_run_has_ended();
    assert_eq!(certificate(&lab), before);
    // And less than twenty.
    controller.inventory(
        "/srv/lab.yaml",
        "dtls_validity_days: 90\ndtls_renew_before: 20",
    );
    let begun = Instant::now();
    while certificate(&lab) == before {
        assert!(begun.elapsed() < Duration::from_secs(180));
        std::thread::sleep(Duration::from_millis(500));
    }
    println!("renewed by the timer after {:?}", begun.elapsed());
    controller.until_a_run_has_ended();
    let renewed = certificate(&lab);
    controller.until_a_run_has_ended();
    assert_eq!(certificate(&lab), renewed);
    assert!(controller.tool("history").contains("/srv/lab.yaml"));
    let (failed, _) = lab.try_exec("node1", "test -e /var/log/hook");
    assert!(!failed, "the hook ran without a failure");

    // A node that is not there: the unit fails, and the hook runs.
    lab.exec("node3", "systemctl stop ssh.service");
    controller.until("grep -qxF 'lab 100% dtls-deploy-lab.service' /var/log/hook");
    // Not every five seconds from here on.
    lab.exec("node3", "systemctl start ssh.service");
    controller.tool(&format!(
        "schedule install /srv/lab.yaml --randomized-delay 0 {HOOK}"
    ));
    // run-now would join a run that the timer began before.
    controller.until(&format!(
        "[ $(systemctl show -p ActiveState --value {UNIT}) != activating ]"
    ));
    lab.exec("node3", "systemctl stop ssh.service");
    let (code, said) = controller.try_tool("schedule run-now lab");
    assert_eq!(code, 5, "{said}");
    assert!(said.contains("node3: unreachable"), "{said}");
    let said = controller.tool("schedule status");
    assert!(
        said.contains("exit code 5: some host could not be reached"),
        "{said}"
    );
    assert!(said.contains("(daily)"), "{said}");
    lab.exec("node3", "systemctl start ssh.service");
    let said = controller.tool("schedule run-now /srv/lab.yaml");
    assert!(said.contains("Nothing to change"), "{said}");

    // The machine was off at the time: made up for when it is on again.
    let stamp = "touch -d '2 days ago' /var/lib/systemd/timers/stamp-dtls-deploy-lab.timer";
    controller.exec(&format!("systemctl stop dtls-deploy-lab.timer; {stamp}"));
    lab.control(&["stop", "node1"]);
    lab.control(&["start", "node1"]);
    controller.until("dtls-deploy schedule status lab | grep 'exit code 0'");

    controller.tool("schedule remove lab");
    let left = "ls -d /etc/systemd/system/dtls* /run/systemd/system/dtls* /etc/systemd/system/timers.target.wants/dtls* /etc/dtls-deploy/schedule 2>/dev/null; systemctl list-units --all --no-legend 'dtls-deploy-*' | cat";
    assert_eq!(lab.try_exec("node1", left).1.trim(), "");
    assert_eq!(controller.try_tool("schedule run-now lab").0, 2);
}

#[test]
fn what_would_fail_at_night_fails_at_once() {
    let lab = Lab::fresh();
    let controller = Controller::on(&lab, "node1");
    controller.inventory("/srv/lab.yaml", "");
    let refused = |arguments: &str, code: i32, why: &str| {
        let (found, said) = controller.try_tool(&format!("schedule install {arguments}"));
        assert!(found == code && said.contains(why), "{arguments}: {said}");
        let left = "ls /etc/systemd/system/dtls* /run/systemd/system/dtls* /etc/dtls-deploy/schedule/*/* 2>/dev/null";
        assert_eq!(lab.try_exec("node1", left).1.trim(), "", "{arguments}");
    };
    refused("/srv/lab.yaml", 4, "there is no CA on node2");
    controller.tool("/srv/lab.yaml");
    refused(
        "/srv/lab.yaml --on-calendar nightly",
        2,
        "no time of systemd's",
    );
    refused(
        "/srv/lab.yaml --user nobody-here",
        2,
        "no account nobody-here",
    );
    refused("/srv/none.yaml", 2, "/srv/none.yaml");
    // Another account: without a key, then with one.
    refused("/srv/lab.yaml --user ubuntu", 5, "trial failed");
    controller.trust("ubuntu", "/home/ubuntu");
    controller.exec("rm /root/.ssh/id_ed25519");
    refused("/srv/lab.yaml", 5, "not installed: the trial failed");
    controller.exec("chmod 666 /srv/lab.yaml");
    refused("/srv/lab.yaml --user ubuntu", 2, "its mode is 0666");
    controller.exec("chmod 644 /srv/lab.yaml; mkdir /srv/group_vars /srv/host_vars");
    for (file, option) in [
        ("/srv/group_vars/all.yaml", ""),
        ("/srv/host_vars/node3.yaml", ""),
        ("/srv/vars.yaml", "-e @/srv/vars.yaml"),
        ("/srv/ssh", "--ssh-config /srv/ssh"),
        ("/srv/agent", "--agent-program /srv/agent"),
        ("/srv/agent", "-- --agent-program /srv/agent"),
    ] {
        let arguments = format!("/srv/lab.yaml --user ubuntu {option}");
        controller.exec(&format!("touch {file}; chmod 777 {file}"));
        refused(&arguments, 2, "its mode is 0777");
        controller.exec(&format!("chmod 644 {file}; chown 4321 {file}"));
        refused(&arguments, 2, "belongs to the account number 4321");
        controller.exec(&format!("rm {file}"));
    }
    controller.exec("umask 077; echo wrong >/root/wrong");
    let wrong = "--ca-passphrase-file /root/wrong";
    refused(
        &format!("/srv/lab.yaml --user ubuntu {wrong}"),
        4,
        "passphrase",
    );
    let (found, said) = lab.try_exec_as(
        "node1",
        "ubuntu",
        "dtls-deploy schedule install /srv/lab.yaml",
    );
    assert!(!found && said.contains("run it with sudo"), "{said}");

    // Without systemd-creds: a file of root's, and the same trial.
    let said = controller.try_shell(
        "unshare -m sh -c 'mount --bind /bin/false /usr/bin/systemd-creds && dtls-deploy schedule install /srv/lab.yaml --user ubuntu'",
    );
    assert!(
        said.0 == 0 && said.1.contains("cannot encrypt it"),
        "{said:?}"
    );
    controller.tool("schedule run-now lab");
    let modes = "stat -c %n:%a:%U /etc/dtls-deploy/schedule/lab/ca*";
    let plain = "/etc/dtls-deploy/schedule/lab/ca-passphrase:600:root";
    assert_eq!(controller.exec(modes), plain);
    // What is installed stays when a new one fails its trial.
    let (code, said) = controller.try_tool(&format!(
        "schedule install /srv/lab.yaml --user ubuntu {wrong}"
    ));
    assert!(code == 4, "{said}");
    assert_eq!(controller.exec(modes), plain);
    controller.tool("schedule run-now lab");
    // With it: encrypted, and the other file is gone.
    controller.tool("schedule install /srv/lab.yaml --user ubuntu");
    assert_eq!(
        controller.exec(modes),
        "/etc/dtls-deploy/schedule/lab/ca-passphrase.cred:600:root"
    );
    controller.exec("mkdir /srv/b; cp /srv/lab.yaml /srv/b/");
    let (code, said) = controller.try_tool("schedule install /srv/b/lab.yaml --user ubuntu");
    assert!(
        code == 2 && said.contains("there already, for /srv/lab.yaml"),
        "{said}"
    );

    // The journal of a run is that account's.
    controller.inventory(
        "/srv/lab.yaml",
        "dtls_validity_days: 800\ndtls_renew_before: 390",
    );
    controller.tool("schedule run-now lab");
    let said = lab.exec_as("node1", "ubuntu", "dtls-deploy history");
    assert!(
        said.contains("/srv/lab.yaml") && said.contains("fine"),
        "{said}"
    );

    // The CA's key gets another passphrase: heard of although nothing is due.
    lab.exec("node2", &format!(
        "cd /etc/dtls-deploy/ca; openssl pkcs8 -topk8 -v2 aes256 -in ca-key.pem -passin 'pass:{PASSPHRASE}' -out new -passout pass:another && cat new >ca-key.pem && rm new"
    ));
    let (code, said) = controller.try_tool("schedule run-now lab");
    assert!(code == 4 && said.contains("passphrase"), "{said}");
    controller.exec("umask 077; echo another >/root/another");
    controller
        .tool("schedule install /srv/lab.yaml --user ubuntu --ca-passphrase-file /root/another");
    controller.tool("schedule run-now lab");
}

#[test]
fn of_two_schedules_at_once_the_second_waits_and_finds_nothing() {
    let lab = Lab::fresh();
    let controller = Controller::on(&lab, "node2");
    let set = |variables: &str| {
        controller.inventory("/srv/lab.yaml", variables);
        controller.inventory("/srv/the second.yaml", variables);
        // The CA's agent works inside the unit then.
        controller.exec(
            "sed -i 's/ansible_host: 10.0.0.11/ansible_connection: local/' '/srv/the second.yaml'",
        );
    };
    set("dtls_validity_days: 10");
    controller.tool("/srv/lab.yaml");
    slow_restart(&lab, "node3");
    set("dtls_validity_days: 90\ndtls_renew_before: 5");
    let said = controller.tool("schedule install /srv/lab.yaml");
    assert!(
        said.contains("warning: this machine is node2, the CA's node"),
        "{said}"
    );
    let said = controller.tool("schedule install '/srv/the second.yaml'");
    assert!(said.contains("sandbox     none"), "{said}");
    let before = issued(&lab);
    set("dtls_validity_days: 90\ndtls_renew_before: 20");
    let run = |name: &str| controller.try_tool(&format!("schedule run-now '{name}'"));
    let ends = std::thread::scope(|scope| {
        let one = scope.spawn(|| run("lab"));
        let other = scope.spawn(|| run("the second"));
        [one.join().unwrap(), other.join().unwrap()]
    });
    for (code, said) in &ends {
        assert_eq!(*code, 0, "{said}");
    }
    let idle = ends
        .iter()
        .filter(|(_, said)| said.contains("Nothing to change"));
    assert_eq!(idle.count(), 1, "{ends:?}");
    // One for the daemon, one for the client.
    assert_eq!(issued(&lab), before + 2);
    controller.tool("schedule remove lab");
    controller.tool("schedule remove '/srv/the second.yaml'");
    assert!(
        controller
            .tool("schedule status")
            .contains("no schedule is installed")
    );
}

#[test]
fn a_machine_without_systemd_gets_a_line_for_cron() {
    let lab = Lab::fresh();
    let controller = Controller::on(&lab, "node1");
    controller.inventory("/srv/lab.yaml", "");
    controller.tool("/srv/lab.yaml");
    let (code, said) = controller.try_shell(
        "unshare -m sh -c 'mount -t tmpfs none /run/systemd && dtls-deploy schedule install /srv/lab.yaml'",
    );
    assert!(
        code == 2 && said.contains("this machine does not run systemd, which runs schedules"),
        "{said}"
    );
    let line = said
        .lines()
        .find(|line| line.contains("* * * root "))
        .unwrap();
    let (_, command) = line.split_once("root ").unwrap();
    // It does what it says, and is quiet when all is well.
    controller.exec(&format!(
        "install -d -m 700 /etc/dtls-deploy/schedule/lab; umask 077; echo '{PASSPHRASE}' >/etc/dtls-deploy/schedule/lab/ca-passphrase"
    ));
    let script = lab.file("cron.sh", command);
    lab.put("node1", &script, "/root/cron.sh");
    assert_eq!(controller.exec("sh /root/cron.sh"), "");
    lab.exec("node3", "systemctl stop ssh.service");
    assert!(
        controller
            .exec("sh /root/cron.sh")
            .contains("node3: unreachable")
    );
}
