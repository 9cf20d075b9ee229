use std::net::IpAddr;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::process::{Command, Stdio};

use super::*;

fn gather(shell: &[&str], request: &FactRequest) -> NodeFacts {
    use std::io::Write as _;
    let mut child = Command::new(shell[0])
        .args(&shell[1..])
        .env_remove("SUDO_USER")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("apt-get install dash bash busybox");
    let text = request.script().text("test");
    child
        .stdin
        .take()
        .unwrap()
        .write_all(text.expose())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    NodeFacts::parse(&output.stdout, request)
        .unwrap_or_else(|error| panic!("{shell:?}: {error}: {output:?}"))
}

#[test]
fn every_shell_reports_the_same_files() {
    let root = tempfile::tempdir().unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let at = |name: &str| root.path().join(name).to_str().unwrap().to_owned();
    let binary: Vec<u8> = (0..=255u8).collect();
    std::fs::write(at("binary"), &binary).unwrap();
    std::fs::write(at("it's empty"), b"").unwrap();
    std::fs::write(at("key"), b"secret").unwrap();
    std::fs::set_permissions(at("key"), std::fs::Permissions::from_mode(0o400)).unwrap();
    symlink(at("key"), at("link")).unwrap();
    symlink(at("nowhere"), at("dangling")).unwrap();
    let request = FactRequest {
        content: [at("binary"), at("it's empty"), at("missing")].into(),
        hashed: [
            at("key"),
            at("link"),
            at("dangling"),
            "~no-such-account/key.pem".to_owned(),
        ]
        .into(),
        present: BTreeSet::new(),
        directories: [at("sub/dir")].into(),
        unit: None,
        engine: false,
        exists: [at("key"), at("dangling"), at("missing")].into(),
        services: BTreeSet::new(),
        names: ["localhost".to_owned()].into(),
        generation: false,
        ports: [port].into(),
        own_addresses: true,
        drop_in: None,
        accounts: ["root".to_owned(), "no-such-account".to_owned()].into(),
        socket: None,
        health: true,
        lookups: BTreeSet::new(),
    };
    for shell in [&["dash"][..], &["bash", "--posix"], &["busybox", "ash"]] {
        let facts = gather(shell, &request);
        let health = facts.health.as_ref().expect("asked about");
        assert_eq!(health.missing, Vec::<String>::new(), "{shell:?}");
        let content = |name: &str| facts.regular(&at(name)).unwrap().content.clone();
        assert_eq!(content("binary"), Some(binary.clone()), "{shell:?}");
        assert_eq!(content("it's empty"), Some(Vec::new()));
        assert_eq!(facts.file(&at("missing")), Some(&FileFact::Absent));
        assert_eq!(facts.file(&at("dangling")), Some(&FileFact::Other));
        let key = facts.regular(&at("key")).unwrap();
        assert_eq!((key.mode, key.content.as_ref()), (0o400, None));
        assert_eq!(
            key.sha256,
            "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"
        );
        assert!(!key.link && facts.regular(&at("link")).unwrap().link);
        assert_eq!(facts.account_for(&at("sub/dir")), Ok("root".to_owned()));
        assert_eq!(facts.directory(&at("sub/dir")), None);
        assert_eq!((facts.uid, facts.account.as_str()), (0, "root"));
        let exists = ["key", "dangling", "missing"].map(|name| facts.exists(&at(name)));
        assert_eq!(exists, [Ok(true), Ok(true), Ok(false)], "{shell:?}");
        assert!(facts.resolved["localhost"].contains(&"127.0.0.1".to_owned()));
        let network = facts.network.clone().unwrap();
        let own: IpAddr = "127.0.0.1".parse().unwrap();
        assert!(
            network.addresses.iter().any(|(address, _)| *address == own),
            "{network:?}"
        );
        // Whatever this machine has, all of it is its own, and loopback is not told.
        let addresses = facts.own_addresses.as_ref().expect("asked about");
        assert!(
            addresses
                .iter()
                .all(|address| network.has(*address) && !address.is_loopback()),
            "{shell:?}: {addresses:?}"
        );
        let [listener] = network.listeners.as_slice() else {
            panic!("{shell:?}: {:?}", network.listeners);
        };
        assert_eq!((listener.address, listener.port), (own, port));
        let me = format!("(process {})", std::process::id());
        assert!(
            matches!(&listener.owner, Owner::Other(name) if name.ends_with(&me)),
            "{listener:?}"
        );
        let found = &facts.accounts;
        assert_eq!(found["root"].as_deref(), Some("/root"), "{shell:?}");
        assert_eq!(found["no-such-account"], None, "{shell:?}");
        assert_eq!(facts.expand("~root/.docker"), "/root/.docker");
        let nobody = "~no-such-account/key.pem";
        assert_eq!(facts.file(nobody), Some(&FileFact::Absent), "{shell:?}");
        let space = &facts.space[&at("sub/dir")];
        assert!(space.free > 0 && space.mount.starts_with('/'), "{space:?}");
    }
}

#[test]
fn a_clock_is_off_only_by_what_reading_it_does_not_explain() {
    let mut facts = NodeFacts::default();
    for (clock, skew) in [(95, -4), (99, 0), (100, 0), (110, 0), (112, 2), (700, 590)] {
        facts.clock = clock;
        facts.compare_clock(100, 110);
        assert_eq!(facts.skew, skew, "{clock}");
    }
}

fn component(path: &str, uid: u32, owner: &str) -> Component {
    Component {
        path: path.to_owned(),
        uid,
        owner: owner.to_owned(),
        mode: 0o755,
        link: false,
    }
}

#[test]
fn whoever_owns_the_first_directory_that_is_not_roots_is_acted_as() {
    let mut facts = NodeFacts::default();
    let mut chain = vec![
        component("/", 0, "root"),
        component("/home", 0, "root"),
        component("/home/u", 1000, "u"),
    ];
    facts
        .directories
        .insert("/home/u/.docker".to_owned(), chain.clone());
    assert_eq!(facts.account_for("/home/u/.docker"), Ok("u".to_owned()));
    chain.push(component("/home/u/.docker", 0, "root"));
    facts
        .directories
        .insert("/home/u/.docker".to_owned(), chain);
    assert!(matches!(
        facts.account_for("/home/u/.docker"),
        Err(FactError::MixedOwners { .. })
    ));
}

#[test]
fn root_follows_no_link_and_no_directory_of_others() {
    let mut facts = NodeFacts::default();
    let mut link = component("/home/u/.docker", 1000, "u");
    link.link = true;
    let chain = vec![
        component("/", 0, "root"),
        component("/home/u", 1000, "u"),
        link,
        component("/etc", 0, "root"),
    ];
    facts
        .directories
        .insert("/home/u/.docker".to_owned(), chain);
    assert!(matches!(
        facts.account_for("/home/u/.docker"),
        Err(FactError::LinkOfUser { .. })
    ));
    let mut open = component("/opt", 0, "root");
    open.mode = 0o2775;
    facts
        .directories
        .insert("/opt/tls".to_owned(), vec![component("/", 0, "root"), open]);
    assert!(matches!(
        facts.account_for("/opt/tls"),
        Err(FactError::OpenToOthers { .. })
    ));
}

#[test]
fn what_breaks_off_or_failed_is_an_error() {
    let parse = |said: &str| {
        let output = format!("dtls-deploy answers\n{said}");
        NodeFacts::parse(output.as_bytes(), &FactRequest::default())
    };
    assert!(matches!(
        parse("system\tLinux\tx86_64\tn\n"),
        Err(FactError::Malformed(_))
    ));
    assert_eq!(
        parse("failed\tfacts\tno\n"),
        Err(FactError::Failed("facts: no".to_owned()))
    );
    let silent = NodeFacts::parse(b"Welcome\n", &FactRequest::default());
    assert_eq!(silent, Err(FactError::NoAnswer));
}
