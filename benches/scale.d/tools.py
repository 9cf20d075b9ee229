"""Ansible and pyinfra do the last third of the work: they copy pairs that are there already.

In: how many clients. Out: the command and its environment. The pairs are made here with openssl and are in nobody's
time; dtls-deploy makes its own, on the CA node, within its time.
"""

import json
from concurrent.futures import ThreadPoolExecutor

from contenders import VENV
from lab import command
from nodes import HERE, Nodes

FORKS = "50"


def make_pairs(directory, count):
    """ca.pem, and for each client NAME-cert.pem and NAME-key.pem."""
    directory.mkdir(exist_ok=True)
    new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    ca = [directory / "ca.pem", directory / "ca-key.pem"]
    if not ca[0].exists():
        command("openssl", "req", "-x509", *new_key, "-subj", "/CN=CA", "-days", "9", "-out", ca[0], "-keyout", ca[1])

    def pair(number):
        name = f"node{number:04}"
        cert, key = directory / f"{name}-cert.pem", directory / f"{name}-key.pem"
        if not cert.exists():
            signed = ["-CA", ca[0], "-CAkey", ca[1], "-days", "9"]
            command("openssl", "req", "-x509", *new_key, *signed, "-subj", f"/CN={name}", "-out", cert, "-keyout", key)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(pair, range(1, count + 1)))


def install(tool, scratch, count, user):
    """The command that copies, and what it needs around it."""
    pairs = scratch / "pairs"
    make_pairs(pairs, count)
    hosts = {f"node{number:04}": Nodes.address(number) for number in range(1, count + 1)}
    environment = {"SCALE_PAIRS": str(pairs)}
    if tool == "ansible":
        path = scratch / "ansible.json"
        inventory = {"all": {"vars": {"ansible_user": user}, "hosts": {n: {"ansible_host": a} for n, a in hosts.items()}}}
        path.write_text(json.dumps(inventory))
        settings = scratch / "ansible.cfg"
        settings.touch()
        environment |= {
            "ANSIBLE_CONFIG": str(settings), "ANSIBLE_FORKS": FORKS, "ANSIBLE_PIPELINING": "1",
            "ANSIBLE_GATHERING": "explicit", "ANSIBLE_HOME": str(scratch / "ansible"), "ANSIBLE_INVENTORY_ENABLED": "yaml",
            "ANSIBLE_PYTHON_INTERPRETER": "/usr/bin/python3",
        }  # fmt: skip
        return [VENV / "bin/ansible-playbook", "-i", path, HERE / "ansible.yaml"], environment
    path = scratch / "pyinfra_inventory.py"
    listed = [(name, {"ssh_hostname": address, "ssh_user": user}) for name, address in hosts.items()]
    path.write_text(f"clients = {listed!r}\n")
    return [VENV / "bin/pyinfra", "-y", "--parallel", FORKS, path, HERE / "pyinfra_files.py"], environment
