//! Resource limits of the program on this machine.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the limit of open files to the account's maximum. Each connection uses one for the whole
/// run; the usual limit of 1024 exists for programs that use select(2) (systemd, NEWS of version
/// 240). If that is not enough, the connections that find no descriptor report it.
pub(super) fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        // Fails only if something other than a limit forbids it.
        let _ = setrlimit(
            Resource::Nofile,
            Rlimit {
                current: limit.maximum,
                maximum: limit.maximum,
            },
        );
    }
}

/// Maximum bytes of memory with an unreviewed inventory: a thousand hosts need a tenth of it.
const MEMORY: u64 = 1 << 30;
/// Maximum processor time in seconds, after which the kernel ends the program.
const SECONDS: u64 = 600;

/// Applies these limits, so that no inventory can exhaust this machine.
pub(super) fn bound() {
    for (resource, most) in [(Resource::Data, MEMORY), (Resource::Cpu, SECONDS)] {
        let maximum = getrlimit(resource).maximum;
        let most = maximum.map_or(most, |maximum| maximum.min(most));
        // Fails only if something other than a limit forbids it.
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
