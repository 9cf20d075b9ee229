//! The GitHub action and the GitLab template: their shell parts run here, with commands that
//! record how they are called.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;
use serde_json::Value;

use crate::pages::read;

const PASSPHRASE: &str = "of a test";
/// `printf %s package | sha256sum`.
const SHA256: &str = "bc4a71180870f7945155fbb02f4b0a2e3faa2a62d6d31b7039013055ed19869a";

/// A machine that runs a job.
struct Runner {
    directory: tempfile::TempDir,
    path: String,
}

impl Runner {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let bin = directory.path().join("bin");
        std::fs::create_dir(&bin).unwrap();
        let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
        let own = Self { directory, path };
        let record = r#"printf '%q ' "${0##*/}" "$@" >>"$CALLS"; echo >>"$CALLS""#;
        for (name, body) in [
            ("sudo", r#"exec "$@""#.to_owned()),
            ("apt-get", String::new()),
            ("dpkg", record.to_owned()),
            (
                "curl",
                // The last but one word is --output's.
                r#"printf package >"${@: -2:1}""#.to_owned(),
            ),
            (
                "dtls-deploy",
                format!(
                    "{record}; echo \"passphrase=${{DTLS_CA_PASSPHRASE-none}}\" >>\"$CALLS\"; exit ${{CODE:-0}}"
                ),
            ),
        ] {
            own.write(&format!("bin/{name}"), &format!("#!/bin/bash\n{body}\n"));
            std::fs::set_permissions(bin.join(name), std::fs::Permissions::from_mode(0o755))
                .unwrap();
        }
        own
    }

    fn place(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> String {
        std::fs::write(self.place(name), text).unwrap();
        self.place(name).to_str().unwrap().to_owned()
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.place(name)).unwrap_or_default()
    }

    /// As a runner starts a step's script; its exit code.
    fn run(&self, script: &str, variables: &BTreeMap<String, String>) -> i32 {
        assert!(!script.contains("${{"), "a value in a script: {script}");
        let output = Command::new("bash")
            .args(["--noprofile", "--norc", "-eo", "pipefail", "-c", script])
            .current_dir(self.directory.path())
            .envs(variables)
            .env("PATH", &self.path)
            .env("CALLS", self.place("calls"))
            .env("RUNNER_TEMP", self.directory.path())
            .env("GITHUB_OUTPUT", self.place("output"))
            .output()
            .unwrap();
        let problem = String::from_utf8_lossy(&output.stderr);
        assert!(problem.is_empty() || !output.status.success(), "{problem}");
        output.status.code().unwrap()
    }

    /// The command lines of dtls-deploy, each of which is one.
    fn calls(&self) -> Vec<Vec<String>> {
        let calls = self.read("calls");
        let lines = calls.lines().filter(|line| line.starts_with("dtls-deploy"));
        let calls: Vec<Vec<String>> = lines.map(|line| shlex::split(line).unwrap()).collect();
        for words in &calls {
            dtls_deploy::cli::check(words).unwrap_or_else(|problem| panic!("{words:?}: {problem}"));
        }
        calls
    }
}

/// Only the account can read the keys, and ssh uses no others.
fn check_keys(keys: &Path) {
    for (file, text) in [("id", "the key\n"), ("known_hosts", "a host key\n")] {
        let path = keys.join(file);
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
        assert_eq!(read(&path), text);
    }
    let config = keys.join("config");
    let output = Command::new("ssh")
        .args(["-G", "-F", config.to_str().unwrap(), "node3"])
        .output()
        .unwrap();
    let settings = String::from_utf8(output.stdout).unwrap();
    for setting in [
        format!("identityfile {}", keys.join("id").display()),
        format!("userknownhostsfile {}", keys.join("known_hosts").display()),
        "identitiesonly yes".to_owned(),
        "identityagent none".to_owned(),
    ] {
        assert!(settings.lines().any(|line| line == setting), "{settings}");
    }
}

fn yaml<T: serde::de::DeserializeOwned>(path: &str) -> T {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    serde_saphyr::from_str(&read(&path)).unwrap()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Action {
    #[serde(rename = "name")]
    _name: String,
    #[serde(rename = "description")]
    _description: String,
    inputs: BTreeMap<String, Input>,
    #[serde(rename = "outputs")]
    _outputs: Value,
    runs: Runs,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    #[serde(rename = "description")]
    _description: String,
    #[serde(default)]
    required: bool,
    default: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Runs {
    using: String,
    steps: Vec<Step>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    name: String,
    #[serde(rename = "id")]
    _id: Option<String>,
    r#if: Option<String>,
    shell: String,
    #[serde(default)]
    env: BTreeMap<String, String>,
    run: String,
}

fn action() -> Action {
    yaml("packaging/github/action.yml")
}

/// Runs the steps with these inputs; the exit code of the first that fails.
fn act(runner: &Runner, inputs: &[(&str, &str)]) -> i32 {
    let action = action();
    assert_eq!(action.runs.using, "composite");
    let input = |name: &str| {
        let given = inputs.iter().find(|(known, _)| *known == name);
        match (given, &action.inputs[name]) {
            (Some((_, value)), _) => (*value).to_owned(),
            (None, input) => input.default.clone().unwrap(),
        }
    };
    let mut code = 0;
    for step in &action.runs.steps {
        assert_eq!(step.shell, "bash", "{}", step.name);
        let runs = match step.r#if.as_deref() {
            None => code == 0,
            Some("inputs.package != ''") => !input("package").is_empty(),
            Some(condition) => condition == "always()",
        };
        if !runs {
            continue;
        }
        let mut variables = BTreeMap::from([("CODE".to_owned(), input_code(inputs))]);
        for (name, value) in &step.env {
            let source = value.strip_prefix("${{ inputs.").unwrap();
            variables.insert(name.clone(), input(source.strip_suffix(" }}").unwrap()));
        }
        let ended = runner.run(&step.run, &variables);
        code = if code == 0 { ended } else { code };
        if step.name == "Write the SSH configuration" {
            check_keys(&runner.place("dtls-deploy-keys"));
        }
    }
    assert!(!runner.place("dtls-deploy-keys").exists());
    code
}

/// What dtls-deploy ends with: no input of the action.
fn input_code(inputs: &[(&str, &str)]) -> String {
    let given = inputs.iter().find(|(name, _)| *name == "CODE");
    given.map_or("0", |(_, code)| code).to_owned()
}

const KEYS: [(&str, &str); 2] = [("ssh-key", "the key"), ("known-hosts", "a host key")];

#[test]
fn the_action_runs_each_command() {
    for (command, code, ended) in [
        ("plan", "3", 0),
        ("plan", "5", 5),
        ("deploy", "0", 0),
        ("rotate", "4", 4),
        ("status", "3", 3),
        ("verify", "0", 0),
    ] {
        let runner = Runner::new();
        let mut inputs = vec![
            ("command", command),
            ("CODE", code),
            ("arguments", "--limit docker* -v"),
        ];
        inputs.extend(KEYS);
        if ["deploy", "rotate"].contains(&command) {
            inputs.push(("passphrase", PASSPHRASE));
        }
        assert_eq!(act(&runner, &inputs), ended, "{command}");
        let calls = runner.calls();
        let words = calls.first().unwrap();
        assert!(
            words.ends_with(&["docker*".to_owned(), "-v".to_owned()]),
            "{words:?}"
        );
        let has = |option: &str| words.iter().any(|word| word == option);
        assert_eq!(has("--untrusted") && has("--check"), command == "plan");
        assert_eq!(has("--yes"), ["deploy", "rotate"].contains(&command));
        let passphrase = runner
            .read("calls")
            .contains(&format!("passphrase={PASSPHRASE}\n"));
        assert_eq!(passphrase, has("--yes"));
        let changes = runner.read("output");
        assert_eq!(
            changes,
            format!("changes={}\n", command == "plan" && code == "3")
        );
    }
    let runner = Runner::new();
    let inputs = [&[("command", "remove; id")][..], &KEYS].concat();
    assert_eq!(act(&runner, &inputs), 2);
    assert_eq!(runner.calls(), Vec::<Vec<String>>::new());
}

#[test]
fn the_action_installs_only_the_package_with_the_given_hash() {
    for (sha256, is_installed) in [(SHA256, true), (&"0".repeat(64), false), ("", false)] {
        let runner = Runner::new();
        let file = runner.write("of-the-repository.deb", "package");
        for package in ["https://packages.invalid/dtls-deploy.deb", &file] {
            let mut inputs = vec![
                ("command", "status"),
                ("package", package),
                ("package-sha256", sha256),
            ];
            inputs.extend(KEYS);
            assert_eq!(act(&runner, &inputs) == 0, is_installed, "{package}");
        }
        let installed = runner.read("calls").matches("dpkg --install ").count();
        assert_eq!(installed, if is_installed { 2 } else { 0 });
    }
}

#[test]
fn the_workflow_plans_pull_requests_without_secrets_of_the_main_branch() {
    let workflow: Value = yaml("packaging/github/workflow.yml");
    let inputs = action().inputs;
    let mut commands = Vec::new();
    for (name, job) in workflow["jobs"].as_object().unwrap() {
        for step in job["steps"].as_array().unwrap() {
            let Some(with) = step["with"]
                .as_object()
                .filter(|with| with.contains_key("command"))
            else {
                assert_eq!(step["uses"], "actions/checkout@v4");
                assert_eq!(step["with"]["persist-credentials"], false);
                continue;
            };
            assert_eq!(step["uses"], "./.github/actions/dtls-deploy");
            for input in with.keys() {
                assert!(inputs.contains_key(input), "{input}");
            }
            for (input, described) in &inputs {
                assert!(!described.required || with.contains_key(input), "{input}");
            }
            let command = with["command"].as_str().unwrap();
            commands.push((name.as_str(), command));
            let changes = ["deploy", "rotate"].contains(&command);
            assert_eq!(with.contains_key("passphrase"), changes, "{command}");
        }
        let plans = name == "plan";
        let condition = job["if"].as_str().unwrap();
        assert_eq!(condition.contains("pull_request_target"), plans, "{name}");
        let environment = if plans {
            "docker-tls-plan"
        } else {
            "docker-tls"
        };
        assert_eq!(job["environment"], environment);
    }
    let expected = [
        ("plan", "plan"),
        ("deploy", "deploy"),
        ("rotate", "rotate"),
        ("rotate", "status"),
    ];
    assert_eq!(commands, expected);
    let plan = workflow["jobs"]["plan"]["steps"].as_array().unwrap();
    assert_eq!(plan[1]["with"]["path"], "proposed");
    assert_eq!(plan[2]["with"]["inventory"], "proposed/inventory.yaml");
    assert_eq!(
        workflow["on"]["push"]["branches"],
        serde_json::json!(["main"])
    );
    assert_eq!(workflow["on"]["schedule"][0]["cron"], "23 3 * * *");
    assert_eq!(workflow["concurrency"]["cancel-in-progress"], false);
}

/// A job of GitLab with what it extends.
fn job(jobs: &Value, name: &str) -> Value {
    let own = &jobs[name];
    let Some(base) = own["extends"].as_str() else {
        return own.clone();
    };
    let mut merged = job(jobs, base);
    for (key, value) in own.as_object().unwrap() {
        match (merged[key].as_object_mut(), value.as_object()) {
            (Some(old), Some(new)) => old.extend(new.clone()),
            _ => merged[key] = value.clone(),
        }
    }
    merged
}

#[test]
fn the_jobs_of_gitlab_run() {
    let jobs: Value = yaml("packaging/gitlab/dtls-deploy.yml");
    for (name, commands, key) in [
        ("dtls-deploy-plan", &["inventory.yaml"][..], "PLAN_SSH_KEY"),
        ("dtls-deploy", &["deploy"], "SSH_KEY"),
        ("dtls-deploy-rotate", &["rotate", "status"], "SSH_KEY"),
    ] {
        let job = job(&jobs, name);
        let runner = Runner::new();
        let keys = runner.place("keys");
        let mut given = BTreeMap::from([
            (key.to_owned(), runner.write("ssh-key", "the key\n")),
            (
                "SSH_KNOWN_HOSTS".to_owned(),
                runner.write("hosts", "a host key\n"),
            ),
            ("CI_JOB_ID".to_owned(), "1".to_owned()),
            ("CI_PROJECT_DIR".to_owned(), "/builds".to_owned()),
            (
                "DTLS_DEPLOY_PACKAGE".to_owned(),
                "https://packages.invalid".to_owned(),
            ),
            ("DTLS_DEPLOY_SHA256".to_owned(), SHA256.to_owned()),
        ]);
        for (name, value) in job["variables"].as_object().unwrap() {
            let value = value.as_str().unwrap();
            let value = given.iter().fold(value.to_owned(), |value, (name, text)| {
                value.replace(&format!("${name}"), text)
            });
            given.insert(name.clone(), value);
        }
        assert_eq!(given["KEYS"], "/tmp/dtls-deploy-keys-1");
        given.insert("KEYS".to_owned(), keys.to_str().unwrap().to_owned());
        let script = |part: &str| {
            let lines = job[part].as_array().unwrap();
            let lines: Vec<&str> = lines.iter().map(|line| line.as_str().unwrap()).collect();
            lines.join("\n")
        };
        assert_eq!(runner.run(&script("before_script"), &given), 0, "{name}");
        check_keys(&keys);
        assert_eq!(runner.run(&script("script"), &given), 0, "{name}");
        assert_eq!(runner.run(&script("after_script"), &given), 0, "{name}");
        assert!(!keys.exists());
        let calls = runner.calls();
        let first: Vec<&str> = calls.iter().map(|words| words[1].as_str()).collect();
        assert_eq!(first, commands);
        let plans = name == "dtls-deploy-plan";
        let untrusted = calls[0].iter().any(|word| word == "--untrusted");
        assert_eq!(untrusted, plans);
        if !plans {
            assert_eq!(job["resource_group"], "docker-tls");
            assert_eq!(job["interruptible"], false);
        }
        given.insert("DTLS_DEPLOY_SHA256".to_owned(), "0".repeat(64));
        assert_ne!(runner.run(&script("before_script"), &given), 0);
    }
}
