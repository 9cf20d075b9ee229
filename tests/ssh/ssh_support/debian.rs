//! Root file systems of Debian releases with sshd, sudo and a shell in them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::sh;

/// Of the account `ubuntu`, for sudo.
pub const PASSWORD: &str = "Tr0ub4dor & 3";

/// Counted up when what is written below changes.
const RECIPE: u32 = 1;

/// The release's root file system, unpacked once into `target/lab`: sshd,
/// sudo, sudo-rs where there is one, and an account `ubuntu` that needs its
/// password for sudo.
pub fn system(suite: &str) -> PathBuf {
    let lab = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/lab");
    fs::create_dir_all(&lab).unwrap();
    let lock = fs::File::create(lab.join(format!("debian-{suite}.lock"))).unwrap();
    lock.lock().unwrap();
    let root = lab.join(format!("debian-{suite}-{RECIPE}"));
    if root.exists() {
        return root;
    }
    let building = lab.join(format!("debian-{suite}.building"));
    let path = building.to_str().unwrap();
    sh("rm", &["-rf", "--one-file-system", path]);
    let sudo_rs = if suite == "bullseye" { "" } else { ",sudo-rs" };
    // Unpacked only: nothing here needs what the packages' scripts do. No
    // mirror is named, and an old release list is as good as a new one.
    sh(
        "mmdebstrap",
        &[
            "--mode=root",
            "--variant=extract",
            "--format=directory",
            "--quiet",
            "--aptopt=Acquire::Languages \"none\"",
            "--aptopt=Acquire::Check-Valid-Until \"false\"",
            &format!("--include=openssh-server,sudo,dash,coreutils,base-files,libc-bin{sudo_rs}"),
            suite,
            path,
        ],
    );
    let write = |name: &str, text: &str| fs::write(building.join(name), text).unwrap();
    write(
        "etc/passwd",
        "root:x:0:0:root:/root:/bin/sh\nsshd:x:101:65534::/run/sshd:/usr/sbin/nologin\nubuntu:x:1000:1000::/home/ubuntu:/bin/sh\n",
    );
    write("etc/group", "root:x:0:\nnogroup:x:65534:\nubuntu:x:1000:\n");
    let hash = sh("openssl", &["passwd", "-6", PASSWORD]);
    write(
        "etc/shadow",
        &format!(
            "root:*:19000:0:99999:7:::\nsshd:*:19000::::::\nubuntu:{}:19000:0:99999:7:::\n",
            hash.trim()
        ),
    );
    // What pam-auth-update would make.
    for (kind, module) in [
        ("auth", "pam_unix.so"),
        ("account", "pam_unix.so"),
        ("password", "pam_unix.so"),
        ("session", "pam_permit.so"),
    ] {
        let line = format!("{kind} required {module}\n");
        write(&format!("etc/pam.d/common-{kind}"), &line);
    }
    write(
        "etc/pam.d/common-session-noninteractive",
        "session required pam_permit.so\n",
    );
    write("etc/sudoers.d/ubuntu", "ubuntu ALL=(ALL:ALL) ALL\n");
    // The package's own script does this.
    if !sudo_rs.is_empty() {
        let sudo_rs = building.join("usr/lib/cargo/bin/sudo");
        fs::set_permissions(sudo_rs, fs::Permissions::from_mode(0o4755)).unwrap();
    }
    for directory in ["mnt", "root", "run", "proc", "home/ubuntu"] {
        fs::create_dir_all(building.join(directory)).unwrap();
    }
    fs::rename(&building, &root).unwrap();
    root
}
