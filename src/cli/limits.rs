//! How many files the program may have open. Each connection is one, and stays
//! open for the whole run; the usual limit of 1024 is there for programs that
//! use select(2) (systemd, NEWS of version 240).

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the limit as far as this account may. Where that is not far enough the
/// connections that find no place say so.
pub(super) fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        // It is refused only where something stranger than a limit forbids it.
        let _ = setrlimit(
            Resource::Nofile,
            Rlimit {
                current: limit.maximum,
                maximum: limit.maximum,
            },
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_files_as_the_account_may_have() {
        let limit = getrlimit(Resource::Nofile);
        let lower = Rlimit {
            current: Some(256),
            ..limit
        };
        setrlimit(Resource::Nofile, lower).unwrap();
        raise_open_files();
        assert_eq!(getrlimit(Resource::Nofile).current, limit.maximum);
    }
}
