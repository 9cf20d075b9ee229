//! Inputs that nobody wrote: everything that reads what others have sent or
//! edited is given mutated text for a bounded time, and must neither panic nor
//! hang, and must keep what it promises of its results.
//!
//! `make fuzz` runs these for minutes (`FUZZ_SECONDS`, per target); every test
//! run for a moment. Inputs are real ones with random changes: there is no
//! guidance by coverage, for which a nightly compiler would be needed. An input
//! that fails is kept in target/fuzz, and `FUZZ_INPUT=FILE` tries it again.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::docker::{
    daemon_json, flags,
    tls::{self, DaemonMode},
    unit,
};
use crate::inventory::{Environment, MemoryFiles};
use crate::secret::Secret;
use crate::{inventory, pki, playbook};

/// In an ordinary test run, for each target.
const MOMENT: Duration = Duration::from_secs(1);
/// No input of this size may take longer.
const LONGEST: Duration = Duration::from_secs(20);
/// Larger inputs only take longer.
const LARGEST: usize = 64 << 10;

/// What parsers treat specially.
const TOKENS: &[&str] = &[
    "\0",
    "\n",
    "\r\n",
    "\u{feff}",
    "\u{202e}",
    "{{",
    "}}",
    "{%",
    "%}",
    "'",
    "\"",
    "\\",
    "$",
    "${",
    "%",
    "<<: *a",
    "&a ",
    "*a",
    "!vault |",
    "!unsafe ",
    "---\n",
    "...",
    "[",
    "]",
    "{",
    "}",
    ":",
    ": ",
    "- ",
    "#",
    "~",
    "null",
    "-1",
    "0",
    "1e999",
    "99999999999999999999",
    "[01:99]",
    "-----BEGIN ",
    "-----END ",
    "=",
    "@revoked ",
    "@cert-authority ",
    "|1|",
    "\u{1b}[31m",
    "-H",
    "ExecStart=",
];

/// Numbers that differ each time; `xorshift64*`. Never used for a key.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// Below `end`; 0 for an empty range.
    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() >> 33).unwrap() % end.max(1)
    }

    fn one_of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }

    fn range(&mut self, length: usize) -> std::ops::Range<usize> {
        let (one, other) = (self.below(length + 1), self.below(length + 1));
        one.min(other)..one.max(other)
    }

    /// One of the seeds with some changes.
    fn input(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = self.one_of(seeds).clone();
        for _ in 0..=self.below(6) {
            let place = self.below(bytes.len() + 1);
            match self.below(7) {
                0 if place < bytes.len() => bytes[place] ^= 1 << self.below(8),
                1 if place < bytes.len() => bytes[place] = self.next().to_le_bytes()[7],
                2 => drop(bytes.drain(self.range(bytes.len()))),
                3 => {
                    let part = bytes[self.range(bytes.len())].to_vec();
                    bytes.splice(place..place, part);
                }
                4 => {
                    let other = self.one_of(seeds);
                    let part = other[self.range(other.len())].to_vec();
                    bytes.splice(place..place, part);
                }
                _ => {
                    let token = self.one_of(TOKENS).bytes();
                    bytes.splice(place..place, token);
                }
            }
            bytes.truncate(LARGEST);
        }
        bytes
    }
}

/// Gives `target` inputs until the time is over.
pub(crate) fn run(name: &str, seeds: &[Vec<u8>], target: impl Fn(&[u8])) {
    assert!(!seeds.is_empty(), "{name} has nothing to begin with");
    let keep = |input: &[u8], what: &str| -> ! {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/fuzz");
        let path = directory.join(format!("{name}-{}", &pki::sha256_hex(input)[..12]));
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(&path, input).unwrap();
        panic!(
            "{name} {what}; try it again with FUZZ_INPUT={}",
            path.display()
        );
    };
    let attempt = |input: &[u8]| {
        let begun = Instant::now();
        if catch_unwind(AssertUnwindSafe(|| target(input))).is_err() {
            keep(input, "panicked");
        }
        if begun.elapsed() > LONGEST {
            keep(input, "takes too long");
        }
    };
    if let Some(path) = std::env::var_os("FUZZ_INPUT") {
        return attempt(&std::fs::read(path).unwrap());
    }
    for seed in seeds {
        attempt(seed);
    }
    let asked = std::env::var("FUZZ_SECONDS").ok();
    let budget = asked.as_ref().map_or(MOMENT, |seconds| {
        Duration::from_secs(seconds.parse().unwrap())
    });
    // An ordinary run always tries the same; a long one something new.
    let start = asked.map_or(1, |_| u64::from_le_bytes(random()));
    let (mut chance, begun, mut count) = (Chance(start | 1), Instant::now(), 0);
    while begun.elapsed() < budget {
        attempt(&chance.input(seeds));
        count += 1;
    }
    println!("{name}: {count} inputs in {budget:?}");
}

fn random() -> [u8; 8] {
    let mut bytes = [0; 8];
    aws_lc_rs::rand::fill(&mut bytes).unwrap();
    bytes
}

/// Every file below a folder of this repository.
fn files(folder: &str) -> Vec<Vec<u8>> {
    fn collect(directory: &Path, found: &mut Vec<Vec<u8>>) {
        let mut paths: Vec<PathBuf> = std::fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        paths.sort();
        for path in paths {
            if path.is_dir() {
                collect(&path, found);
            } else if !path.to_string_lossy().contains(".snap") {
                found.push(std::fs::read(path).unwrap());
            }
        }
    }
    let mut found = Vec::new();
    collect(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join(folder),
        &mut found,
    );
    found
}

fn texts(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

#[test]
fn inventory() {
    let mut seeds = files("inventory");
    seeds.extend(files("tests/inventory/good"));
    run("inventory", &seeds, |input| {
        let environment = Environment {
            home: Some("/home/operator".into()),
            user: Some("operator".to_owned()),
            directory: "/memory".into(),
            files: Arc::new(MemoryFiles(
                [("/memory/i.yaml".into(), input.to_vec())].into(),
            )),
            untrusted: false,
        };
        match inventory::load(Path::new("i.yaml"), &[], &environment) {
            Ok(inventory) => {
                assert!(inventory.daemons().count() > 0 && inventory.clients().count() > 0);
                assert!(
                    inventory
                        .hosts
                        .iter()
                        .all(|host| !host.name.contains(['/', '\0']))
                );
            }
            Err(errors) => {
                assert!(errors.errors().count() > 0, "refused without a reason");
                let shown = inventory::render(&errors.problems, 100);
                assert!(!shown.contains('\u{1b}'), "{shown:?}");
            }
        }
    });
}

#[test]
fn playbook() {
    run("playbook", &files("playbooks"), |input| {
        let text = String::from_utf8_lossy(input);
        if let Err(problems) = playbook::parse("fuzzed", &text) {
            assert!(!problems.is_empty(), "refused without a reason");
        }
    });
}

#[test]
fn daemon_json() {
    let seeds = texts(&[
        "{}",
        r#"{"hosts": ["unix:///var/run/docker.sock", "tcp://0.0.0.0:2375"], "log-driver": "local"}"#,
        r#"{"tls": true, "tlsverify": false, "tlscacert": "/a", "live-restore": true, "a": {"b": [1, 2.5, null]}}"#,
    ]);
    let paths = paths();
    run("daemon_json", &seeds, |input| {
        let _ = daemon_json::without(input, &paths, &[], &[]);
        let _ = crate::docker::live_restore::with_live_restore(Some(input));
        let _ = crate::docker::live_restore::has_live_restore(Some(input));
        for mode in [DaemonMode::TlsVerify, DaemonMode::Tls] {
            let Ok(merged) = daemon_json::merge(Some(input), mode, &paths) else {
                return;
            };
            assert_eq!(daemon_json::mode_of(&merged.text), Some(mode));
            let again = daemon_json::merge(Some(merged.text.as_bytes()), mode, &paths).unwrap();
            assert_eq!(again.text, merged.text, "merging twice is merging once");
        }
        let merged = daemon_json::without_tls(Some(input)).unwrap();
        assert_eq!(daemon_json::mode_of(&merged.text), None);
        let settings: serde_json::Map<_, _> =
            serde_json::from_str(&merged.text).unwrap_or_default();
        assert!(!settings.contains_key("hosts"));
        let _ = flags::collisions(&["--tls".to_owned(), merged.text.clone()], &settings);
    });
}

fn paths() -> tls::TlsPaths {
    tls::TlsPaths {
        ca: "/etc/docker/tls/ca.pem".to_owned(),
        certificate: "/etc/docker/tls/cert.pem".to_owned(),
        key: "/etc/docker/tls/key.pem".to_owned(),
    }
}

#[test]
fn exec_start() {
    let mut seeds = files("tests/lab/units");
    seeds.extend(texts(&[
        "[Service]\nEnvironmentFile=-/etc/default/docker\nExecStart=/usr/sbin/dockerd -H fd:// $DOCKER_OPTS\n",
        "[Service]\nExecStart=\nExecStart=-/usr/bin/dockerd \"-H\" 'tcp://0.0.0.0:2375' \\\n  --log-level=info ${A}\nEnvironment=\"A=b c\" B=d\n",
    ]));
    run("exec_start", &seeds, |input| {
        let text = String::from_utf8_lossy(input).into_owned();
        let environment = unit::parse_environment(&text);
        let files = [unit::UnitFile {
            path: "/lib/systemd/system/docker.service".to_owned(),
            text: text.clone(),
        }];
        let _ = unit::unit_environment(&files);
        let _ = unit::command_line(&files, &environment);
        let _ = unit::without_exec_start(&text);
        let wanted = unit::Listening {
            listen: vec!["tcp://0.0.0.0:2376".to_owned()],
            local_socket: true,
            tls: tls::flags(DaemonMode::TlsVerify, &paths()),
            from_settings: Vec::new(),
            own: unit::OwnDropIn::Unknown,
        };
        let dropin = "/etc/systemd/system/docker.service.d/50-dtls-deploy.conf";
        if let Ok(derived) = unit::derive(&files, dropin, &environment, &wanted) {
            assert!(derived.text.contains("tcp://0.0.0.0:2376"), "{derived:?}");
        }
    });
}

/// Keys and certificates, in PEM, under a passphrase and without.
#[test]
fn pem_and_pkcs8() {
    let passphrase = Secret::from("correct horse".to_owned());
    let mut seeds = Vec::new();
    for kind in [pki::KeyType::EcdsaP256, pki::KeyType::Ed25519] {
        let key = pki::generate(kind).unwrap();
        seeds.push(key.to_pem().expose().to_vec());
        seeds.push(pki::encrypt(&key, &passphrase).unwrap().into_bytes());
    }
    seeds.extend(texts(&[
        "-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00112233445566778899AABBCCDDEEFF\n\nAAAA\n-----END EC PRIVATE KEY-----\n",
        "-----BEGIN CERTIFICATE-----\nMAMCAQE=\n-----END CERTIFICATE-----\n",
    ]));
    run("pem_and_pkcs8", &seeds, |input| {
        let _ = pki::unencrypted(input);
        let _ = pki::is_encrypted(input);
        let _ = pki::decrypt(input, &passphrase);
        let _ = pki::Certificate::bundle_from_pem(input);
        // The same bytes as DER, which no base64 stands before.
        let _ = pki::Certificate::from_der(input);
        let _ = pki::Ledger::parse_bytes(input);
    });
}

/// What a controller may send to the CA's agent, and an agent to the controller.
#[test]
fn agent_protocol() {
    use pki::Request;
    let passphrase = || Secret::from("x".to_owned());
    let requests = [
        Request::Ping,
        Request::OpenAuthority {
            passphrase: passphrase(),
        },
        Request::EnsureAuthority {
            profile: pki::AuthorityProfile::new(
                pki::Subject::default(),
                pki::KeyType::EcdsaP256,
                1,
            ),
            passphrase: passphrase(),
        },
        Request::Issue {
            leaves: Vec::new(),
            passphrase: passphrase(),
        },
        Request::Probe {
            sans: ["node3".parse().unwrap(), "10.0.0.12".parse().unwrap()].into(),
            passphrase: passphrase(),
        },
        Request::Fetch { leaves: Vec::new() },
        Request::EndRollover { destroy_old: true },
        Request::Promote {},
        Request::SalvageLedger {},
        Request::Bye,
    ];
    let lines: Vec<String> = requests
        .iter()
        .map(|request| serde_json::to_string(request).unwrap() + "\n")
        .collect();
    let mut seeds: Vec<Vec<u8>> = lines.iter().map(|line| line.as_bytes().to_vec()).collect();
    seeds.push(lines.concat().into_bytes());
    run("agent_protocol", &seeds, |input| {
        // Hello would open a directory of this machine.
        let opens = input
            .split(|byte| *byte == b'\n')
            .any(|line| matches!(serde_json::from_slice(line), Ok(pki::Request::Hello { .. })));
        let _ = serde_json::from_slice::<pki::Response>(input);
        if opens {
            return;
        }
        let mut answers = Vec::new();
        let served = pki::serve_with(
            pki::Agent::new(),
            std::io::Cursor::new(input.to_vec()),
            &mut answers,
            Duration::from_secs(5),
        );
        served.unwrap();
        for line in answers
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
        {
            serde_json::from_slice::<pki::Response>(line).unwrap();
        }
    });
}
