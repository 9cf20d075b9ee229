//! Directories of the system, which no inventory may use for certificates and keys.
//!
//! Pure; called when the inventory is read, and again by the plan once links on the node are
//! resolved.

use super::names::tidy_path;

/// These, and everything below them: programs, the kernel's own directories, and files that give
/// other programs rights, keys and trust.
const TREES: [&str; 57] = [
    "/bin",
    "/boot",
    "/dev",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/lost+found",
    "/proc",
    "/run",
    "/sbin",
    "/sys",
    // World-writable and emptied: any account can recreate what was removed.
    "/tmp",
    "/etc/NetworkManager",
    "/etc/alternatives",
    "/etc/apt",
    "/etc/ca-certificates",
    "/etc/containerd",
    "/etc/cron.daily",
    "/etc/cron.hourly",
    "/etc/cron.monthly",
    "/etc/cron.weekly",
    "/etc/dbus-1",
    "/etc/default",
    "/etc/dhcp",
    // The credentials and copies of a schedule, if a controller is also a node.
    "/etc/dtls-deploy/schedule",
    "/etc/kernel",
    "/etc/kubernetes",
    "/etc/netplan",
    "/etc/network",
    "/etc/pki/ca-trust",
    "/etc/pki/rpm-gpg",
    "/etc/pki/tls",
    "/etc/polkit-1",
    "/etc/ppp",
    "/etc/security",
    "/etc/selinux",
    "/etc/skel",
    "/etc/ssh",
    "/etc/ssl/certs",
    "/etc/ssl/private",
    "/etc/systemd",
    "/etc/udev",
    "/etc/wireguard",
    "/var/backups",
    "/var/cache",
    "/var/lib/apt",
    "/var/lib/containerd",
    "/var/lib/docker",
    "/var/lib/dpkg",
    "/var/lib/dtls-deploy",
    "/var/lib/rpm",
    "/var/lib/systemd",
    "/var/lock",
    "/var/log",
    "/var/spool",
    "/var/tmp",
];

/// Only these themselves: a separate directory below one of them is fine.
const ALONE: [&str; 17] = [
    "/",
    "/etc",
    "/etc/pki",
    "/etc/ssl",
    "/home",
    "/media",
    "/mnt",
    "/opt",
    "/root",
    "/srv",
    "/usr/local",
    "/usr/local/etc",
    "/usr/local/share",
    "/var",
    "/var/lib",
    "/var/local",
    "/var/opt",
];

/// The directories with an account's login credentials.
const OF_ACCOUNTS: [&str; 2] = [".ssh", ".gnupg"];

/// The system directory that this one is, or is in.
#[must_use]
pub fn system_directory(directory: &str) -> Option<String> {
    let path = resolved(directory);
    let is_or_below = |tree: &str| {
        path.strip_prefix(tree)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    if let Some(alone) = ALONE.iter().find(|alone| path == **alone) {
        return Some((*alone).to_owned());
    }
    if let Some(tree) = TREES.iter().find(|tree| is_or_below(tree)) {
        return Some((*tree).to_owned());
    }
    // Below /usr, only the administrators' own part.
    let local = ["/usr/local/etc", "/usr/local/share"];
    if is_or_below("/usr") && !local.iter().any(|tree| is_or_below(tree)) {
        return Some("/usr".to_owned());
    }
    if is_or_below("/var/run") {
        return Some("/var/run".to_owned());
    }
    if let Some(dropins) = dropins(&path) {
        return Some(dropins);
    }
    let named = path.split('/').find(|part| OF_ACCOUNTS.contains(part));
    named.map(|name| format!("~/{name}"))
}

/// A directory below /etc whose every file some program reads, as sudo, grub and
/// dockerd do: by convention its name ends in `.d`.
fn dropins(path: &str) -> Option<String> {
    let mut reached = "/etc".to_owned();
    for part in path.strip_prefix("/etc/")?.split('/') {
        reached = format!("{reached}/{part}");
        if part.strip_suffix(".d").is_some() {
            return Some(reached);
        }
    }
    None
}

/// Without `//`, `.` and `..`; links are unknown here.
fn resolved(directory: &str) -> String {
    let tidy = tidy_path(directory);
    let mut parts: Vec<&str> = Vec::new();
    for part in tidy.split('/').filter(|part| !part.is_empty()) {
        if part == ".." {
            parts.pop();
        } else {
            parts.push(part);
        }
    }
    let root = if tidy.starts_with('/') { "/" } else { "" };
    format!("{root}{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{ALONE, TREES, system_directory};

    #[test]
    fn what_people_use_is_no_directory_of_the_system() {
        for directory in [
            "/etc/docker",
            "/etc/docker/tls",
            "/etc/docker/keys",
            "/etc/docker/certs",
            "/etc/dtls-deploy/ca",
            "/etc/ssl/docker",
            "/etc/pki/docker",
            "/etc/sshd-keys",
            "/home/ubuntu/.docker",
            "/root/.docker",
            "~/.docker",
            "~/.docker/zone1",
            "~ci/.docker",
            "/srv/ci/docker",
            "/opt/docker/tls",
            "/usr/local/etc/docker",
            "/var/lib/docker-tls",
            "/var/lib/ci/docker",
            "/data/usr/docker",
        ] {
            assert_eq!(system_directory(directory), None, "{directory}");
        }
    }

    #[test]
    fn directories_of_the_system_are_known_in_every_spelling() {
        for (directory, of) in [
            ("/", "/"),
            ("//", "/"),
            ("/..", "/"),
            ("/etc", "/etc"),
            ("/etc/", "/etc"),
            ("/etc/.", "/etc"),
            ("//etc//", "/etc"),
            ("/etc/docker/..", "/etc"),
            ("/etc/docker/../ssh", "/etc/ssh"),
            ("/etc/ssl/certs", "/etc/ssl/certs"),
            ("/etc/ssl/certs/java", "/etc/ssl/certs"),
            ("/etc/docker/certs.d/registry", "/etc/docker/certs.d"),
            ("/etc/tmpfiles.d", "/etc/tmpfiles.d"),
            ("/etc/rc3.d", "/etc/rc3.d"),
            ("/etc/grub.d/x", "/etc/grub.d"),
            ("/etc/dtls-deploy/schedule/lab", "/etc/dtls-deploy/schedule"),
            ("/etc/systemd/system/docker.service.d", "/etc/systemd"),
            ("/usr/bin", "/usr"),
            ("/usr/local/bin", "/usr"),
            ("/usr/local", "/usr/local"),
            ("/usr/share/docker", "/usr"),
            ("/root", "/root"),
            ("/home", "/home"),
            ("/root/.ssh", "~/.ssh"),
            ("~/.ssh", "~/.ssh"),
            ("~ci/.gnupg/x", "~/.gnupg"),
            ("/run/docker", "/run"),
            ("/tmp", "/tmp"),
            ("/tmp/tmp.x1/ca", "/tmp"),
            ("/var/tmp/ci", "/var/tmp"),
            ("/var/run/docker", "/var/run"),
            ("/var/lib/dtls-deploy/armed", "/var/lib/dtls-deploy"),
        ] {
            assert_eq!(
                system_directory(directory).as_deref(),
                Some(of),
                "{directory}"
            );
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Whatever is put between the parts of a path that leads to the same place.
        #[test]
        fn no_spelling_hides_one(
            known in prop::sample::select(TREES.iter().chain(&ALONE).copied().collect::<Vec<_>>()),
            between in prop::collection::vec(prop::sample::select(vec!["/", "//", "/./", "/x/../", "/././/"]), 8),
            end in prop::sample::select(vec!["", "/", "/.", "//", "/y/.."]),
        ) {
            let mut spelled = String::new();
            let parts = known.split('/').filter(|part| !part.is_empty());
            for (part, between) in parts.zip(between.iter().cycle()) {
                spelled.push_str(between);
                spelled.push_str(part);
            }
            if spelled.is_empty() {
                spelled.push('/');
            }
            spelled.push_str(end);
            prop_assert_eq!(system_directory(&spelled), system_directory(known));
            prop_assert!(system_directory(known).is_some());
        }
    }
}
