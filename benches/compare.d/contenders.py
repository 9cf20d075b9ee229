"""Who is compared: how each is started, and what it is.

`benches/compare` calls `words` for the command of one work, and `environment` for what it needs around it. What the
commands do is in contenders/, in the words of each tool.
"""

from dataclasses import dataclass

from lab import ROOT

HERE = ROOT / "benches/compare.d/contenders"
VENV = ROOT / "target/bench-venv"
INVENTORY = ROOT / "inventory/lab.yaml"
SUBJECT = "dtls-deploy"


@dataclass
class Task:
    """One work for one contender. `scratch` is a directory that lasts from one fresh lab to the next."""

    work: str
    key_type: str
    passphrase_file: str
    scratch: str
    program: str

    @property
    def rotates(self):
        return self.work == "rotate"


def bash(task):
    return [HERE / "bash-steps", task.key_type, task.passphrase_file, *(["--rotate"] if task.rotates else [])]


def bash_control(task):
    return [*bash(task), "--control"]


def bash_batched(task):
    return [HERE / "bash-batched", task.key_type, task.passphrase_file, *(["--rotate"] if task.rotates else [])]


def ansible(task):
    rotate = ["-e", "rotate=true"] if task.rotates else []
    return [
        VENV / "bin/ansible-playbook", "-i", INVENTORY, "-e", f"key_type={task.key_type}",
        "-e", f"passphrase_file={task.passphrase_file}", *rotate, HERE / "ansible/site.yaml",
    ]


def pyinfra(task):
    rotate = ["--data", "rotate=yes"] if task.rotates else []
    return [
        VENV / "bin/pyinfra", "-y", HERE / "pyinfra/inventory.py", HERE / "pyinfra/deploy.py",
        "--data", f"key_type={task.key_type}", "--data", f"passphrase_file={task.passphrase_file}", *rotate,
    ]


def dtls_deploy(task):
    rotate = ["rotate", "--force"] if task.rotates else []
    return [
        task.program, *rotate, INVENTORY, "-e", f"dtls_key_type={task.key_type}",
        "--ca-passphrase-file", task.passphrase_file,
    ]


# In the order of the table: from the guides' way to the tool's.
CONTENDERS = {
    "bash": (bash, "as in the guides: an ssh or an scp for each step"),
    "bash-control": (bash_control, "the same over one connection a node (ControlMaster)"),
    "bash-batched": (bash_batched, "all that a node has to do in one script on one ssh, ControlMaster"),
    "ansible": (ansible, "a playbook with community.crypto; pipelining, ControlPersist"),
    "mitogen": (ansible, "the same playbook with mitogen's strategy"),
    "pyinfra": (pyinfra, "a deploy with facts, files and systemd operations"),
    SUBJECT: (dtls_deploy, "`dtls-deploy inventory/lab.yaml`, with its own preflight, undo and whole proof"),
}


def words(name, task):
    return [str(word) for word in CONTENDERS[name][0](task)]


def environment(name, task):
    common = {
        "LC_ALL": "C.UTF-8",
        "XDG_STATE_HOME": f"{task.scratch}/state",
        "ANSIBLE_HOME": f"{task.scratch}/ansible",
        "ANSIBLE_CONFIG": str(HERE / "ansible/ansible.cfg"),
    }
    if name == "mitogen":
        plugins = next(VENV.glob("lib/python3*/site-packages/ansible_mitogen/plugins/strategy"))
        common |= {"ANSIBLE_STRATEGY": "mitogen_linear", "ANSIBLE_STRATEGY_PLUGINS": str(plugins)}
    return common
