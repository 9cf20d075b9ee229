//! Every key type, for the CA and its leaves, with everything that talks to a
//! daemon: what came of it is the table in docs/key-types.md.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use pki::KeyType;

use crate::lab::{Lab, openssl};
use crate::page;

const DAEMONS: [&str; 2] = ["node3", "node4"];
/// Debian 12, and Debian 13 with Python.
const CLIENTS: [(&str, &str); 2] = [("node1", "Debian 12"), ("node5", "Debian 13")];

/// A tool as `try.sh` names it, the head of its column, and how many tries of it
/// there are from both clients on both daemons.
const TOOLS: [(&str, &str, usize); 5] = [
    ("docker", "docker CLI", 4),
    ("curl", "curl", 8),
    ("openssl", "openssl", 16),
    ("python", "docker SDK for Python, strict", 2),
    ("openssl-level-3", "openssl at security level 3", 4),
];

/// Who has which type of key.
#[derive(Clone, Copy)]
struct Keys {
    authority: KeyType,
    daemons: KeyType,
    clients: KeyType,
    /// Whether the CA may sign for the names of the inventory alone.
    limits_names: bool,
}

impl Keys {
    fn all(of: KeyType) -> Self {
        Self {
            authority: of,
            daemons: of,
            clients: of,
            limits_names: false,
        }
    }

    fn title(self) -> String {
        if self.authority == self.daemons && self.authority == self.clients {
            let limits = if self.limits_names {
                ", `dtls_ca_name_constraints`"
            } else {
                ""
            };
            return format!("`{}`{limits}", self.authority);
        }
        format!(
            "CA `{}`, daemons `{}`, clients `{}`",
            self.authority, self.daemons, self.clients
        )
    }

    /// A CA of its own for each.
    fn inventory(self, lab: &Lab) -> String {
        let Self {
            authority,
            daemons,
            clients,
            limits_names,
        } = self;
        let text = format!(
            "all:
  vars:
    ansible_user: ubuntu
    dtls_ca_dir: /var/lib/ca-{authority}-{daemons}-{limits_names}
    dtls_take_over: true
    dtls_client_env: []
  children:
    ca:
      vars: {{dtls_key_type: {authority}, dtls_ca_name_constraints: {limits_names}}}
      hosts:
        node2: {{ansible_host: 10.0.0.11}}
    daemons:
      vars: {{dtls_key_type: {daemons}}}
      hosts:
        node3: {{ansible_host: 10.0.0.12}}
        node4: {{ansible_host: 10.0.0.13}}
    clients:
      vars: {{dtls_key_type: {clients}}}
      hosts:
        node1: {{ansible_host: 10.0.0.10}}
        node5: {{ansible_host: 10.0.0.14}}
"
        );
        lab.file("keys.yaml", &text)
    }
}

/// The public key as OpenSSL describes it.
fn described(key_type: KeyType) -> &'static str {
    match key_type {
        KeyType::EcdsaP256 => "ASN1 OID: prime256v1",
        KeyType::EcdsaP384 => "ASN1 OID: secp384r1",
        KeyType::Rsa2048 => "Public-Key: (2048 bit)",
        KeyType::Rsa3072 => "Public-Key: (3072 bit)",
        KeyType::Rsa4096 => "Public-Key: (4096 bit)",
        KeyType::Ed25519 => "Public Key Algorithm: ED25519",
    }
}

fn is_of(pem: &str, key_type: KeyType) {
    let text = openssl(&["x509", "-noout", "-text"], pem);
    assert!(text.contains(described(key_type)), "{key_type}: {text}");
}

/// What the daemons serve and the others have is of the types that were asked
/// for.
fn everybody_has(lab: &Lab, keys: Keys) {
    for daemon in DAEMONS {
        let served = format!(
            "cd ~/.docker && openssl s_client -connect {daemon}:2376 -CAfile ca.pem -cert cert.pem -key key.pem </dev/null 2>/dev/null"
        );
        is_of(&lab.exec_as("node1", "ubuntu", &served), keys.daemons);
    }
    for (client, _) in CLIENTS {
        let pair = "cat ~/.docker/cert.pem";
        is_of(&lab.exec_as(client, "ubuntu", pair), keys.clients);
        let authority = "cat ~/.docker/ca.pem";
        is_of(&lab.exec_as(client, "ubuntu", authority), keys.authority);
    }
}

/// What a tool said on each release when it was refused, by tool and release;
/// `None` when it was not.
type Tries = BTreeMap<String, Vec<(&'static str, Option<String>)>>;

fn tries(lab: &Lab) -> Tries {
    let mut tries = Tries::new();
    for (release, lines) in all_at_once(lab) {
        for line in lines.lines() {
            let fields: Vec<&str> = line.split('\t').collect();
            let (tool, refused) = match fields.as_slice() {
                [tool, "yes", ..] => (tool, None),
                [tool, "no", said] => (tool, Some(reason(said))),
                _ => panic!("{release}: {line}"),
            };
            let all = tries.entry((*tool).to_owned()).or_default();
            all.push((release, refused));
        }
    }
    tries
}

/// What `try.sh` said for every client and daemon, with the client's release.
fn all_at_once(lab: &Lab) -> Vec<(&'static str, String)> {
    std::thread::scope(|scope| {
        let mut threads = Vec::new();
        for (client, release) in CLIENTS {
            for daemon in DAEMONS {
                let command = format!("sh /tmp/try.sh {daemon} /tmp");
                threads
                    .push(scope.spawn(move || (release, lab.exec_as(client, "ubuntu", &command))));
            }
        }
        let ended = threads.into_iter().map(|thread| thread.join().unwrap());
        ended.collect()
    })
}

/// The words of a tool's last message that say why; not its addresses, file names
/// and line numbers, which differ from run to run.
fn reason(said: &str) -> String {
    let lines: Vec<&str> = said.split('|').filter(|line| !line.is_empty()).collect();
    for line in &lines {
        if let Some((_, why)) = line.split_once("verify error:num=") {
            return why.split_once(':').map_or(why, |(_, why)| why).to_owned();
        }
        // ID:error:CODE:LIBRARY:FUNCTION:REASON:FILE:LINE:
        if let Some((_, fields)) = line.split_once(":error:")
            && let Some(why) = fields.split(':').nth(3)
        {
            return why.to_owned();
        }
    }
    (*lines.last().unwrap_or(&"no message")).to_owned()
}

/// "yes", or "no" and why, or each release's own.
fn cell(tries: &[(&'static str, Option<String>)]) -> String {
    let mut said: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (release, refused) in tries {
        let word = refused
            .as_ref()
            .map_or_else(|| "yes".to_owned(), |why| format!("no: {why}"));
        let words = said.entry(release).or_default();
        if !words.contains(&word) {
            words.push(word);
        }
    }
    let mut each: Vec<String> = said.values().map(|words| words.join("; ")).collect();
    each.dedup();
    if let [one] = each.as_slice() {
        return one.clone();
    }
    let each: Vec<String> = said
        .iter()
        .map(|(release, words)| format!("{release}: {}", words.join("; ")))
        .collect();
    each.join("; ")
}

fn row(lab: &Lab, keys: Keys) -> String {
    let inventory = keys.inventory(lab);
    let run = lab.deploy(&[&inventory, "--new-ca"]);
    assert!(!run.stdout.contains("not checked"), "{}", run.stdout);
    everybody_has(lab, keys);
    let tries = tries(lab);
    let mut row = format!("| {} | yes |", keys.title());
    for (tool, _, count) in TOOLS {
        let found = tries.get(tool).map(Vec::as_slice).unwrap_or_default();
        assert_eq!(found.len(), count, "{tool}: {tries:?}");
        write!(row, " {} |", cell(found)).unwrap();
    }
    row.push('\n');
    row
}

/// What the tries are worth: certificates by the usual openssl commands are
/// refused by the same Python, and only when it is strict.
fn strict_is_strict(lab: &Lab) {
    lab.exec(
        "node1",
        "mkdir /tmp/recipe && cd /tmp/recipe && {
openssl req -x509 -newkey rsa:2048 -nodes -keyout ca-key.pem -subj /CN=recipe -days 30 -out ca.pem
openssl req -new -newkey rsa:2048 -nodes -keyout key.pem -subj /CN=node1 -out leaf.csr
echo subjectAltName=DNS:node1 >extensions
openssl x509 -req -in leaf.csr -CA ca.pem -CAkey ca-key.pem -CAcreateserial -days 30 -extfile extensions -out cert.pem
} 2>/dev/null && systemd-run --quiet --unit=recipe -p WorkingDirectory=/tmp/recipe openssl s_server -quiet -accept 4433 -cert cert.pem -key key.pem
for i in 1 2 3 4 5 6 7 8 9; do ss -Hltn 'sport = :4433' | grep -q . && break; sleep 0.1; done",
    );
    let authority = lab.file("recipe.pem", &lab.exec("node1", "cat /tmp/recipe/ca.pem"));
    lab.put("node5", &authority, "/tmp/recipe.pem");
    let connect = |how| {
        let command = format!("python3 /tmp/connect.py node1 4433 /tmp/recipe.pem {how}");
        lab.try_exec("node5", &command)
    };
    let (accepted, said) = connect("lenient");
    assert!(accepted, "{said}");
    let (accepted, said) = connect("strict");
    assert!(!accepted, "{said}");
    assert!(said.contains("CERTIFICATE_VERIFY_FAILED"), "{said}");
}

/// What the CA's key signs for a name that is not the inventory's, no tool accepts.
fn limits_are_limits(lab: &Lab) {
    let directory = "/var/lib/ca-ecdsa-p256-ecdsa-p256-true";
    let sign = format!(
        "rm -rf /tmp/limits && mkdir /tmp/limits && cd /tmp/limits
echo '{}' >passphrase
for name in node3 intranet.example; do
    openssl req -new -newkey rsa:2048 -nodes -keyout $name.key -subj /CN=$name -out request 2>/dev/null
    printf 'subjectAltName=DNS:%s\nextendedKeyUsage=serverAuth\n' $name >extensions
    openssl x509 -req -in request -CA {directory}/ca.pem -CAkey {directory}/ca-key.pem -passin file:passphrase \
        -set_serial 7 -days 30 -extfile extensions -out $name.pem 2>/dev/null
done
rm passphrase; cat node3.pem node3.key intranet.example.pem intranet.example.key",
        crate::lab::PASSPHRASE
    );
    let files = lab.file("limits.pem", &lab.exec("node2", &sign));
    lab.put("node4", &files, "/tmp/limits.pem");
    lab.exec(
        "node4",
        "cd /tmp && csplit -sz -f part limits.pem '/-----BEGIN CERT/' '{*}'
systemd-run --quiet --unit=node3 -p WorkingDirectory=/tmp openssl s_server -www -accept 4443 -cert part00 -key part00
systemd-run --quiet --unit=intranet -p WorkingDirectory=/tmp openssl s_server -www -accept 4444 -cert part01 -key part01
for port in 4443 4444; do for i in 1 2 3 4 5 6 7 8 9; do ss -Hltn \"sport = :$port\" | grep -q . && break; sleep 0.1; done; done",
    );
    for client in ["node1", "node5"] {
        let own = "cd ~/.docker && curl -sS --cacert ca.pem --connect-to node3:4443:node4:4443 https://node3:4443/";
        lab.exec_as(client, "ubuntu", own);
        let other = "cd ~/.docker && curl -sS --cacert ca.pem --connect-to intranet.example:4444:node4:4444 https://intranet.example:4444/";
        let (accepted, said) = lab.try_exec_as(client, "ubuntu", other);
        assert!(!accepted, "{said}");
        assert!(said.contains("permitted subtree violation"), "{said}");
        lab.exec(client, "echo '10.0.0.13 intranet.example' >>/etc/hosts");
        let docker = "docker --tlsverify -H tcp://intranet.example:4444 version";
        let (accepted, said) = lab.try_exec_as(client, "ubuntu", docker);
        assert!(!accepted, "{said}");
        assert!(said.contains("not permitted by any constraint"), "{said}");
    }
}

#[test]
fn every_key_type_works_with_every_tool_or_the_page_says_why_not() {
    let lab = Lab::with_two_releases();
    for (client, _) in CLIENTS {
        for name in ["try.sh", "sdk.py", "connect.py"] {
            let from = format!("tests/e2e/key_types/{name}");
            lab.put(client, &from, &format!("/tmp/{name}"));
        }
    }
    let mut table = String::from("\n| keys | dockerd |");
    for (_, title, _) in TOOLS {
        write!(table, " {title} |").unwrap();
    }
    table.push_str("\n|---|---|---|---|---|---|---|\n");
    for key_type in KeyType::ALL {
        table.push_str(&row(&lab, Keys::all(key_type)));
    }
    let mixed = Keys {
        authority: KeyType::Rsa3072,
        daemons: KeyType::EcdsaP384,
        clients: KeyType::Ed25519,
        limits_names: false,
    };
    table.push_str(&row(&lab, mixed));
    let limited = Keys {
        limits_names: true,
        ..Keys::all(KeyType::EcdsaP256)
    };
    table.push_str(&row(&lab, limited));
    table.push('\n');
    println!("{table}");
    limits_are_limits(&lab);
    strict_is_strict(&lab);
    let command = "cargo nextest run --test e2e key_types";
    page::keep("key-types.md", "tried", &table, command);
}
