//! The CA backed up and restored, without a lab.

use super::*;

fn exported(directory: &Path) -> Vec<CaFile> {
    let Response::Exported { files } = agent(directory).handle(Request::Export {}) else {
        panic!("not exported");
    };
    files
}

#[test]
fn a_backup_makes_the_same_ca_where_there_is_none() {
    let (there, here) = (directory(), directory());
    let path = here.path();
    shell(path, &format!("{KEY}{CERTIFICATE}{LEAF}leaf node3"));
    let mut first = agent(path);
    adopt(&mut first).unwrap();
    first.handle(Request::AdoptLeaves {
        leaves: vec![found(path, "node3")],
    });
    drop(first);
    let import = |agent: &mut Agent, passphrase: &str| {
        refused(agent.handle(Request::Import {
            files: exported(path),
            followed_by: Vec::new(),
            passphrase: Secret::from(passphrase.to_owned()),
        }))
    };
    let mut agent = agent(there.path());
    assert!(import(&mut agent, "wrong").is_err());
    let names = || {
        let mut names: Vec<String> = fs::read_dir(there.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    assert_eq!(names(), [".lock"], "a refused restore left something");
    import(&mut agent, PASSPHRASE).unwrap();
    assert_eq!(
        names(),
        [".ledger.jsonl", ".lock", "ca-key.pem", "ca.pem", "ca.srl"]
    );
    for name in ["ca-key.pem", "ca.pem", "ca.srl", ".ledger.jsonl"] {
        assert_eq!(
            fs::read(there.path().join(name)).unwrap(),
            fs::read(path.join(name)).unwrap()
        );
    }
    // The ledger counts at once, in the same session.
    assert!(matches!(
        issue(&mut agent, "node4"),
        Response::Issued { .. }
    ));
    assert_eq!(ledger(there.path()).entries().len(), 2);
    let error = import(&mut agent, PASSPHRASE).unwrap_err();
    assert!(error.contains("there is a CA"), "{error}");

    // The key alone is lost: the newer ledger stays.
    fs::remove_file(there.path().join("ca-key.pem")).unwrap();
    import(&mut agent, PASSPHRASE).unwrap();
    assert_eq!(ledger(there.path()).entries().len(), 2);
    // Another CA's certificate is not overwritten.
    fs::remove_file(there.path().join("ca-key.pem")).unwrap();
    let other = directory();
    shell(other.path(), &format!("{KEY}{CERTIFICATE}"));
    fs::copy(other.path().join("ca.pem"), there.path().join("new")).unwrap();
    fs::rename(there.path().join("new"), there.path().join("ca.pem")).unwrap();
    assert!(import(&mut agent, PASSPHRASE).is_err());
    assert!(!there.path().join("ca-key.pem").exists());
    let ca = fs::read(other.path().join("ca.pem")).unwrap();
    assert!(Certificate::from_pem(&ca).unwrap().is_ca());
}

#[test]
fn a_key_in_the_clear_is_not_backed_up() {
    let directory = directory();
    let path = directory.path();
    shell(
        path,
        &format!("openssl genrsa -out ca-key.pem 2048 2>/dev/null\n{CERTIFICATE}"),
    );
    let error = refused(agent(path).handle(Request::Export {})).unwrap_err();
    assert!(error.contains("not encrypted"), "{error}");
}
