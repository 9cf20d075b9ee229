//! Keys that earlier versions or OpenSSL have encrypted for less work.

use std::thread::sleep;
use std::time::Duration as Wait;

use super::*;

/// As this program wrote them before, and as `openssl` does.
const OLDER: [&str; 4] = [
    "openssl pkcs8 -topk8 -v2 aes-256-cbc -scrypt -scrypt_N 16384 -scrypt_r 8 -scrypt_p 3 -in plain.pem -passout env:P -out ca-key.pem",
    "openssl pkcs8 -topk8 -v2 aes-256-cbc -scrypt -scrypt_N 16384 -scrypt_r 8 -scrypt_p 1 -in plain.pem -passout env:P -out ca-key.pem",
    "openssl pkcs8 -topk8 -v2 aes-256-cbc -v2prf hmacWithSHA256 -iter 600000 -in plain.pem -passout env:P -out ca-key.pem",
    "openssl pkey -traditional -aes256 -in plain.pem -passout env:P -out ca-key.pem",
];

fn older(path: &Path, command: &str) {
    shell(
        path,
        &format!(
            "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out plain.pem 2>/dev/null
            {command}
            {CERTIFICATE}"
        ),
    );
}

fn reencrypt(agent: &mut Agent, passphrase: &str) -> Result<Vec<String>, String> {
    let passphrase = Secret::from(passphrase.to_owned());
    refused(agent.handle(Request::Reencrypt { passphrase })).map(|response| match response {
        Response::Reencrypted { said } => said,
        other => panic!("{other:?}"),
    })
}

#[test]
fn an_older_key_is_encrypted_again_when_it_is_used_and_openssl_opens_it() {
    for command in OLDER {
        let directory = directory();
        let path = directory.path();
        older(path, command);
        let file = || fs::read(path.join("ca-key.pem")).unwrap();
        let public = "openssl pkey -in ca-key.pem -passin env:P -pubout";
        let (before, public_before) = (file(), shell(path, public));
        let mut agent = agent(path);
        assert!(reencrypt(&mut agent, "another").is_err());
        let passphrase = passphrase();
        refused(agent.handle(Request::OpenAuthority { passphrase })).unwrap();
        assert_eq!(file(), before, "{command}: opening it changes nothing");
        let said = reencrypt(&mut agent, PASSPHRASE).unwrap();
        assert!(
            said.len() == 1 && said[0].contains("ca-key.pem"),
            "{said:?}"
        );
        let after = file();
        assert_ne!(after, before, "{command}");
        assert_eq!(shell(path, public), public_before, "{command}");
        let parameters = shell(path, "openssl asn1parse -in ca-key.pem");
        for line in [
            ":scrypt",
            ":aes-256-cbc",
            "INTEGER           :4000",
            "INTEGER           :0F",
            "INTEGER           :04",
        ] {
            assert!(
                parameters.contains(line),
                "{command}: {line} is missing in {parameters}"
            );
        }
        // Once is enough, and the key that was opened is still the one that signs.
        assert_eq!(
            reencrypt(&mut agent, PASSPHRASE).unwrap(),
            Vec::<String>::new()
        );
        assert!(matches!(
            issue(&mut agent, "node3"),
            Response::Issued { .. }
        ));
        assert_eq!(file(), after);
        let mode = fs::metadata(path.join("ca-key.pem")).unwrap().mode();
        assert_eq!(mode & 0o7777, 0o400);
    }
}

/// Not a test of its own: the process that the next one kills.
#[test]
#[ignore = "started by a_kill_while_it_is_encrypted_again_leaves_a_key_that_opens"]
fn reencrypt_until_killed() {
    let Some(path) = given_directory() else {
        return;
    };
    let mut agent = agent(&path);
    has_begun();
    loop {
        reencrypt(&mut agent, PASSPHRASE).unwrap();
        fs::copy(path.join("older.pem"), path.join(".older")).unwrap();
        fs::rename(path.join(".older"), path.join("ca-key.pem")).unwrap();
    }
}

#[test]
fn a_kill_while_it_is_encrypted_again_leaves_a_key_that_opens() {
    let directory = directory();
    let path = directory.path();
    older(path, OLDER[1]);
    shell(path, "cp ca-key.pem older.pem");
    for attempt in 0_u64..8 {
        let mut child = start(module_path!(), "reencrypt_until_killed", path);
        sleep(Wait::from_millis(150 + attempt * 97));
        child.kill().unwrap();
        child.wait().unwrap();
        let mut agent = agent(path);
        assert!(matches!(
            issue(&mut agent, "node3"),
            Response::Issued { .. }
        ));
        shell(
            path,
            "openssl pkey -in ca-key.pem -passin env:P -noout; ! ls .*.unfinished 2>/dev/null",
        );
    }
}
