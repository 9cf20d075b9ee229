//! Flags of dockerd and their settings in daemon.json.
//!
//! The rule for the pairs is moby's `findConfigurationConflicts` (daemon/config/config.go): a
//! setting with a flag must not be in the file, even with the same value.

use serde_json::{Map, Value};

/// A flag and the equivalent key in daemon.json.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collision {
    /// As on the command line, without a value.
    pub flag: String,
    pub key: String,
}

/// Flags with a differently named key: those that can be repeated.
const KEYS: [(&str, &str); 16] = [
    (
        "allow-nondistributable-artifacts",
        "allow-nondistributable-artifacts",
    ),
    ("authorization-plugin", "authorization-plugins"),
    ("cdi-spec-dir", "cdi-spec-dirs"),
    ("cluster-store-opt", "cluster-store-opts"),
    ("default-address-pool", "default-address-pools"),
    ("default-network-opt", "default-network-opts"),
    ("default-ulimit", "default-ulimits"),
    ("dns-opt", "dns-opts"),
    ("exec-opt", "exec-opts"),
    ("host", "hosts"),
    ("insecure-registry", "insecure-registries"),
    ("label", "labels"),
    ("log-opt", "log-opts"),
    ("node-generic-resource", "node-generic-resources"),
    ("registry-mirror", "registry-mirrors"),
    ("storage-opt", "storage-opts"),
];

const SHORT: [(char, &str); 8] = [
    ('D', "debug"),
    ('G', "group"),
    ('H', "host"),
    ('b', "bridge"),
    ('g', "graph"),
    ('l', "log-level"),
    ('p', "pidfile"),
    ('s', "storage-driver"),
];

/// Keys with a mapping below them that is one setting; the keys of any other
/// mapping count as if they stood at the top.
const WHOLE: [&str; 7] = [
    "builder",
    "cluster-store-opts",
    "default-network-opts",
    "default-ulimits",
    "features",
    "log-opts",
    "runtimes",
];

/// Settings that are both flags and keys, in the order of the command line.
#[must_use]
pub fn collisions(arguments: &[String], settings: &Map<String, Value>) -> Vec<Collision> {
    let mut found: Vec<Collision> = Vec::new();
    for argument in arguments {
        let flag = argument
            .split_once('=')
            .map_or(argument.as_str(), |(flag, _)| flag);
        let Some(name) = long_name(flag) else {
            continue;
        };
        let key = KEYS
            .iter()
            .find(|(flag, _)| *flag == name)
            .map_or(name, |(_, key)| key);
        if is_set(settings, key) && !found.iter().any(|known| known.key == key) {
            found.push(Collision {
                flag: flag.to_owned(),
                key: key.to_owned(),
            });
        }
    }
    found
}

/// Settings for listeners, data directories and containerd. With `userns-remap` dockerd requires
/// that every directory above its data is open to others. The group is that of a local socket: with
/// systemd's socket dockerd does not look it up.
const PLACES: [&str; 10] = [
    "host",
    "group",
    "data-root",
    "graph",
    "exec-root",
    "pidfile",
    "containerd",
    "metrics-addr",
    "cluster-advertise",
    "userns-remap",
];

/// A command line and settings without the places that the running daemon uses, so that another
/// dockerd can be started with the rest.
#[must_use]
pub fn apart(
    command_line: &[String],
    settings: &Map<String, Value>,
) -> (Vec<String>, Map<String, Value>) {
    let mut line = Vec::new();
    let mut words = command_line.iter();
    while let Some(word) = words.next() {
        let flag = word.split_once('=').map_or(word.as_str(), |(flag, _)| flag);
        if !long_name(flag).is_some_and(|name| PLACES.contains(&name)) {
            line.push(word.clone());
            continue;
        }
        // -pVALUE and --name=VALUE are one word.
        let is_whole = flag != word || (!flag.starts_with("--") && flag.len() > 2);
        if !is_whole {
            words.next();
        }
    }
    let mut settings = settings.clone();
    settings.retain(|key, _| !PLACES.contains(&key.as_str()) && key != "hosts");
    (line, settings)
}

fn long_name(flag: &str) -> Option<&str> {
    if let Some(name) = flag.strip_prefix("--") {
        return Some(name).filter(|name| !name.is_empty());
    }
    let letter = flag.strip_prefix('-')?.chars().next()?;
    let (_, name) = SHORT.iter().find(|(short, _)| *short == letter)?;
    Some(name)
}

fn is_set(settings: &Map<String, Value>, key: &str) -> bool {
    settings.iter().any(|(name, value)| match value {
        Value::Object(inner) if !WHOLE.contains(&name.as_str()) => inner.contains_key(key),
        _ => name == key,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_given_both_ways_is_found() {
        let settings: Value = serde_json::from_str(
            r#"{"debug": false, "labels": ["x"], "hosts": [], "runtimes": {"debugger": {}},
                "log-opts": {"mtu": "1"}, "proxies": {"http-proxy": "http://p"}, "tlsverify": true}"#,
        )
        .unwrap();
        let line = "-D --debug=false --label a=b -H fd:// --http-proxy=http://q --mtu 1400 --log-driver journald --tlsverify --add-runtime=x=/y";
        let arguments: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let found: Vec<(String, String)> = collisions(&arguments, settings.as_object().unwrap())
            .into_iter()
            .map(|found| (found.flag, found.key))
            .collect();
        let expected = [
            ("-D", "debug"),
            ("--label", "labels"),
            ("-H", "hosts"),
            ("--http-proxy", "http-proxy"),
            ("--tlsverify", "tlsverify"),
        ]
        .map(|(flag, key)| (flag.to_owned(), key.to_owned()));
        assert_eq!(found, expected);
    }

    #[test]
    fn a_second_daemon_shares_no_place_with_the_running_one() {
        let words = |line: &str| -> Vec<String> { line.split(' ').map(str::to_owned).collect() };
        let settings: Value = serde_json::from_str(
            r#"{"data-root": "/srv", "hosts": [], "group": "none", "pidfile": "/p", "metrics-addr": "10.0.0.12:9323", "dns": ["1.1.1.1"]}"#,
        )
        .unwrap();
        let (line, settings) = apart(
            &words(
                "/usr/sbin/dockerd -H fd:// -Hunix:///a --host=tcp://b -p /p -p/q -g /g --exec-root /e --data-root=/d --userns-remap x --group none -G none --containerd=/run/c --mtu 1400 -D",
            ),
            settings.as_object().unwrap(),
        );
        assert_eq!(line, words("/usr/sbin/dockerd --mtu 1400 -D"));
        assert_eq!(
            Value::Object(settings).to_string(),
            r#"{"dns":["1.1.1.1"]}"#
        );
    }
}
