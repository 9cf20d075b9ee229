"""The nodes of `benches/scale`: many real sshd on one machine, each with an address and a root directory of its own.

In: how many, and where they may write. Out: running nodes, and the files a controller needs to reach them. Runs inside
the namespaces that `benches/scale` has made: whatever happens, all nodes end with the first process of those.
"""

import os
import shutil
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lab import PACKAGES, ROOT, Failed, command

HERE = ROOT / "benches/scale.d"
USER = "ubuntu"
# The node's own: mounts, processes, root directory. sshd is its first process; when it ends, all of the node does.
BOOT = """
set -e
mount -t overlay overlay -o "lowerdir=$2,upperdir=$1/upper,workdir=$1/work" "$1/root"
cd "$1/root"
mount -t proc proc proc
mount --bind /dev dev
mount -t tmpfs -o mode=755 run run
mkdir run/sshd
exec chroot . /usr/sbin/sshd -D -e -o ListenAddress="$3" -o PidFile=none
"""
# The lab's own recipe and cache; see docs/lab.md.
ROOTFS = """
set -euo pipefail
LAB_SOURCE=$1/tests/lab LAB_STATE_DIR=$1/target/lab LAB_NAME=scale
mkdir -p "$LAB_STATE_DIR"
source "$LAB_SOURCE/common.sh"
source "$LAB_SOURCE/rootfs.sh"
ensure_rootfs bookworm
"""


def root_file_system():
    """The lab's root file system with Python in it, for Ansible; built when it is missing."""
    name = command("bash", "-c", ROOTFS, "rootfs", ROOT, env={**os.environ, "LAB_PACKAGES": PACKAGES})
    return ROOT / "target/lab" / name.strip()


class Nodes:
    """node0 is the CA's, node1 to nodeN are the clients'."""

    def __init__(self, scratch, rootfs):
        self.scratch, self.rootfs = scratch, rootfs
        self.running = []
        self.ssh = scratch / "ssh"
        self.ssh.mkdir(mode=0o700)
        self.key = self.ssh / "id_ed25519"
        command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "benches/scale", "-f", self.key)
        # Between the root file system and what a node writes: what all of these nodes have in common.
        self.common = scratch / "common"
        home = self.common / "home" / USER
        authorized = home / ".ssh/authorized_keys"
        authorized.parent.mkdir(parents=True, mode=0o700)
        shutil.copy(f"{self.key}.pub", authorized)
        for path in (home, authorized.parent, authorized):
            os.chown(path, 1000, 1000)
        authorized.chmod(0o600)
        for name in ("systemctl", "systemd-run"):
            path = self.common / "usr/bin" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(HERE / "systemctl", path)

    @staticmethod
    def address(number):
        """127.1.0.1 is node0."""
        return f"127.1.{(number + 1) // 250}.{(number + 1) % 250 + 1}"

    def addresses(self):
        return [self.address(number) for number in range(len(self.running))]

    def directory(self, number):
        return self.scratch / "nodes" / str(number)

    def start(self, count):
        """Fresh nodes, the CA's among them, up to this many clients."""
        self.stop()
        keys = self.scratch / "host-keys"
        keys.mkdir(exist_ok=True)
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(self.prepare, range(count + 1)))
        known = [f"{self.address(n)} {(keys / f'{n}.pub').read_text()}" for n in range(count + 1)]
        (self.ssh / "known_hosts").write_text("".join(known))
        for number in range(count + 1):
            directory = self.directory(number)
            with (directory / "log").open("wb") as log:
                self.running.append(
                    subprocess.Popen(
                        [
                            "unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", BOOT, "boot",
                            directory, f"{self.common}:{self.rootfs}", self.address(number),
                        ],
                        stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                    )
                )  # fmt: skip
        for number in range(count + 1):
            self.wait(number)

    def prepare(self, number):
        """Directories and the host key; the key outlives the node, as known_hosts does."""
        directory = self.directory(number)
        for name in ("upper/etc/ssh", "work", "root"):
            (directory / name).mkdir(parents=True)
        key = self.scratch / "host-keys" / str(number)
        if not key.exists():
            command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", key)
        shutil.copy(key, directory / "upper/etc/ssh/ssh_host_ed25519_key")

    def wait(self, number):
        """Until sshd says that it listens."""
        end = time.monotonic() + 60
        log = self.directory(number) / "log"
        while b"Server listening on" not in log.read_bytes():
            if self.running[number].poll() is not None or time.monotonic() > end:
                raise Failed(f"node{number} does not start:\n{log.read_text()}")
            time.sleep(0.005)

    def inside(self, number):
        """The node's root directory as the node sees it."""
        pid = self.running[number].pid
        child = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0]
        return Path("/proc", child, "root")

    def upper(self, number):
        """What the node has written."""
        return self.directory(number) / "upper"

    def stop(self):
        for process in self.running:
            process.kill()
        for process in self.running:
            process.wait()
        self.running = []
        shutil.rmtree(self.scratch / "nodes", ignore_errors=True)
