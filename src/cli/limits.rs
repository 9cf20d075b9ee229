//! What the program may use of this machine.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the limit of open files as far as this account may. Each connection is one, and stays
/// open for the whole run; the usual limit of 1024 is there for programs that use select(2)
/// (systemd, NEWS of version 240). Where that is not far enough the
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

/// Memory of a run with an unreviewed inventory, in bytes: a thousand hosts need a tenth.
const MEMORY: u64 = 1 << 30;
/// Its processor time in seconds, after which the kernel ends it.
const SECONDS: u64 = 600;

/// Whatever an inventory makes the program do, this machine goes on.
pub(super) fn bound() {
    for (resource, most) in [(Resource::Data, MEMORY), (Resource::Cpu, SECONDS)] {
        let maximum = getrlimit(resource).maximum;
        let most = maximum.map_or(most, |maximum| maximum.min(most));
        // It is refused only where something stranger than a limit forbids it.
        let _ = setrlimit(
            resource,
            Rlimit {
                current: Some(most),
                maximum: Some(most),
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
