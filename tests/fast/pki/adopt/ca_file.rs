//! A ca.pem with other things beside its certificates.

use super::*;

/// A line of a private key's body, wherever it may turn up.
fn key_line(directory: &Path) -> String {
    let key = fs::read_to_string(directory.join("extra-key.pem")).unwrap();
    key.lines().nth(2).unwrap().to_owned()
}

/// The CA, and a key that has nothing to do in its certificate's file.
const WITH_EXTRA: &str = "openssl genrsa -out extra-key.pem 2048 2>/dev/null\n";

fn export(agent: &mut Agent) -> Result<Vec<CaFile>, String> {
    refused(agent.handle(Request::Export {})).map(|response| match response {
        Response::Exported { files } => files,
        other => panic!("{other:?}"),
    })
}

#[test]
fn a_private_key_in_it_is_refused_by_name_and_goes_nowhere() {
    for mix in [
        "cat ca.pem extra-key.pem",
        "cat extra-key.pem ca.pem",
        "cat ca.pem; openssl rsa -in extra-key.pem -aes128 -passout pass:x 2>/dev/null",
        "cat ca.pem; openssl rsa -in extra-key.pem -traditional 2>/dev/null",
        "printf %s \"$(cat ca.pem)\"; cat extra-key.pem",
        "cat ca.pem; sed 1d extra-key.pem",
    ] {
        let directory = directory();
        let path = directory.path();
        shell(path, &format!("{KEY}{CERTIFICATE}{WITH_EXTRA}"));
        let mut agent = agent(path);
        adopt(&mut agent).unwrap();
        shell(path, &format!("{{ {mix}; }} >mixed; mv -f mixed ca.pem"));
        let hint = "sed -n '/^-----BEGIN CERTIFICATE-----/,/^-----END CERTIFICATE-----/p'";
        let mut errors = vec![
            adopt(&mut agent).unwrap_err(),
            export(&mut agent).unwrap_err(),
            refused(issue(&mut agent, "node3")).unwrap_err(),
        ];
        // A block that runs into the key cannot be read at all.
        if !errors[0].contains("cannot be read") {
            for error in &errors {
                assert!(error.contains("holds a private key"), "{mix}: {error}");
                assert!(error.contains(hint), "{mix}: {error}");
            }
        }
        match refused(agent.handle(Request::State {})) {
            Ok(Response::State {
                certificate_pem, ..
            }) => errors.extend(certificate_pem),
            Ok(other) => panic!("{other:?}"),
            Err(error) => errors.push(error),
        }
        for text in errors {
            assert!(!text.contains(&key_line(path)), "{mix}: {text}");
            assert!(!text.contains("PRIVATE"), "{mix}: {text}");
        }
    }
}

#[test]
fn the_command_of_the_hint_keeps_the_certificates() {
    let directory = directory();
    let path = directory.path();
    shell(
        path,
        &format!(
            "{KEY}{CERTIFICATE}{WITH_EXTRA}cp ca.pem before; cat extra-key.pem before >ca.pem"
        ),
    );
    let mut agent = agent(path);
    let error = adopt(&mut agent).unwrap_err();
    let hint = error.split_once(" | ").unwrap().1;
    let command = hint.strip_prefix("keep only the certificates: ").unwrap();
    shell(path, command.split_once(';').unwrap().0);
    assert_eq!(
        fs::read(path.join("ca.pem")).unwrap(),
        fs::read(path.join("before")).unwrap()
    );
    adopt(&mut agent).unwrap();
}

#[test]
fn comments_other_blocks_and_repetitions_stay_where_they_are() {
    let directory = directory();
    let path = directory.path();
    shell(
        path,
        &format!(
            "{KEY}{CERTIFICATE}cp ca.pem plain
            {{ echo '# secret: hunter2'; openssl x509 -in plain -text; openssl genpkey -genparam -algorithm EC -pkeyopt ec_paramgen_curve:P-256; cat plain plain; }} >ca.pem
            cp plain wanted"
        ),
    );
    let wanted = fs::read_to_string(path.join("wanted")).unwrap();
    let raw = fs::read(path.join("ca.pem")).unwrap();
    let mut agent = agent(path);
    adopt(&mut agent).unwrap();
    assert_eq!(
        fs::read(path.join("ca.pem")).unwrap(),
        raw,
        "the operator's file"
    );
    let Response::State {
        certificate_pem, ..
    } = agent.handle(Request::State {})
    else {
        panic!("no state");
    };
    assert_eq!(certificate_pem.as_deref(), Some(wanted.as_str()));
    let files = export(&mut agent).unwrap();
    let kept = files.iter().find(|file| file.name == "ca.pem").unwrap();
    assert_eq!(kept.content.expose(), wanted.as_bytes());
    // A file of another machine is written without them.
    let there = super::directory();
    let files = AuthorityFiles {
        certificate_pem: String::from_utf8(raw).unwrap(),
        key: Secret::new(fs::read(path.join("ca-key.pem")).unwrap()),
    };
    let mut second = super::agent(there.path());
    refused(second.handle(Request::AdoptAuthority {
        files: Some(files),
        passphrase: passphrase(),
    }))
    .unwrap();
    assert_eq!(
        fs::read(there.path().join("ca.pem")).unwrap(),
        wanted.as_bytes()
    );
}

/// dockerd would accept clients of each CA in the file.
#[test]
fn a_ca_file_with_another_ca_is_not_adopted() {
    let directory = directory();
    let path = directory.path();
    shell(
        path,
        &format!(
            "{KEY}{CERTIFICATE}openssl req -x509 -newkey rsa:2048 -nodes -keyout /dev/null -days 90 -subj /CN=other 2>/dev/null >>ca.pem"
        ),
    );
    let refusal = adopt(&mut agent(path)).unwrap_err();
    assert!(refusal.contains("CN=other"), "{refusal}");
}

/// Backups of earlier versions may hold one.
#[test]
fn a_key_in_a_backup_is_left_out_and_said() {
    let (from, to) = (directory(), directory());
    let path = from.path();
    shell(path, &format!("{KEY}{CERTIFICATE}{WITH_EXTRA}"));
    let mut files = export(&mut agent(path)).unwrap();
    let certificate = files.iter_mut().find(|file| file.name == "ca.pem").unwrap();
    let plain = certificate.content.clone();
    let mut mixed = plain.expose().to_vec();
    mixed.extend(fs::read(path.join("extra-key.pem")).unwrap());
    certificate.content = Secret::new(mixed);
    let answer = refused(agent(to.path()).handle(Request::Import {
        files,
        followed_by: Vec::new(),
        passphrase: passphrase(),
    }));
    let Response::Authority { warnings, .. } = answer.unwrap() else {
        panic!("another answer");
    };
    assert!(warnings[0].contains("held a private key"), "{warnings:?}");
    assert_eq!(fs::read(to.path().join("ca.pem")).unwrap(), plain.expose());
}
