"""Tables of what `benches/compare` has measured, in Markdown.

In: the measurements, one dictionary each, as they are in the file of a comparison. Out: lines for the terminal and the
README.
"""

from statistics import median

from contenders import CONTENDERS, SUBJECT
from lab import NODES

WORKS = {
    "fresh": "a first deployment on fresh nodes",
    "no-op": "again: nothing changes",
    "rotate": "both leaves anew, restart",
}


class Measurements:
    def __init__(self, records):
        self.records = records

    def values(self, name, **wanted):
        """All values of one kind, of the records that are as wanted."""
        return [
            record[name]
            for record in self.records
            if name in record and all(record.get(key) == value for key, value in wanted.items())
        ]

    def median(self, name, **wanted):
        values = self.values(name, **wanted)
        return median(values) if values else None

    def of_nodes(self, name, unit, **wanted):
        """Medians of what was counted on each node, as one word."""
        counted = self.values(name, **wanted)
        return "/".join(f"{median(one[node] for one in counted) / unit:.0f}" for node in NODES)


def figure(value, digits=2):
    return "" if value is None else f"{value:.{digits}f}"


def ratio(value, subject):
    return f"{value / subject:.1f}" if value is not None and subject else ""


def table(measurements, key_type, latency):
    """One row for each work and contender."""
    contenders = [name for name in CONTENDERS if measurements.values("wall", contender=name, key_type=key_type)]
    head = ["work", "contender", "seconds", "shortest to longest", "×", "CPU s", "×", "memory MB", "execs", "kB"]
    if latency:
        head += ["round trips", "after the handshake"]
    lines = [row(head), row("---" if place < 2 else "---:" for place in range(len(head)))]
    for work in WORKS:
        for name in contenders:
            wanted = {"key_type": key_type, "work": work, "latency": latency, "warm_up": False}
            own = {**wanted, "contender": name}
            subject = {**wanted, "contender": SUBJECT}
            wall = measurements.values("wall", **own)
            if not wall:
                continue
            processor = measurements.median("processor", **own)
            memory = measurements.median("memory", contender=name, work=work)
            cells = [
                work,
                name,
                figure(median(wall)),
                f"{min(wall):.2f} to {max(wall):.2f}",
                ratio(median(wall), measurements.median("wall", **subject)),
                figure(processor),
                ratio(processor, measurements.median("processor", **subject)),
                figure(memory / 1e6 if memory else None, 0),
                measurements.of_nodes("sessions", 1, **own),
                measurements.of_nodes("octets", 1000, **own),
            ]
            if latency:
                cells += round_trips(measurements, key_type, work, name, latency)
            lines.append(row(cells))
    return lines


def slower(measurements, latency, **wanted):
    """Round trips that are waited for one after the other: what the delay adds, divided by it."""
    far, near = (measurements.median("wall", latency=delay, warm_up=False, **wanted) for delay in (latency, 0))
    return None if far is None or near is None else (far - near) / (latency / 1000)


def round_trips(measurements, key_type, work, name, latency):
    if work != "no-op":
        return ["", ""]
    own = slower(measurements, latency, key_type=key_type, work=work, contender=name)
    handshake = slower(measurements, latency, floor="handshake")
    return [figure(own, 1), figure(None if own is None or handshake is None else own - handshake, 1)]


def row(cells):
    return f"| {' | '.join(cells)} |"


FLOORS = {
    "handshake": "ssh to the three nodes in parallel until it is logged in, curve25519",
    "ssh": "`ssh true` to the three nodes in parallel, curve25519",
    "daemon-reload": "`systemctl daemon-reload`, on the node",
    "restart": "`systemctl restart docker`, on the node",
}


def floors(measurements, latency):
    """What nobody can be quicker than."""
    lines = [row(["floor", "seconds", "shortest to longest"]), row(["---", "---:", "---:"])]
    for floor, what in FLOORS.items():
        for delay in sorted({0, latency}):
            wall = measurements.values("wall", floor=floor, latency=delay, warm_up=False)
            if wall:
                suffix = f", {delay:g} ms" if latency and floor in ("ssh", "handshake") else ""
                lines.append(row([what + suffix, figure(median(wall)), f"{min(wall):.2f} to {max(wall):.2f}"]))
    return lines


def report(head, records):
    """Everything, from the head of the file and its records."""
    measurements = Measurements(records)
    latency = head["latency"]
    text = [f"{head['machine']}.", f"{head['versions']}.", ""]
    runs = "One run" if head["runs"] == 1 else f"Medians of {head['runs']} runs"
    text += [f"{runs}, contenders in turn. × is the ratio to {SUBJECT}."]
    if latency:
        text += [f"{latency:g} ms added to every round trip between the controller and the nodes."]
    text += [
        "CPU and memory are the controller's, with everything started there. Memory is the peak of all processes",
        "together, shared pages counted once, from a pass that is not timed. Execs are sessions that sshd started, kB",
        f"what went through the interface, both ways; on {'/'.join(NODES)}.",
        "",
    ]
    for key_type in head["key_types"]:
        text += [f"**{key_type}**", "", *table(measurements, key_type, latency), ""]
    text += [*floors(measurements, latency), ""]
    text += [f"- {name}: {CONTENDERS[name][1]}" for name in CONTENDERS if measurements.values("wall", contender=name)]
    text += [f"- {work}: {what}" for work, what in WORKS.items()]
    return "\n".join(text)
