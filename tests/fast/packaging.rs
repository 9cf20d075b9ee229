//! What is shipped beside the program, held to the program and to the tools
//! that read it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use dtls_deploy::status::{StatusReport, prometheus};
use serde::Deserialize;
use time::OffsetDateTime;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap()
}

/// The settings of the sandbox are those that `schedule install` writes.
#[test]
fn the_template_unit_has_the_sandbox_of_a_schedule() {
    let ours = read("packaging/systemd/dtls-deploy@.service");
    let theirs = read("src/schedule/run.service");
    let (_, sandbox) = theirs.split_once("\nProtectSystem=").unwrap();
    let settings: Vec<&str> = sandbox
        .lines()
        .skip(1)
        .filter(|line| line.contains('=') && !line.starts_with("ReadWritePaths="))
        .collect();
    assert!(settings.len() >= 20, "{settings:?}");
    for line in settings {
        assert!(ours.lines().any(|other| other == line), "{line}");
    }
    let timer = read("packaging/systemd/dtls-deploy@.timer");
    assert!(timer.contains("Persistent=true"));
}

/// No unit of dtls-deploy leaves a core dump: it might contain a key that the program
/// has held or read.
#[test]
fn no_unit_of_ours_dumps_core() {
    let units = [
        "packaging/guard/dtls-deploy-guard.service",
        "packaging/guard/dtls-deploy-guard-socket.service",
        "packaging/systemd/dtls-deploy@.service",
        "src/schedule/run.service",
        "src/schedule/failed.service",
        "crates/node/src/prelude/daemon.sh",
    ];
    let mut sections = 0;
    for path in units {
        let text = read(path);
        for section in text.split("\n[Service]\n").skip(1) {
            let section = section.split("\n[").next().unwrap();
            assert!(section.contains("\nLimitCORE=0\n"), "{path}: {section}");
            sections += 1;
        }
        let runs = text.matches("systemd-run --quiet").count();
        assert_eq!(
            text.matches("--property=LimitCORE=0").count(),
            runs,
            "{path}"
        );
    }
    assert_eq!(sections, units.len());
}

/// The machines are the lab's, as Vagrant itself reads them.
#[test]
fn the_vagrantfile_is_valid() {
    let home = tempfile::tempdir().unwrap();
    let output = Command::new("vagrant")
        // No provider is installed where tests run.
        .args(["validate", "--ignore-provider"])
        .env("VAGRANT_HOME", home.path())
        .env("VAGRANT_DOTFILE_PATH", home.path().join("dotfile"))
        .env("VAGRANT_CHECKPOINT_DISABLE", "1")
        .current_dir(root().join("vagrant"))
        .output()
        .expect("vagrant of the Debian package is needed");
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("validated successfully"), "{text}");
    let file = read("vagrant/Vagrantfile");
    for (node, address, role) in [
        ("node1", "10.0.0.10", "client"),
        ("node2", "10.0.0.11", "ca"),
        ("node3", "10.0.0.12", "daemon"),
    ] {
        let line = format!("{{ name: \"{node}\", address: \"{address}\", role: \"{role}\" }}");
        assert!(file.contains(&line), "{line}");
        assert!(text.contains(node), "{text}");
    }
}

/// Each page of the manual is one that man can show, and every command has one.
#[test]
fn manual_pages_are_whole() {
    let directory = tempfile::tempdir().unwrap();
    let status = Command::new(env!("CARGO_BIN_EXE_dtls-deploy"))
        .args(["man", "--to"])
        .arg(directory.path())
        .status()
        .unwrap();
    assert!(status.success());
    let page = |name: &str| std::fs::read_to_string(directory.path().join(name)).unwrap();
    let first = page("dtls-deploy.1");
    let mut commands = 0;
    for line in first.lines() {
        if let Some(name) = line
            .strip_prefix("dtls\\-deploy\\-")
            .and_then(|line| line.strip_suffix("(1)"))
        {
            page(&format!("dtls-deploy-{}.1", name.replace("\\-", "-")));
            commands += 1;
        }
    }
    assert!(commands >= 10, "{first}");
    assert!(!first.contains("ca\\-agent"), "an inner command is shown");
    assert!(page("dtls-deploy-rotate.1").contains("\\-\\-clients\\-only"));
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rules {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    #[serde(rename = "name")]
    _name: String,
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    alert: String,
    expr: String,
    r#for: String,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
}

/// The metrics that a query names.
fn metrics_in(query: &str) -> BTreeSet<&str> {
    let words = query.split(|each: char| !each.is_ascii_alphanumeric() && each != '_');
    let ours = words.filter(|word| word.starts_with("dtls_"));
    ours.collect()
}

/// Fails for a metric that `status --prometheus` does not write.
fn exist(queries: &[String]) -> usize {
    let found = StatusReport {
        certificates: Vec::new(),
        next: None,
        holders: Vec::new(),
        contexts: Vec::new(),
        inventory_hosts: 0,
        hosts: Vec::new(),
        exit: run::Exit::Fine,
    };
    let text = prometheus::text(&found, OffsetDateTime::UNIX_EPOCH);
    let written = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let written: BTreeSet<&str> = written.filter_map(|line| line.split(' ').next()).collect();
    for query in queries {
        let named = metrics_in(query);
        assert!(!named.is_empty(), "{query}");
        for metric in named {
            assert!(written.contains(metric), "{metric} in {query}");
        }
    }
    queries.len()
}

#[test]
fn alerts_name_metrics_and_runbooks_that_exist() {
    let rules: Rules = serde_saphyr::from_str(&read("packaging/prometheus/alerts.yaml")).unwrap();
    let rules: Vec<Rule> = rules.groups.into_iter().flat_map(|one| one.rules).collect();
    let queries: Vec<String> = rules.iter().map(|rule| rule.expr.clone()).collect();
    assert!(exist(&queries) >= 7);
    for rule in &rules {
        let name = &rule.alert;
        assert!(rule.r#for.ends_with(['m', 'h', 'd']), "{name}");
        assert!(
            ["critical", "warning"].contains(&rule.labels["severity"].as_str()),
            "{name}"
        );
        for annotation in ["summary", "description"] {
            assert!(!rule.annotations[annotation].is_empty(), "{name}");
        }
        let runbook = rule.annotations["runbook_url"].as_str();
        let (page, anchor) = runbook.split_once('#').unwrap_or((runbook, ""));
        let titles = read(page);
        let titles = titles.lines().filter(|line| line.starts_with('#'));
        let mut anchors = titles.map(|line| {
            let title = line.trim_start_matches('#').trim();
            title.to_lowercase().replace(' ', "-")
        });
        assert!(
            anchor.is_empty() || anchors.any(|one| one == anchor),
            "{name}: {runbook}"
        );
    }
}

/// Every `expr` below a value.
fn queries(value: &serde_json::Value) -> Vec<String> {
    match value {
        serde_json::Value::Object(fields) => fields
            .iter()
            .flat_map(|(name, value)| match value.as_str() {
                Some(query) if name == "expr" => vec![query.to_owned()],
                _ => queries(value),
            })
            .collect(),
        serde_json::Value::Array(values) => values.iter().flat_map(queries).collect(),
        _ => Vec::new(),
    }
}

#[test]
fn the_dashboard_shows_metrics_that_exist() {
    let dashboard = serde_json::from_str(&read("packaging/grafana/dashboard.json")).unwrap();
    assert!(exist(&queries(&dashboard)) >= 8);
}
