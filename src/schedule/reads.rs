//! The local files that the runs of a schedule read.
//!
//! The runs trust all of them, unattended.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::account::Account;
use super::error::ScheduleError;
use base::file::{self, FileFault, FileKind};
use inventory::{DiskFiles, FileAccess, Inventory, Place};

/// Maximum bytes of an SSH configuration.
const LARGEST: u64 = 4 << 20;

/// Maximum depth of included configurations, as in OpenSSH (`readconf.c`).
const DEEPEST: usize = 16;

/// The local file system, recording each file that was found.
#[derive(Debug, Default)]
pub struct Recorded(Mutex<BTreeSet<PathBuf>>);

impl Recorded {
    fn note(&self, place: Place<'_>) {
        let mut paths = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        paths.insert(place.path());
    }

    fn paths(&self) -> BTreeSet<PathBuf> {
        let paths = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        paths.clone()
    }
}

impl FileAccess for Recorded {
    fn kind(&self, place: Place<'_>) -> Result<Option<FileKind>, FileFault> {
        let kind = DiskFiles.kind(place)?;
        if kind.is_some() {
            self.note(place);
        }
        Ok(kind)
    }

    fn read(&self, place: Place<'_>, limit: u64) -> Result<Vec<u8>, FileFault> {
        self.note(place);
        DiskFiles.read(place, limit)
    }

    fn list(&self, place: Place<'_>) -> Result<Vec<String>, FileFault> {
        self.note(place);
        DiskFiles.list(place)
    }
}

#[derive(Debug, Default)]
pub struct Reads {
    files: BTreeSet<PathBuf>,
    ssh_configs: BTreeSet<PathBuf>,
}

impl Reads {
    /// The files that loading the inventory has read, and those that connecting to its hosts will
    /// read.
    #[must_use]
    pub fn of(recorded: &Recorded, inventory: &Inventory) -> Self {
        let connections = inventory.hosts.iter().map(|host| &host.connection);
        let named = connections.flat_map(|connection| &connection.identity_files);
        let mut files = recorded.paths();
        files.extend(named.filter(|path| path.exists()).cloned());
        Self {
            files,
            ssh_configs: BTreeSet::new(),
        }
    }

    /// Adds files that the command line names.
    #[must_use]
    pub fn and(mut self, files: impl IntoIterator<Item = PathBuf>) -> Self {
        self.files.extend(files);
        self
    }

    /// Adds an SSH configuration and the files that it includes.
    #[must_use]
    pub fn and_ssh_configs(mut self, files: impl IntoIterator<Item = PathBuf>) -> Self {
        self.ssh_configs.extend(files);
        self
    }

    /// Requires that only root and the account can change them.
    pub(super) fn check(&self, account: &Account) -> Result<(), ScheduleError> {
        for file in &self.files {
            account.check(file)?;
        }
        for file in &self.ssh_configs {
            check_ssh_config(file, account, 0)?;
        }
        let own = account.home().join(".ssh");
        for name in ["known_hosts", "id_ed25519", "id_ecdsa", "id_rsa"] {
            let file = own.join(name);
            if file.exists() {
                account.check(&file)?;
            }
        }
        let config = own.join("config");
        if config.exists() {
            check_ssh_config(&config, account, 0)?;
        }
        Ok(())
    }
}

/// A configuration and, because ssh does not check the owner of a `-F` file, everything that it
/// includes. A pattern stands for all files in its directory.
fn check_ssh_config(path: &Path, account: &Account, depth: usize) -> Result<(), ScheduleError> {
    account.check(path)?;
    if depth > DEEPEST {
        return Ok(());
    }
    let text =
        file::read_text(path, LARGEST).map_err(|fault| ScheduleError::file(path)(fault.into()))?;
    let plain = |part: &Path| !part.to_string_lossy().contains(['*', '?', '[', '%', '$']);
    let in_home = |word: &str| match word.strip_prefix("~/") {
        Some(rest) => account.home().join(rest),
        // Relative paths begin there, even in a `-F` file.
        None => account.home().join(".ssh").join(word),
    };
    for word in text.lines().flat_map(|line| behind(&FILES_OF_SSH, line)) {
        let whole = in_home(&word);
        if plain(&whole) && whole.exists() {
            account.check(&whole)?;
        }
    }
    for word in text.lines().flat_map(|line| behind(&["include"], line)) {
        let whole = in_home(&word);
        if plain(&whole) {
            if whole.exists() {
                check_ssh_config(&whole, account, depth + 1)?;
            }
            continue;
        }
        let directory = whole.ancestors().skip(1).find(|place| plain(place));
        let directory = directory.unwrap_or(Path::new("/"));
        if !directory.exists() {
            continue;
        }
        account.check(directory)?;
        for name in file::list(directory).unwrap_or_default() {
            let inner = directory.join(name);
            if inner.is_file() {
                check_ssh_config(&inner, account, depth + 1)?;
            }
        }
    }
    Ok(())
}

/// Keywords of `ssh_config(5)` for files that decide which hosts ssh trusts and which account it
/// uses.
const FILES_OF_SSH: [&str; 4] = [
    "identityfile",
    "certificatefile",
    "userknownhostsfile",
    "globalknownhostsfile",
];

/// The words after one of these keywords on a line of an SSH configuration.
fn behind(keywords: &[&str], line: &str) -> Vec<String> {
    let line = line.trim();
    let end = line.find([' ', '\t', '=']).unwrap_or(line.len());
    let (word, rest) = line.split_at_checked(end).unwrap_or((line, ""));
    if !keywords.iter().any(|of| word.eq_ignore_ascii_case(of)) {
        return Vec::new();
    }
    shlex::split(rest.trim_start_matches([' ', '\t', '='])).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
    use std::sync::Arc;

    use super::*;
    use inventory::{Environment, load};

    /// An account that owns nothing here.
    const STRANGER: u32 = 65_534;

    const INVENTORY: &str = "
ca: {hosts: {a: {ansible_ssh_private_key_file: ../key/id}}}
daemons: {hosts: {b: }}
clients: {hosts: {c: }}
";

    /// Every file that a run can read, each in its own directory: the path from the root of the
    /// scene.
    const FILES: [&str; 11] = [
        "i/inventory.yaml",
        "i/group_vars/all.yaml",
        "i/group_vars/ca/one.yaml",
        "i/host_vars/b.yaml",
        "key/id",
        "extra/vars.yaml",
        "agent/program",
        "ssh/config",
        "more/included",
        "known/hosts",
        "own/id",
    ];

    fn scene() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for file in FILES {
            let path = root.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        std::fs::write(root.path().join("i/inventory.yaml"), INVENTORY).unwrap();
        let include = format!(
            "Host *\n Include {0}/more/inc* {0}/none\n UserKnownHostsFile {0}/known/hosts\n IdentityFile={0}/own/id\n",
            root.path().display()
        );
        std::fs::write(root.path().join("ssh/config"), include).unwrap();
        root
    }

    fn check(root: &Path) -> Result<(), ScheduleError> {
        let recorded = Arc::new(Recorded::default());
        let environment = Environment {
            directory: root.join("i"),
            files: recorded.clone(),
            ..Environment::of_process()
        };
        let extra = [format!("@{}/extra/vars.yaml", root.display())];
        let inventory = load(Path::new("inventory.yaml"), &extra, &environment).unwrap();
        let account = Account::this(rustix::process::geteuid().as_raw());
        Reads::of(&recorded, &inventory)
            .and([root.join("agent/program")])
            .and_ssh_configs([root.join("ssh/config")])
            .check(&account)
    }

    fn mode(path: &Path, mode: u32) {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    /// Applies a fault to a file; none if this account cannot.
    fn spoil(fault: &str, file: &Path) -> Option<()> {
        let directory = file.parent().unwrap();
        match fault {
            "everyone writes it" => mode(file, 0o666),
            "a program for everyone" => mode(file, 0o777),
            "everyone writes its directory" => mode(directory, 0o777),
            "everyone adds to its directory" => mode(directory, 0o1777),
            "it is a stranger's" => chown(file, Some(STRANGER), None).ok()?,
            "its directory is a stranger's" => chown(directory, Some(STRANGER), None).ok()?,
            "a link to what everyone writes" => {
                let place = directory.join(".elsewhere");
                std::fs::rename(file, &place).unwrap();
                mode(&place, 0o666);
                symlink(".elsewhere", file).unwrap();
            }
            "a link of a stranger's" => {
                let place = directory.join(".elsewhere");
                std::fs::rename(file, &place).unwrap();
                symlink(".elsewhere", file).unwrap();
                std::os::unix::fs::lchown(file, Some(STRANGER), None).ok()?;
            }
            "a link through a link of a stranger's" => {
                let place = directory.join(".elsewhere");
                let between = directory.join(".between");
                std::fs::rename(file, &place).unwrap();
                symlink(".elsewhere", &between).unwrap();
                symlink(".between", file).unwrap();
                std::os::unix::fs::lchown(&between, Some(STRANGER), None).ok()?;
            }
            other => panic!("{other}"),
        }
        Some(())
    }

    #[test]
    fn everything_that_a_run_reads_is_roots_or_the_accounts() {
        check(scene().path()).unwrap();
        let mut tried = 0;
        for fault in [
            "everyone writes it",
            "a program for everyone",
            "everyone writes its directory",
            "it is a stranger's",
            "its directory is a stranger's",
            "a link to what everyone writes",
            "a link of a stranger's",
            "a link through a link of a stranger's",
        ] {
            for file in FILES {
                let root = scene();
                let path = root.path().join(file);
                if spoil(fault, &path).is_none() {
                    continue;
                }
                tried += 1;
                let found = check(root.path());
                let Err(ScheduleError::Unsafe { path: named, .. }) = found else {
                    panic!("{file}, {fault}: {found:?}");
                };
                let directory = path.parent().unwrap();
                assert!(named.starts_with(directory), "{file}, {fault}: {named:?}");
            }
        }
        assert!(tried >= 4 * FILES.len(), "{tried}");
        // Other accounts cannot add a variables file either.
        let root = scene();
        spoil(
            "everyone adds to its directory",
            &root.path().join("i/group_vars/all.yaml"),
        );
        assert!(check(root.path()).is_err());
    }
}
