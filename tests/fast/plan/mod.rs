//! What holds for every plan, whatever the inventory and the facts; `tests/plan`
//! has cases of single ones.

mod equivalent;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use pki::{Role, Signer};
use plan::playbook::MODULES;
use plan::{Action, Content, FileChange};
use proptest::prelude::*;

use crate::plan_support::case::Case;

fn folder(module: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/plan")
        .join(module)
}

/// Nodes know one of that name: two CAs of one subject would be taken for each other.
#[test]
fn a_new_ca_takes_no_name_that_nodes_know() {
    let lost = "new_ca: true
drift:
  authority:
    /etc/dtls-deploy/ca/ca.pem: absent
    /etc/dtls-deploy/ca/ca-key.pem: absent
";
    for (variables, expected) in [
        ("{}", "CN=test CA 2"),
        ("{dtls_ca_subject: {CN: Ours}}", "CN=Ours 2"),
    ] {
        let case = Case::read(&format!("deployed_with: {variables}\n{lost}")).unwrap();
        let plan = case.plan();
        let made = plan.changes().find_map(|change| match &change.action {
            Action::Authority(profile) => Some(profile.subject.to_string()),
            _ => None,
        });
        assert_eq!(made.as_deref(), Some(expected));
    }
}

/// A client that has dropped the CA, and an identity on it that has not.
#[test]
fn an_identity_trusts_a_revoked_daemon_for_itself() {
    let text = "inventory: |
  all:
    children:
      ca: {hosts: {authority: {ansible_host: 10.0.0.11}}}
      daemons: {hosts: {daemon: {ansible_host: 10.0.0.12}}}
      clients:
        hosts:
          client:
            ansible_host: 10.0.0.10
            ansible_user: ubuntu
            dtls_client_env: []
            dtls_identities:
              ci: {dir: /srv/ci/docker, owner: ci}
revoked: [daemon]
drift:
  client:
    /home/ubuntu/.docker/ca.pem: {content: nobody}
";
    let case = Case::read(text).unwrap();
    assert_eq!(case.trusting(), ["client"]);
    let gone = format!("{text}    /srv/ci/docker/ca.pem: {{content: nobody}}\n");
    let case = Case::read(&gone).unwrap();
    assert!(case.trusting().is_empty());
}

/// One file that is missing already, whichever it is, keeps `remove` from none of the others.
#[test]
fn whatever_is_missing_the_rest_is_removed() {
    for text in [
        "shipped: remove\ndeployed_with: {dtls_client_env: [context, profile]}\n",
        "shipped: remove\ndeployed_with: {dtls_client_mode: tls-cert}\n",
        "shipped: remove\ndeployed_with: {dtls_local_socket: false, dtls_config_style: flags}\n",
    ] {
        let removed = |case: &Case| -> BTreeSet<(String, String)> {
            let plan = case.plan();
            assert!(plan.problems.is_empty(), "{:?}", plan.problems);
            let files = plan.changes().filter_map(|change| match &change.action {
                Action::File(file) => Some((
                    change.host.clone(),
                    format!("{}/{}", file.directory, file.name),
                )),
                _ => None,
            });
            files.collect()
        };
        let all = removed(&Case::read(text).unwrap());
        assert!(all.len() >= 6, "{all:?}");
        for gone in &all {
            let (host, path) = gone;
            let text = format!("{text}drift:\n  {host}:\n    {path}: absent\n");
            let mut rest = removed(&Case::read(&text).unwrap());
            rest.insert(gone.clone());
            assert_eq!(rest, all, "without {path} on {host}");
        }
    }
}

/// Whatever a rollover has done before someone leaves the inventory, it does nothing from then
/// on that cuts off a client or a daemon with a certificate of the old CA: see
/// `Rollover::cut_off`.
#[test]
fn a_rollover_cuts_off_nobody_outside_the_inventory() {
    const CLIENTS: [&str; 2] = [
        "client: {ansible_host: 10.0.0.10}",
        "desk: {ansible_host: 10.0.0.14}",
    ];
    const DAEMONS: [&str; 2] = [
        "daemon: {ansible_host: 10.0.0.12}",
        "other: {ansible_host: 10.0.0.13}",
    ];
    let inventory = |daemons: usize, clients: usize| {
        let (daemons, clients) = (DAEMONS[..daemons].join(", "), CLIENTS[..clients].join(", "));
        format!(
            "  all: {{children: {{ca: {{hosts: {{authority: {{ansible_host: 10.0.0.11}}}}}}, daemons: {{hosts: {{{daemons}}}}}, clients: {{hosts: {{{clients}}}}}}}}}\n"
        )
    };
    for outside in [Role::Client, Role::Daemon] {
        let later = match outside {
            Role::Client => inventory(2, 1),
            Role::Daemon => inventory(1, 2),
        };
        // Who shows a certificate to them, and trusts theirs.
        let ends = match outside {
            Role::Client => Role::Daemon,
            Role::Daemon => Role::Client,
        };
        for (passes, shipped) in
            (0..=7).flat_map(|passes| [(passes, "rotate-ca"), (passes, "deploy")])
        {
            let text = format!(
                "shipped: {shipped}\nrolled: {passes}\ninventory: |\n{}later_inventory: |\n{later}",
                inventory(2, 2)
            );
            let plan = Case::read(&text).unwrap().plan();
            let at = format!("{outside} outside, {shipped} after {passes} passes");
            for change in plan.changes() {
                match &change.action {
                    Action::Issue(request) if request.signer == Signer::Next => {
                        assert_ne!(request.role, ends, "{at}: {}", change.subject);
                    }
                    Action::File(FileChange {
                        content: Content::Certificates(bundle),
                        ..
                    }) => {
                        let is_concerned = match ends {
                            Role::Daemon => DAEMONS,
                            Role::Client => CLIENTS,
                        };
                        let is_concerned = is_concerned
                            .iter()
                            .any(|line| line.starts_with(&change.host));
                        assert!(
                            !is_concerned || bundle.matches("BEGIN").count() == 2,
                            "{at}: {}",
                            change.subject
                        );
                    }
                    Action::Promote => panic!("{at}: the old CA retires"),
                    _ => {}
                }
            }
            let is_held = plan
                .problems
                .iter()
                .any(|problem| problem.refusal.message.contains("cut off"));
            let may_be_over = passes >= 7;
            assert!(
                shipped == "deploy" || is_held || may_be_over || plan.changes().count() > 0,
                "{at}: nothing is planned, and nothing is said"
            );
        }
    }
}

/// Everything of a plan and of the doctor's findings that anyone is shown.
fn everything_shown(case: &Case) -> String {
    let plan = case.plan();
    let mut shown = case.findings();
    for change in plan.changes() {
        writeln!(shown, "{} {:?}", change.subject, change.reasons).unwrap();
        if let Some(diff) = &change.diff {
            writeln!(shown, "{}\n{}", diff.before, diff.after).unwrap();
        }
    }
    writeln!(shown, "{:?} {:?}", plan.notes, plan.problems).unwrap();
    shown
}

/// JSON with a canary in every value, and the names of settings as they come.
fn settings() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        "[a-z]{0,4}".prop_map(|text| serde_json::json!(format!("{text}canary"))),
        Just(serde_json::json!("http://u:canary@proxy:3128")),
    ];
    let value = leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(serde_json::Value::from),
            prop::collection::hash_map("[a-z-]{1,6}", inner, 0..3)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    });
    let name = prop_oneof![
        Just("proxies".to_owned()),
        Just("log-opts".to_owned()),
        Just("data-root".to_owned()),
        Just("icc".to_owned()),
        "[a-z-]{1,9}",
    ]
    .prop_filter("ours are shown", |name| {
        ![
            "hosts",
            "tls",
            "tlsverify",
            "tlscacert",
            "tlscert",
            "tlskey",
            "live-restore",
        ]
        .contains(&name.as_str())
    });
    prop::collection::hash_map(name, value, 1..5)
        .prop_map(|map| serde_json::Value::Object(map.into_iter().collect()))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is in daemon.json, whole or cut off: no value that is not ours is
    /// ever shown, nor one of a profile or a unit.
    #[test]
    fn no_value_of_somebody_else_is_shown(
        settings in settings(),
        cut in prop::option::of(1usize..60),
        deployed in any::<bool>(),
        live_restore in any::<bool>(),
        style in prop::sample::select(vec!["daemon_json", "flags"]),
    ) {
        let mut text = serde_json::to_string_pretty(&settings).unwrap();
        if let Some(cut) = cut {
            text.truncate(text.len().saturating_sub(cut));
        }
        let drift = serde_json::json!({
            "bare": !deployed,
            "variables": {"dtls_live_restore": live_restore, "dtls_config_style": style, "dtls_dropin": "override.conf"},
            "drift": {
                "daemon": {
                    "/etc/docker/daemon.json": {"content": text},
                    "/etc/default/docker": {"content": "DOCKER_OPTS=\"--log-opt token=canary\"\nHTTP_PROXY=http://u:canary@p\n"},
                    "/etc/systemd/system/docker.service.d/override.conf": {
                        "content": "# canary\n[Service]\nEnvironment=TOKEN=canary\nExecStart=\nExecStart=/usr/sbin/dockerd -H fd:// --log-opt splunk-token=canary --label=canary $DOCKER_OPTS\n"
                    },
                },
                "client": {
                    "/home/ubuntu/.profile": {"content": "export AWS_SECRET_ACCESS_KEY=canary\n", "owner": "ubuntu"},
                },
            },
        });
        let shown = everything_shown(&Case::read(&drift.to_string()).unwrap());
        prop_assert!(!shown.contains("canary"), "{shown}");
        prop_assert!(style == "flags" || shown.contains("daemon.json"), "{shown}");
    }
}

/// A module without cases, or without one that changes nothing, is not done.
#[test]
fn every_module_has_its_folder_and_a_case_without_changes() {
    for module in MODULES {
        let name = module.name;
        let quiet = folder(name).join("no_change.yaml");
        let text = std::fs::read_to_string(&quiet)
            .unwrap_or_else(|_| panic!("{} is missing", quiet.display()));
        let case = Case::read(&text).unwrap();
        assert!(
            case.mentions(name),
            "{}: `{name}` is not in its playbook",
            quiet.display()
        );
        // A note is no change.
        let expected = case.expected();
        assert!(
            !expected.contains("changes:") && !expected.contains("refusals:"),
            "{}: {expected}",
            quiet.display()
        );
    }
    for entry in std::fs::read_dir(folder("")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(
            MODULES.iter().any(|module| module.name == name),
            "tests/plan/{name} belongs to no module"
        );
    }
}

/// Of a renamed inventory and of one that is another, the block of the first one alone goes.
#[test]
fn a_renamed_inventory_replaces_its_own_block() {
    const PROD: &str = "# BEGIN dtls-deploy prod\nexport DOCKER_HOST=tcp://10.0.0.99:2376\nexport DOCKER_TLS_VERIFY=1\nexport DOCKER_CERT_PATH='/home/ubuntu/.docker/prod'\n# END dtls-deploy prod\n";
    const OWN: &str = "# BEGIN dtls-deploy test\nexport DOCKER_HOST=tcp://10.0.0.12:2376\nexport DOCKER_TLS_VERIFY=1\n# END dtls-deploy test\n";
    for (case, expected) in [
        ("renamed_inventory", format!("{PROD}{OWN}")),
        ("renamed_inventory_absent", PROD.to_owned()),
    ] {
        let path = format!(
            "{}/tests/plan/client/{case}.yaml",
            env!("CARGO_MANIFEST_DIR")
        );
        let plan = Case::read(&std::fs::read_to_string(path).unwrap())
            .unwrap()
            .plan();
        let written = plan.changes().find_map(|change| match &change.action {
            Action::File(file) if file.path() == "/home/ubuntu/.profile" => Some(&file.content),
            _ => None,
        });
        let Some(Content::Text(text)) = written else {
            panic!("{case}: {written:?}");
        };
        assert_eq!(*text, expected, "{case}");
    }
}
