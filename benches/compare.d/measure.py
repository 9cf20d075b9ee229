"""One command, measured: what `benches/compare` starts inside the lab's network.

In: a command, a file for its output, one for the result. Out: JSON with seconds of wall time, seconds of processor time,
the largest resident set that the command or one process it waited for had, and, with --memory, the peak of memory of all
of them together.

The command runs in a cgroup of its own, so that nothing it starts is missed: ssh, Ansible's workers, and the masters
of ControlPersist, which belong to nobody once the command has ended. What is left in the cgroup then is counted up to
that moment and killed, so that the next command connects by itself.
"""

import argparse
import json
import os
import time
from pathlib import Path

# Often enough for a command of 0.3 s. Only in the pass that measures nothing else: it costs processor time.
SAMPLE_EVERY = 0.01


def own_cgroup():
    """The directory of a new cgroup below this process's, in the v2 hierarchy."""
    mount = next(line.split()[1] for line in open("/proc/self/mounts") if line.split()[2] == "cgroup2")
    path = next(line.strip()[4:] for line in open("/proc/self/cgroup") if line.startswith("0::/"))
    directory = Path(mount, path, f"dtls-compare-{os.getpid()}")
    directory.mkdir()
    return directory


def processes(cgroup):
    return [int(pid) for pid in (cgroup / "cgroup.procs").read_text().split()]


def proportional_set_size(pid):
    """Bytes; memory that processes share is divided among them. Nothing for a process that has just ended."""
    try:
        for line in open(f"/proc/{pid}/smaps_rollup"):
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except (FileNotFoundError, ProcessLookupError):
        pass
    return 0


def processor_seconds(cgroup):
    stat = dict(line.split() for line in (cgroup / "cpu.stat").read_text().splitlines())
    return (int(stat["user_usec"]) + int(stat["system_usec"])) / 1e6


def start(command, cgroup, output):
    """Forks; the child enters the cgroup before it becomes the command."""
    pid = os.fork()
    if pid:
        return pid
    try:
        (cgroup / "cgroup.procs").write_text(str(os.getpid()))
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
        os.execvp(command[0], command)
    finally:
        os._exit(127)


def kill_rest(cgroup):
    """Ends what the command left running, and removes the cgroup."""
    (cgroup / "cgroup.kill").write_text("1")
    while processes(cgroup):
        time.sleep(0.005)
    cgroup.rmdir()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--output", required=True)
    parser.add_argument("--result", required=True)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("command", nargs="+")
    arguments = parser.parse_args()

    cgroup = own_cgroup()
    peak = 0
    with open(arguments.output, "wb") as output:
        begun = time.perf_counter()
        pid = start(arguments.command, cgroup, output)
        if arguments.memory:
            while not os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                peak = max(peak, sum(map(proportional_set_size, processes(cgroup))))
                time.sleep(SAMPLE_EVERY)
        _, status, usage = os.wait4(pid, 0)
        wall = time.perf_counter() - begun
    result = {
        "code": os.waitstatus_to_exitcode(status),
        "wall": wall,
        "processor": processor_seconds(cgroup),
        "left": len(processes(cgroup)),
        "largest": usage.ru_maxrss * 1024,
    }
    if arguments.memory:
        result["memory"] = peak
    kill_rest(cgroup)
    Path(arguments.result).write_text(json.dumps(result))


main()
