//! No core dump of the program or its agent, and no look into their memory by another
//! process of the same account.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// An account that owns nothing.
const NOBODY: u32 = 65_534;

/// As [`NOBODY`]: tests run as root.
fn as_nobody(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command
        .args([
            "--reuid",
            "65534",
            "--regid",
            "65534",
            "--clear-groups",
            "--",
        ])
        .arg(program)
        .env("HOME", "/nonexistent")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// A directory that everyone may enter, with copies of our programs.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        place.open("");
        let program = Path::new(env!("CARGO_BIN_EXE_dtls-deploy"));
        for name in ["dtls-deploy", "dtls-deploy-agent"] {
            let beside = program.with_file_name(name);
            fs::copy(beside, place.0.path().join(name))
                .expect("cargo build puts the agent beside the program");
        }
        place
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn open(&self, name: &str) {
        fs::set_permissions(self.at(name), fs::Permissions::from_mode(0o755)).unwrap();
    }
}

struct Running(Child);

impl Running {
    fn start(mut command: Command, name: &str) -> Self {
        let running = Self(command.spawn().unwrap());
        let begun = Instant::now();
        // `setpriv` becomes the program, which may start itself again.
        while fs::read_to_string(running.proc("comm"))
            .unwrap_or_default()
            .trim()
            != name
        {
            assert!(
                begun.elapsed() < Duration::from_secs(20),
                "{name} did not start"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
        std::thread::sleep(Duration::from_millis(300));
        running
    }

    fn proc(&self, file: &str) -> String {
        format!("/proc/{}/{file}", self.0.id())
    }

    /// Soft limit of the size of a core dump.
    fn core_limit(&self) -> String {
        let limits = fs::read_to_string(self.proc("limits")).unwrap();
        let line = limits
            .lines()
            .find(|line| line.starts_with("Max core file size"));
        line.unwrap().split_whitespace().nth(4).unwrap().to_owned()
    }

    /// What another process of its account gets when it attaches to it.
    fn attach(&self) -> Output {
        let script = "import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
pid = int(sys.argv[1])
if libc.ptrace(16, pid, 0, 0) != 0: sys.exit(os.strerror(ctypes.get_errno()))
os.waitpid(pid, 0)
libc.ptrace(17, pid, 0, 0)
print(len(open(f'/proc/{pid}/maps').read()))
";
        let mut command = as_nobody(Path::new("/usr/bin/python3"));
        command.args(["-c", script, &self.0.id().to_string()]);
        command.output().unwrap()
    }

    fn is_closed(&self) {
        // It closes itself first of all, but has its name before.
        let begun = Instant::now();
        let is_open = || fs::metadata(self.proc("environ")).unwrap().uid() != 0;
        while is_open() && begun.elapsed() < Duration::from_secs(10) {
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(self.core_limit(), "0");
        // The kernel gives the files of a process that cannot be dumped to root.
        assert_eq!(fs::metadata(self.proc("environ")).unwrap().uid(), 0);
        let attached = self.attach();
        let said = String::from_utf8_lossy(&attached.stderr);
        assert!(
            !attached.status.success() && said.contains("not permitted"),
            "{said}"
        );
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// That the tests below can fail: any other program can be looked into.
#[test]
fn a_program_like_any_other_is_open_to_its_account() {
    let mut command = as_nobody(Path::new("sleep"));
    command.arg("60");
    let sleeping = Running::start(command, "sleep");
    assert_eq!(
        fs::metadata(sleeping.proc("environ")).unwrap().uid(),
        NOBODY
    );
    let attached = sleeping.attach();
    assert!(
        attached.status.success(),
        "{}",
        String::from_utf8_lossy(&attached.stderr)
    );
}

#[test]
fn the_agent_is_closed_to_its_account() {
    let place = Place::new();
    let agent = Running::start(as_nobody(&place.at("dtls-deploy-agent")), "dtls-deploy-age");
    agent.is_closed();
    let mut command = as_nobody(&place.at("dtls-deploy"));
    command.arg("ca-agent");
    Running::start(command, "dtls-deploy").is_closed();
}

/// It reads itself, to be put on a CA node, and starts itself again to take the
/// passphrase out of its environment.
#[test]
fn the_controller_is_closed_to_its_account_and_finds_itself() {
    let place = Place::new();
    fs::remove_file(place.at("dtls-deploy-agent")).unwrap();
    // Anyone who connects waits for its greeting.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let inventory = format!(
        "all:
  vars: {{ansible_user: nobody, ansible_host: 127.0.0.1, ansible_port: {port}, ansible_ssh_common_args: -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null}}
  children:
    ca: {{hosts: {{node1: }}}}
    daemons: {{hosts: {{node1: }}}}
    clients: {{hosts: {{node1: }}}}
"
    );
    fs::write(place.at("inventory.yaml"), inventory).unwrap();
    for with_passphrase in [false, true] {
        let mut command = as_nobody(&place.at("dtls-deploy"));
        command.arg(place.at("inventory.yaml")).arg("--check");
        if with_passphrase {
            command.env("DTLS_CA_PASSPHRASE", "correct horse battery staple");
        }
        let name = if with_passphrase {
            "exe"
        } else {
            "dtls-deploy"
        };
        let mut running = Running::start(command, name);
        running.is_closed();
        if let Some(status) = running.0.try_wait().unwrap() {
            let output = running.0.stderr.take().map(std::io::read_to_string);
            panic!("it ended with {status}: {output:?}");
        }
    }
}
