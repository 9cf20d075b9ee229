"""The lab as `benches/compare` sees it: fresh nodes, measured commands, counters, and proof that the work was done.

Goes through `tests/lab/lab` alone, and reads the counters of the interfaces in the controller's network namespace.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ROOT / "tests/lab/lab"
NODES = ("node1", "node2", "node3")
# What contenders need on nodes beyond Debian's minimum. dtls-deploy, bash and pyinfra need none of it.
PACKAGES = "python3,python3-cryptography"
# The boot is over; this is for what goes on behind it.
SETTLE = 1.0


class Failed(Exception):
    """A command failed, or a contender has not done the work."""


def say(text):
    print(text, file=sys.stderr, flush=True)


def command(*words, **options):
    done = subprocess.run(words, text=True, capture_output=True, stdin=subprocess.DEVNULL, **options)
    if done.returncode:
        raise Failed(f"{' '.join(map(str, words[:6]))}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


class Lab:
    def __init__(self, name, scratch):
        self.name = name
        self.scratch = scratch
        self.environment = {**os.environ, "LAB_NAME": name, "LAB_PACKAGES": PACKAGES}
        self.relay = None

    def control(self, *words):
        return command(PROGRAM, *words, env=self.environment)

    def up(self):
        """A new lab: one that a killed comparison left may have its controller cut off."""
        self.control("down")
        self.control("up")

    def down(self):
        if self.relay:
            self.relay.stdin.close()
            self.relay.wait()
        self.control("down")

    def exec(self, node, script, user="root"):
        return self.control("exec", node, "--user", user, "--", "bash", "-c", script)

    def fresh(self):
        """Freshly installed nodes, whose sshd logs every session."""
        self.control("reset")
        for node in NODES:
            self.exec(
                node,
                "echo LogLevel VERBOSE >/etc/ssh/sshd_config.d/verbose.conf && systemctl reload ssh && "
                "until ss -ltn | grep -q ':22 '; do sleep 0.05; done",
            )
        self.start_count()
        time.sleep(SETTLE)

    def start_count(self):
        """The unit of docker allows three starts a minute."""
        self.exec("node3", "systemctl reset-failed docker.service docker.socket")

    def measure(self, words, environment, memory=False):
        """Runs a command in the lab's network; its measurements, with what sshd and the interfaces counted."""
        output, result = self.scratch / "output", self.scratch / "result"
        result.unlink(missing_ok=True)
        options = ["--memory"] if memory else []
        sessions, octets = self.sessions(), self.octets()
        try:
            command(
                PROGRAM, "run", sys.executable, ROOT / "benches/compare.d/measure.py", *options, "--output", output,
                "--result", result, "--", *words,
                env={**self.environment, **environment}, cwd=ROOT,
            )
            measured = json.loads(result.read_text())
        except (OSError, ValueError) as error:
            raise Failed(f"no measurements of {words[0]}: {error}") from error
        if measured["code"]:
            raise Failed(f"{' '.join(map(str, words))}: exit code {measured['code']}\n{output.read_text()}")
        for name, before, after in (("sessions", sessions, self.sessions()), ("octets", octets, self.octets())):
            measured[name] = {node: after[node] - before[node] for node in NODES}
        return measured

    def sessions(self):
        """Commands and subsystems that each node's sshd has started since the last reset."""
        script = "journalctl --sync; journalctl -t sshd -t sshd-session -o cat | grep -c '^Starting session:' || true"
        return {node: int(self.exec(node, script)) for node in NODES}

    def octets(self):
        """Bytes through each node's interface, both ways."""
        links = json.loads(command("ip", "-n", f"dtls-{self.name}-controller", "-json", "-stats", "link"))
        total = {link["ifname"]: link["stats64"]["rx"]["bytes"] + link["stats64"]["tx"]["bytes"] for link in links}
        return {node: total[node] for node in NODES}

    def timed_on(self, node, words):
        """Seconds that a command takes on a node, without the way there."""
        script = f"begun=$EPOCHREALTIME; {words} >/dev/null; echo $begun $EPOCHREALTIME"
        begun, ended = self.exec(node, script).split()
        return float(ended) - float(begun)

    def latency(self, milliseconds):
        """Delays what goes between the controller and any node; not what nodes say to each other."""
        if not self.relay:
            self.put_relay()
        self.relay.stdin.write(f"{milliseconds / 2}\n")
        self.relay.stdin.flush()
        if self.relay.stdout.readline() != "ok\n":
            raise Failed("the relay that delays frames has ended")

    def put_relay(self):
        """The controller's address moves from the bridge to the far end of: ctl0 = ctl1 - relay - ctl2 = ctl3."""
        batch = (
            "addr del 10.0.0.1/24 dev lab0\n"
            "link add ctl0 type veth peer name ctl1\n"
            "link add ctl2 type veth peer name ctl3\n"
            "link set ctl3 master lab0 up\nlink set ctl2 up\nlink set ctl1 up\nlink set ctl0 up\n"
            "addr add 10.0.0.1/24 dev ctl0\n"
        )
        subprocess.run(
            ["ip", "-n", f"dtls-{self.name}-controller", "-batch", "-"], input=batch, text=True, check=True
        )
        self.relay = subprocess.Popen(
            [PROGRAM, "run", sys.executable, ROOT / "benches/compare.d/relay.py", "ctl1", "ctl2"],
            env=self.environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )


# What a client and a daemon must have, one line each; private keys as hashes.
HELD = """cd /home/ubuntu/.docker
stat -c 'mode %n %a %U' . ca.pem cert.pem key.pem
sha256sum ca.pem cert.pem key.pem | sed 's/^/hash /'
echo "serial $(openssl x509 -in cert.pem -noout -serial)"
echo "verified $(openssl verify -CAfile ca.pem cert.pem)"
echo "size $(openssl x509 -in cert.pem -noout -text | grep -o 'Public-Key: ([0-9]* bit)')"
[ "$(openssl x509 -in cert.pem -noout -pubkey)" = "$(openssl pkey -in key.pem -pubout)" ] && echo pair
"""
SIZES = {"ecdsa-p256": "256 bit", "rsa-4096": "4096 bit"}


def expect(condition, what, seen):
    if not condition:
        raise Failed(f"the work was not done: {what}; seen:\n{seen}")


def state(lab, key_type):
    """Looks at everything the procedure asks for with docker, curl and openssl, and returns what may change."""
    found = {}
    for node in ("node1", "node3"):
        held = lab.exec(node, HELD)
        lines = held.splitlines()
        for line in ("mode . 700 ubuntu", "mode key.pem 400 ubuntu", "verified cert.pem: OK", "pair"):
            expect(line in lines, f"{node}: {line}", held)
        expect(SIZES[key_type] in held, f"{node}: a key of {SIZES[key_type]}", held)
        found[node] = held
        found[f"{node} serial"] = next(line for line in lines if line.startswith("serial "))
        found[f"{node} key"] = next(line for line in lines if line.startswith("hash ") and line.endswith(" key.pem"))
        found[f"{node} CA"] = next(line for line in lines if line.startswith("hash ") and line.endswith(" ca.pem"))
    expect(found["node1 CA"].split()[1] == found["node3 CA"].split()[1], "one CA", found)

    authority = lab.exec(
        "node2",
        "cd /home/ubuntu/.docker && stat -c 'mode %n %a %U' . *-key.pem && head -n 1 ca-key.pem && sha256sum *.pem",
    )
    for line in ("mode . 700 ubuntu", "mode ca-key.pem 400 ubuntu", "-----BEGIN ENCRYPTED PRIVATE KEY-----"):
        # The older way to write the same says it in the second line.
        expect(line in authority, f"node2: {line}", authority)
    found["node2"] = authority

    arguments = lab.exec("node3", "ps -C dockerd -o args=")
    expect("-H tcp://node3:2376" in arguments, "dockerd listens on tcp://node3:2376", arguments)
    found["invocation"] = lab.exec("node3", "systemctl show -P InvocationID docker.service")
    served = lab.exec(
        "node1",
        "openssl s_client -connect node3:2376 </dev/null 2>/dev/null | openssl x509 -noout -serial",
    )
    expect(f"serial {served.strip()}" == found["node3 serial"], "the daemon serves what it holds", served)

    said = lab.exec("node1", "bash -lc 'docker version' 2>&1; true", user="ubuntu")
    expect("Server:" in said, "docker version answers at a login", said)
    said = lab.exec("node1", "DOCKER_HOST=tcp://node3:2376 docker version 2>&1 && echo LET-IN; true")
    expect("LET-IN" not in said, "plain HTTP is refused", said)
    said = lab.exec(
        "node1",
        "curl -sS -m 5 --cacert /home/ubuntu/.docker/ca.pem https://node3:2376/version 2>&1 && echo LET-IN; true",
    )
    expect("LET-IN" not in said and "certificate" in said, "without a certificate nobody is let in", said)
    return found


def check(work, before, after):
    """What `fresh`, `no-op` and `rotate` must have changed, and must not."""
    restarted = before["invocation"] != after["invocation"]
    expect(restarted == (work != "no-op"), f"{work}: docker restarted: {restarted}", after["invocation"])
    if work == "no-op":
        for name in before:
            expect(before[name] == after[name], f"no-op: {name} stays", f"{before[name]}\n{after[name]}")
    if work == "rotate":
        for node in ("node1", "node3"):
            expect(before[f"{node} CA"] == after[f"{node} CA"], f"rotate: {node}: the CA stays", after[node])
            for name in (f"{node} serial", f"{node} key"):
                expect(before[name] != after[name], f"rotate: {name} is another", after[node])
