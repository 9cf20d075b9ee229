//! Names that an inventory gives to issued files (`dtls_issued_name`).
//!
//! What is allowed stays inside the CA directory and touches none of its own files.

use super::store::{CA_CERTIFICATE, CA_KEY, CA_SERIAL, NEXT, RETIRED, StoreError};

/// Whether a file of this name may be issued into the CA directory: relative,
/// every part visible, none of the CA's own files.
pub fn check_name(name: &str) -> Result<(), StoreError> {
    let refuse = |reason| {
        Err(StoreError::Name {
            name: name.to_owned(),
            reason,
        })
    };
    if name.starts_with('/') {
        return refuse("it is not relative to the CA directory");
    }
    if [CA_KEY, CA_CERTIFICATE, CA_SERIAL].contains(&name) {
        return refuse("it is one of the CA's own files");
    }
    // Other files may lie beside those of a CA: a host may be called so.
    if let Some((first, rest)) = name.split_once('/')
        && [NEXT, RETIRED].contains(&first)
        && rest
            .rsplit('/')
            .next()
            .is_some_and(|file| [CA_KEY, CA_CERTIFICATE].contains(&file))
    {
        return refuse("it is a file of the next CA or of a retired one");
    }
    for component in name.split('/') {
        if component.is_empty() {
            return refuse("a part between its slashes is empty");
        }
        if component.starts_with('.') {
            return refuse("a part begins with a dot");
        }
        if component.len() > 200 {
            return refuse("a part is longer than 200 bytes");
        }
        if component.chars().any(char::is_control) {
            return refuse("it contains a control character");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::check_name;

    #[test]
    fn names_inside_the_directory_are_allowed() {
        for name in [
            "daemon-key.pem",
            "node3/daemon-key.pem",
            "a/b/c.pem",
            "ca/ca.pem",
            "...",
        ] {
            assert_eq!(check_name(name).is_ok(), name != "...", "{name:?}");
        }
    }

    #[test]
    fn names_that_lead_out_or_hide_or_collide_are_refused() {
        for name in [
            "",
            "/etc/passwd",
            "..",
            ".",
            "../x",
            "a/../x",
            "a/./x",
            "a//x",
            "a/",
            ".lock",
            ".ledger.jsonl",
            "a/.hidden",
            "ca.pem",
            "ca-key.pem",
            "ca.srl",
            "a\nb",
        ] {
            assert!(check_name(name).is_err(), "{name:?} was allowed");
        }
        assert!(check_name(&"x".repeat(201)).is_err());
    }
}
