//! An account that means harm, on a client that it shares with others: it changes, links
//! and stops whatever is its own while every command runs. Nothing outside of its home
//! changes, no one else's key is readable to it, and the daemons are served.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::lab::{Lab, Run, openssl};

const IDENTITIES: &str = "dtls_identities:
  alice: {owner: alice, context: true}
  mallory: {owner: mallory, context: true}";

/// What mallory does, a move after the other, until the file `go` is gone. The first
/// argument chooses among the moves: those that last are tried alone.
const MALLORY: &str = r#"
cd /home/mallory || exit 1
own=$$
forged='working	r1	/etc
leftover	/etc
home	/root
done
end	0
file	/etc/shadow'
docker=/home/mallory/.docker
back() { [ -d .docker ] && [ ! -L .docker ] || { rm -rf .docker; mv .aside .docker 2>/dev/null || mkdir .docker; }; }
stop_all() {
    for pid in $(pgrep -u mallory); do
        [ "$pid" = "$own" ] || [ "$(ps -o ppid= -p "$pid" | tr -d ' ')" = "$own" ] || kill -STOP "$pid" 2>/dev/null
    done
}
talk_into() {
    for pid in $(pgrep -u mallory -x sh); do
        [ "$pid" = "$own" ] || printf '%s\n' "$forged" >"/proc/$pid/fd/1" 2>/dev/null
    done
}
rounds=0
while [ -e go ]; do
    rounds=$((rounds + 1))
    case $1 in
    stop) stop_all; sleep 0.2 ;;
    fifo)
        rm -f .docker/ca.pem; mkfifo .docker/ca.pem 2>/dev/null
        mkdir -p .docker/.dtls-deploy.x; mkfifo .docker/.dtls-deploy.x/owner 2>/dev/null
        sleep 0.05; rm -f .docker/ca.pem; printf x >.docker/ca.pem; sleep 0.02
        ;;
    *)
        case $((RANDOM % 9)) in
        0) for _ in 1 2 3 4 5; do printf '%s\n' "$forged" >>.docker/ca.pem; done ;;
        1) mv .docker .aside 2>/dev/null && ln -s /etc .docker; sleep 0.01; back ;;
        2) rm -f .docker/key.pem; ln -s /etc/shadow .docker/key.pem; sleep 0.01; rm -f .docker/key.pem ;;
        3) mkdir -p ".docker/.dtls-deploy.a
working	r1	/etc" ".docker/.dtls-deploy.20260101T000000Z-x@y-1" ;;
        4) rm -f .docker/cert.pem; truncate -s 1T .docker/cert.pem; sleep 0.01; rm -f .docker/cert.pem ;;
        5) talk_into ;;
        6) chmod -R a-rwx .docker 2>/dev/null; chmod -R u+rwx .docker ;;
        7) rm -rf .docker/.dtls-deploy.*/new .docker/.dtls-deploy.*/old; ln -s /root .docker/.dtls-deploy.r 2>/dev/null ;;
        8) rm -rf .docker/contexts; ln -s /etc .docker/contexts 2>/dev/null; sleep 0.01; rm -f .docker/contexts ;;
        esac
        ;;
    esac
done
echo "$rounds"
"#;

/// What must not change on node1, whatever mallory does: everything that is root's, and
/// who may read what of the others'.
const OUTSIDE: &str = "find /etc /root /opt /usr/local /srv -xdev -printf '%p %m %U %s %T@ %l\\n' | sort; stat -c '%n %a %U' /home/alice/.docker/key.pem /home/ubuntu/.docker/key.pem /home /home/alice /home/ubuntu";

struct Account<'a> {
    lab: &'a Lab,
    racing: std::process::Child,
}

impl<'a> Account<'a> {
    fn race(lab: &'a Lab, moves: &str) -> Self {
        lab.exec_as("node1", "mallory", "touch ~/go");
        let script = lab.file("mallory.sh", MALLORY);
        lab.put("node1", &script, "/home/mallory/mallory.sh");
        let racing = lab.begin(
            "node1",
            "mallory",
            &["bash", "/home/mallory/mallory.sh", moves],
        );
        Self { lab, racing }
    }

    /// Ends the race; gives the number of rounds.
    fn finish(self) -> usize {
        self.lab.exec("node1", "rm -f /home/mallory/go");
        let output = self.racing.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        let rounds = said.split_whitespace().last();
        rounds.and_then(|rounds| rounds.parse().ok()).unwrap_or(0)
    }
}

fn serial(lab: &Lab) -> String {
    let shown = lab.exec(
        "node1",
        "openssl s_client -connect node3:2376 </dev/null 2>/dev/null; true",
    );
    openssl(&["x509", "-noout", "-serial"], &shown)
}

/// A line of each key that is not mallory's: none may be found where mallory can read.
fn others_keys(lab: &Lab) -> BTreeSet<String> {
    let keys = "/home/alice/.docker/key.pem /home/ubuntu/.docker/key.pem";
    let lines = lab.exec(
        "node1",
        &format!("for key in {keys}; do sed -n 2p $key; done"),
    );
    lines.lines().map(str::to_owned).collect()
}

fn nothing_gained(lab: &Lab, keys: &BTreeSet<String>) {
    let patterns = keys.iter().cloned().collect::<Vec<_>>().join("\n");
    let patterns = lab.file("patterns", &patterns);
    lab.put("node1", &patterns, "/run/patterns");
    let found = lab.exec(
        "node1",
        "grep -rlFf /run/patterns /home/mallory /tmp /var/tmp /dev/shm 2>/dev/null; rm /run/patterns; true",
    );
    assert_eq!(found, "", "a key of another identity");
    let shells = "ps -eo user=,args= | awk '$1 == \"root\" && $2 == \"/bin/sh\"'";
    let begun = Instant::now();
    let mut left = lab.exec("node1", shells);
    while !left.is_empty() && begun.elapsed() < Duration::from_secs(45) {
        std::thread::sleep(Duration::from_millis(500));
        left = lab.exec("node1", shells);
    }
    assert_eq!(left, "", "a shell of root's is left");
}

fn said(run: &Run) -> String {
    format!("exit {}\n{}{}", run.code, run.stdout, run.stderr)
}

/// Seconds that a command may take while an account stops its own processes: the account's
/// deadline, a few times.
const LONGEST: u64 = 200;

/// Races with every command, one after the other.
fn race(moves: &str) {
    let lab = Lab::fresh();
    lab.exec(
        "node1",
        "useradd -m -s /bin/bash alice; useradd -m -s /bin/bash mallory",
    );
    let inventory = lab.inventory(IDENTITIES);
    lab.deploy(&[&inventory]);
    let before = lab.exec("node1", OUTSIDE);
    let mut rounds = 0;
    for words in [&["rotate", "--force"][..], &["doctor"], &["rollback"], &[]] {
        let old = serial(&lab);
        let account = Account::race(&lab, moves);
        let keys = others_keys(&lab);
        let mut arguments: Vec<&str> = words.to_vec();
        arguments.insert(usize::from(!words.is_empty()), &inventory);
        let begun = Instant::now();
        let run = lab.run(&arguments);
        let took = begun.elapsed().as_secs();
        rounds += account.finish();
        let what = format!("{moves} {words:?}\n{}", said(&run));
        assert!(took < LONGEST, "{took} s, {what}");
        assert!([0, 4, 6].contains(&run.code), "{what}");
        let after = lab.exec("node1", OUTSIDE);
        let is_new = |line: &&str| !before.lines().any(|old| old == *line);
        let changed: Vec<&str> = after.lines().filter(is_new).collect();
        assert_eq!(changed, Vec::<&str>::new(), "{what}");
        assert_eq!(after.lines().count(), before.lines().count(), "{what}");
        nothing_gained(&lab, &keys);
        nothing_gained(&lab, &others_keys(&lab));
        if words.contains(&"--force") {
            assert_ne!(serial(&lab), old, "the daemon was renewed: {what}");
        }
        lab.exec(
            "node1",
            "pkill -KILL -u mallory; rm -rf /home/mallory/.docker; true",
        );
    }
    assert!(rounds > 10, "{rounds} rounds");
    // Once it has stopped, everything is as declared.
    lab.deploy(&[&inventory]);
    let again = lab.deploy(&[&inventory, "--check"]);
    assert!(
        again.stdout.contains("Nothing to change."),
        "{}",
        said(&again)
    );
}

#[test]
fn an_account_that_swaps_and_forges_its_files_gains_nothing() {
    race("swap");
}

#[test]
fn an_account_with_pipes_in_the_place_of_files_holds_up_nobody() {
    race("fifo");
}

#[test]
fn an_account_that_stops_what_runs_as_itself_holds_up_nobody() {
    race("stop");
}

/// A client's renewal fails on its node. Its certificate is still valid, so that nothing of
/// the daemons waits for it.
#[test]
fn a_client_that_cannot_be_renewed_holds_no_daemon_back() {
    let lab = Lab::fresh();
    let inventory = lab.inventory("");
    lab.deploy(&[&inventory]);
    let old = serial(&lab);
    lab.exec("node1", "cd /home/ubuntu/.docker && mount --bind . . && mount -o remount,ro,bind /home/ubuntu/.docker");
    let run = lab.run(&["rotate", "--force", &inventory]);
    lab.exec("node1", "umount /home/ubuntu/.docker");
    assert_eq!(run.code, 4, "{}", said(&run));
    assert_ne!(serial(&lab), old, "{}", said(&run));
    let works = "DOCKER_TLS_VERIFY=1 docker -H tcp://node3:2376 version";
    lab.exec_as("node1", "ubuntu", works);
    // What was left undone is done by the next run.
    lab.deploy(&[&inventory]);
    lab.exec_as("node1", "ubuntu", works);
}
