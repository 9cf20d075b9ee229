//! `status`: every certificate, on disk and as served, for people, for
//! programs and for Prometheus.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;

use crate::lab::{Lab, Run};

/// The certificates in the lines of `--output json`.
fn certificates(run: &Run) -> Vec<Value> {
    let lines = run.stdout.lines();
    let events = lines.map(|line| serde_json::from_str::<Value>(line).unwrap());
    events
        .filter(|event| event["event"] == "certificate")
        .collect()
}

fn status(lab: &Lab, inventory: &str, code: i32) -> Vec<Value> {
    let mut command = lab.tool(&["status", inventory, "--output", "json"]);
    // It needs no passphrase.
    let output = command.env_remove("DTLS_CA_PASSPHRASE").output().unwrap();
    let run = Run {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    };
    assert_eq!(run.code, code, "{}{}", run.stdout, run.stderr);
    let last: Value = serde_json::from_str(run.stdout.lines().last().unwrap()).unwrap();
    assert_eq!(last["event"], "status");
    certificates(&run)
}

fn find<'a>(rows: &'a [Value], host: &str, source: &str) -> &'a Value {
    let found = rows
        .iter()
        .find(|row| row["host"] == host && row["source"] == source);
    found.unwrap_or_else(|| panic!("{host} {source}: {rows:?}"))
}

fn drift(row: &Value) -> String {
    row["drift"].to_string()
}

/// The series of a file of metrics: each below its help and its type.
fn metrics(path: &str) -> BTreeMap<String, i64> {
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.ends_with('\n'));
    let (mut helped, mut typed, mut series) = (BTreeSet::new(), BTreeSet::new(), BTreeMap::new());
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            assert!(helped.insert(name.to_owned()) && !help.is_empty(), "{line}");
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(helped.contains(name) && kind == "gauge", "{line}");
            typed.insert(name.to_owned());
        } else {
            let (labels, value) = line.rsplit_once(' ').unwrap();
            let name = labels.split('{').next().unwrap();
            assert!(
                name.starts_with("dtls_deploy_") && typed.contains(name),
                "{line}"
            );
            assert!(labels == name || labels.ends_with("\"}"), "{line}");
            let value: i64 = value.parse().unwrap_or_else(|_| panic!("{line}"));
            assert!(
                series.insert(labels.to_owned(), value).is_none(),
                "{line} is there twice"
            );
        }
    }
    series
}

fn metric(series: &BTreeMap<String, i64>, name: &str, labels: &[&str]) -> i64 {
    let found: Vec<i64> = series
        .iter()
        .filter(|(key, _)| key.starts_with(&format!("{name}{{")))
        .filter(|(key, _)| labels.iter().all(|label| key.contains(label)))
        .map(|(_, value)| *value)
        .collect();
    assert_eq!(found.len(), 1, "{name} {labels:?} {series:?}");
    found[0]
}

/// The page of a client, a daemon and a CA, with a renewal that is due.
fn shows_three_hosts(path: &str) {
    let page = std::fs::read_to_string(path).unwrap();
    for text in [
        ">Changes are due</h1>",
        "3 of 3 hosts of the inventory",
        "<dt>Daemons that trust it (1)</dt>",
        "<dt>Holders of its client certificates (1)</dt>",
        "<dt>Clients that trust it (1)</dt>",
        "current CA, valid from",
    ] {
        assert!(page.contains(text), "{text} is not in\n{page}");
    }
}

#[test]
fn fine_due_and_in_every_form() {
    let lab = Lab::fresh();
    let inventory = lab.inventory("dtls_validity_days: 30");
    lab.deploy(&[&inventory]);
    let rows = status(&lab, &inventory, 0);
    let found: Vec<String> = rows
        .iter()
        .map(|row| {
            let word = |name: &str| row[name].as_str().unwrap().to_owned();
            format!(
                "{} {} {} {}",
                word("state"),
                word("host"),
                word("role"),
                word("source")
            )
        })
        .collect();
    let mut sorted = found.clone();
    sorted.sort();
    assert_eq!(
        sorted,
        [
            "fine node1 client context",
            "fine node1 client disk",
            "fine node2 ca disk",
            "fine node3 daemon disk",
            "fine node3 daemon served",
        ]
    );
    // What ends last comes last.
    assert!(found.last().unwrap().contains("ca"), "{found:?}");
    let (disk, served) = (find(&rows, "node3", "disk"), find(&rows, "node3", "served"));
    assert_eq!(disk["certificate"], served["certificate"]);
    assert_eq!(disk["certificate"]["subject"], "CN=node3");
    assert_eq!(disk["certificate"]["days_left"], 29);
    let sans = disk["certificate"]["sans"].to_string();
    assert!(
        sans.contains("DNS:node3") && sans.contains("IP:10.0.0.12"),
        "{sans}"
    );
    assert_eq!(disk["holder"], "root on node3");
    assert_eq!(served["holder"], "docker.service on node3");
    assert_eq!(find(&rows, "node1", "disk")["holder"], "ubuntu on node1");

    // For people: a line each, and how many there are.
    let run = lab.run(&["status", &inventory]);
    assert_eq!(run.code, 0, "{}{}", run.stdout, run.stderr);
    assert!(!run.stdout.contains("warning"), "{}", run.stdout);
    assert!(
        run.stdout.contains("5 fine (1 not shown without -v); took"),
        "{}",
        run.stdout
    );
    assert!(
        run.stdout.contains("29 d        [----------]  expires on "),
        "{}",
        run.stdout
    );
    assert!(run.stdout.contains("issued by CN="), "{}", run.stdout);
    assert_eq!(run.stdout.matches("context").count(), 0, "{}", run.stdout);
    let run = lab.run(&["status", &inventory, "-v"]);
    assert!(run.stdout.contains("client context"), "{}", run.stdout);

    // It changes nothing: no journal, no lock, and a run that holds it is no hindrance.
    assert_eq!(lab.journals().len(), 1);

    // Due: the most urgent first.
    let due = lab.inventory("dtls_validity_days: 365\ndtls_renew_before: 60");
    let path = lab.file("dtls.prom", "");
    let page = lab.file("status.html", "old");
    let run = lab.run(&["status", &due, "--prometheus", &path, "--html", &page]);
    assert_eq!(run.code, 3, "{}{}", run.stdout, run.stderr);
    assert!(run.stdout.contains("due for renewal"), "{}", run.stdout);
    let rows = status(&lab, &due, 3);
    assert_eq!(find(&rows, "node3", "disk")["state"], "due");
    assert_eq!(find(&rows, "node3", "served")["state"], "due");
    assert_eq!(find(&rows, "node2", "disk")["state"], "fine");
    assert_eq!(rows[0]["state"], "due");

    for (path, wanted) in [(&path, 0o644), (&page, 0o600)] {
        let mode = std::fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, wanted, "{path}");
    }
    shows_three_hosts(&page);
    let series = metrics(&path);
    let ends = "dtls_deploy_certificate_not_after_timestamp_seconds";
    let daemon = ["host=\"node3\"", "role=\"daemon\"", "source=\"disk\""];
    let written = find(&rows, "node3", "disk")["certificate"]["not_after"].to_string();
    let end = lab.exec("node3", &format!("date -d {written} +%s"));
    assert_eq!(metric(&series, ends, &daemon).to_string(), end);
    assert_eq!(metric(&series, "dtls_deploy_certificate_due", &daemon), 1);
    assert_eq!(
        metric(&series, "dtls_deploy_certificate_broken", &daemon),
        0
    );
    assert_eq!(
        metric(&series, "dtls_deploy_certificate_drift", &["role=\"ca\""]),
        0
    );
    assert_eq!(metric(&series, "dtls_deploy_host_up", &["node1"]), 1);
    let now = lab.exec("node3", "date +%s").parse::<i64>().unwrap();
    let age = now - series["dtls_deploy_last_status_timestamp_seconds"];
    assert!((0..120).contains(&age), "{age}");
}

#[test]
fn what_is_wrong_is_told_apart() {
    let lab = Lab::fresh();
    let inventory = lab.inventory("");
    // Nothing is deployed yet, and there is no CA.
    let rows = status(&lab, &inventory, 6);
    assert_eq!(find(&rows, "node2", "disk")["state"], "broken");
    assert!(drift(find(&rows, "node1", "disk")).contains("nothing is deployed there"));

    lab.deploy(&[&inventory]);
    status(&lab, &inventory, 0);

    // Another good certificate on disk, and no restart: the old one is served.
    lab.exec("node3", "cp -a /etc/docker/tls /root/tls");
    lab.deploy(&["rotate", &inventory, "--force", "--daemons-only"]);
    lab.exec(
        "node3",
        "cp -a /etc/docker/tls /root/new; cp -a /root/tls/* /etc/docker/tls/",
    );
    let rows = status(&lab, &inventory, 3);
    let served = find(&rows, "node3", "served");
    assert_eq!(served["state"], "due");
    assert!(drift(served).contains("has not been restarted"), "{served}");
    assert_ne!(
        served["certificate"]["serial"],
        find(&rows, "node3", "disk")["certificate"]["serial"]
    );
    lab.exec("node3", "cp -a /root/new/* /etc/docker/tls/");
    status(&lab, &inventory, 0);

    // A copy in a context that is not the client's own.
    lab.exec_as(
        "node1",
        "ubuntu",
        "cd ~/.docker/contexts/tls/*/docker && chmod u+w key.pem && echo >>key.pem",
    );
    let rows = status(&lab, &inventory, 3);
    let copy = find(&rows, "node1", "context");
    assert!(
        drift(copy).contains("key.pem of the context node3 differs"),
        "{copy}"
    );
    lab.deploy(&[&inventory]);

    // Someone else's, and expired.
    lab.exec("node3", "openssl req -x509 -newkey rsa:2048 -nodes -keyout /dev/null -subj /CN=elsewhere -days -1 -out /root/expired.pem 2>/dev/null || { openssl req -x509 -newkey rsa:2048 -nodes -keyout /root/k -subj /CN=elsewhere -days 1 -out /root/c; openssl x509 -in /root/c -signkey /root/k -days -1 -out /root/expired.pem; }");
    lab.exec("node3", "cat /root/expired.pem >/etc/docker/tls/cert.pem");
    let rows = status(&lab, &inventory, 6);
    let disk = &rows[0];
    assert_eq!(
        (&disk["host"], &disk["source"]),
        (&"node3".into(), &"disk".into())
    );
    assert_eq!(disk["state"], "expired");
    assert_eq!(disk["certificate"]["subject"], "CN=elsewhere");
    assert_eq!(disk["certificate"]["used"], 100);
    assert!(disk["certificate"]["days_left"].as_i64().unwrap() < 0);
    assert!(drift(disk).contains("issued by another CA"), "{disk}");
    lab.deploy(&[&inventory]);
    status(&lab, &inventory, 0);

    // A daemon that is down serves nothing.
    lab.exec("node3", "systemctl stop docker.socket docker.service");
    let rows = status(&lab, &inventory, 6);
    let served = find(&rows, "node3", "served");
    assert_eq!(
        (&served["state"], &served["certificate"]),
        (&"broken".into(), &Value::Null)
    );
    assert!(drift(served).contains("refused"), "{served}");
    assert_eq!(find(&rows, "node3", "disk")["state"], "fine");
    lab.exec("node3", "systemctl start docker.service");
}

#[test]
fn a_node_that_is_down_and_one_that_has_gone() {
    let lab = Lab::with_two_daemons();
    let inventory = lab.inventory("");
    lab.deploy(&[&inventory]);
    lab.control(&["stop", "node4", "--cut"]);
    let path = lab.file("dtls.prom", "");
    let rows = status(&lab, &inventory, 5);
    let gone = find(&rows, "node4", "ledger");
    assert_eq!(
        (&gone["state"], &gone["holder"]),
        (&"unknown".into(), &"unknown".into())
    );
    assert_eq!(gone["certificate"]["subject"], "CN=node4");
    assert_eq!(find(&rows, "node3", "served")["state"], "fine");
    let run = lab.run(&["status", &inventory, "--prometheus", &path]);
    assert_eq!(run.code, 5, "{}{}", run.stdout, run.stderr);
    let series = metrics(&path);
    assert_eq!(metric(&series, "dtls_deploy_host_up", &["node4"]), 0);
    assert_eq!(metric(&series, "dtls_deploy_host_up", &["node3"]), 1);

    // Taken out of the inventory: its certificate is good until it expires.
    let text = std::fs::read_to_string(&inventory).unwrap();
    let without = text.replace("        node4:\n          ansible_host: 10.0.0.13\n", "");
    assert_ne!(text, without);
    let without = lab.file("without.yaml", &without);
    let rows = status(&lab, &without, 0);
    let gone = find(&rows, "node4", "ledger");
    assert_eq!(gone["state"], "unlisted");
    assert!(
        drift(gone).contains("not in the inventory any more"),
        "{gone}"
    );

    // Files that cannot be written.
    for option in ["--prometheus", "--html"] {
        let run = lab.run(&["status", &without, option, "/nowhere/at/all"]);
        assert_eq!(run.code, 2, "{}{}", run.stdout, run.stderr);
        assert!(run.stderr.contains("/nowhere/at/all"), "{}", run.stderr);
    }
}
