"""The three-node procedure as a pyinfra deploy.

pyinfra INVENTORY deploy.py --data key_type=ecdsa-p256 --data passphrase_file=FILE [--data rotate=yes]

Facts decide while the deploy is prepared what the CA's node has to make. What it makes is known only while the deploy
runs, so that delivery is made of nested operations. Operations of different hosts are ordered only by those that they
share: that is why two of them are for all hosts. The passphrase goes through standard input.
"""

from io import BytesIO, StringIO
from pathlib import Path

from pyinfra import host, inventory
from pyinfra.facts.files import File
from pyinfra.facts.server import Command
from pyinfra.operations import files, python, server, systemd

DIRECTORY = "/home/ubuntu/.docker"
ALGORITHM = {
    "rsa-4096": "-algorithm RSA -pkeyopt rsa_keygen_bits:4096",
    "ecdsa-p256": "-algorithm EC -pkeyopt ec_paramgen_curve:P-256",
}[host.data.key_type]
LEAVES = {
    "daemon": ("node3", r"subjectAltName = DNS:node3,IP:10.0.0.12\nextendedKeyUsage = serverAuth"),
    "client": ("node1", r"extendedKeyUsage = clientAuth"),
}
DAEMON_JSON = """{
  "tls": true,
  "tlsverify": true,
  "tlscacert": "/home/ubuntu/.docker/ca.pem",
  "tlscert": "/home/ubuntu/.docker/cert.pem",
  "tlskey": "/home/ubuntu/.docker/key.pem"
}
"""
DROP_IN = """[Service]
ExecStart=
ExecStart=/usr/bin/dockerd -H tcp://node3:2376
"""

passphrase = Path(host.data.passphrase_file).read_text().strip()
rotate = host.data.get("rotate", "no") == "yes"

# The names of what this host gets, on the CA's node and here, and their modes.
ROLE = "daemon" if "daemons" in host.groups else "client"
SET = (("ca.pem", "ca.pem", "444"), (f"{ROLE}-cert.pem", "cert.pem", "444"), (f"{ROLE}-key.pem", "key.pem", "400"))


def lasts(name):
    """Whether the leaf is of this CA and valid for another thirty days."""
    certificate = f"{DIRECTORY}/{name}-cert.pem"
    return "good" in (
        host.get_fact(
            Command,
            f"openssl x509 -in {certificate} -noout -checkend 2592000 >/dev/null 2>&1 && "
            f"openssl verify -CAfile {DIRECTORY}/ca.pem {certificate} >/dev/null 2>&1 && echo good || echo none",
        )
        or ""
    )


def collect():
    """What has been issued goes into this program's memory, and nowhere else."""
    if "ca" not in host.groups:
        return
    issued = {}
    for name in ["ca.pem", *(f"{leaf}-{kind}.pem" for leaf in LEAVES for kind in ("cert", "key"))]:
        content = BytesIO()
        host.get_file(f"{DIRECTORY}/{name}", content)
        issued[name] = content.getvalue()
    host.data.issued = issued


def deliver():
    issued = inventory.get_host("node2").data.issued
    # With sudo it is uploaded next to its destination, into a directory that only the login account can enter, and copied.
    done = [
        files.put(
            src=BytesIO(issued[source]),
            dest=f"{DIRECTORY}/{target}",
            user="ubuntu",
            group="ubuntu",
            mode=mode,
            _sudo=True,
            _temp_dir=DIRECTORY,
        )
        for source, target, mode in SET
    ]
    host.data.delivered = any(put.did_change() for put in done)


files.directory(name="The directory", path=DIRECTORY, mode="700")

if "ca" in host.groups:
    if not host.get_fact(File, path=f"{DIRECTORY}/ca.pem"):
        server.shell(
            name="The CA",
            commands=[
                f"umask 077; openssl genpkey -quiet {ALGORITHM} -aes-256-cbc -pass stdin -out ca-key.pem",
                "openssl req -x509 -new -key ca-key.pem -passin stdin -sha256 -days 730 -subj '/CN=docker CA' -out ca.pem",
                "chmod 0400 ca-key.pem && chmod 0444 ca.pem",
            ],
            _chdir=DIRECTORY,
            _stdin=passphrase,
        )
    for leaf, (common_name, extensions) in LEAVES.items():
        if not rotate and lasts(leaf):
            continue
        server.shell(
            name=f"The pair of the {leaf}",
            commands=[
                f"umask 077; rm -f {leaf}-key.pem {leaf}-cert.pem; openssl genpkey -quiet {ALGORITHM} -out {leaf}-key.pem",
                f"printf '{extensions}' >{leaf}.ext; "
                f"openssl req -new -sha256 -key {leaf}-key.pem -subj /CN={common_name} -out {leaf}.csr",
                f"openssl x509 -req -sha256 -days 730 -in {leaf}.csr -CA ca.pem -CAkey ca-key.pem -passin stdin "
                f"-CAcreateserial -extfile {leaf}.ext -out {leaf}-cert.pem 2>/dev/null",
                f"rm {leaf}.csr {leaf}.ext; chmod 0400 {leaf}-key.pem; chmod 0444 {leaf}-cert.pem",
            ],
            _chdir=DIRECTORY,
            _stdin=passphrase,
        )

python.call(name="What has been issued", function=collect)

if "ca" not in host.groups:
    python.call(name="The files under the names that docker looks for", function=deliver)

if "daemons" in host.groups:
    daemon_json = files.put(
        name="daemon.json", src=StringIO(DAEMON_JSON), dest="/etc/docker/daemon.json", mode="644", _sudo=True
    )
    drop_in = files.put(
        name="The drop-in",
        src=StringIO(DROP_IN),
        dest="/etc/systemd/system/docker.service.d/override.conf",
        mode="644",
        _sudo=True,
    )
    systemd.service(
        name="Restart docker",
        service="docker.service",
        restarted=True,
        daemon_reload=True,
        _sudo=True,
        _if=lambda: host.data.delivered or daemon_json.did_change() or drop_in.did_change(),
    )

if "clients" in host.groups:
    files.block(
        name="Environment of the docker command line",
        path="/home/ubuntu/.profile",
        content="export DOCKER_HOST=tcp://node3:2376\nexport DOCKER_TLS_VERIFY=1",
    )

python.call(name="Until all hosts are here", function=lambda: None)

if "clients" in host.groups:
    server.shell(
        name="Without a certificate nobody is let in",
        commands=["! DOCKER_HOST=tcp://node3:2376 docker version"],
    )
    server.shell(
        name="With the certificate the daemon answers",
        commands=["DOCKER_HOST=tcp://node3:2376 DOCKER_TLS_VERIFY=1 docker version"],
    )
