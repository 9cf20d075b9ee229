"""Tables of what `benches/scale` has measured, in Markdown.

In: the measurements, one dictionary each. Out: text. Of several runs the shortest counts.
"""

WORKS = ("fresh", "no-op", "rotate")


def best(records, name, **wanted):
    values = [
        record[name]
        for record in records
        if name in record and all(record[key] == value for key, value in wanted.items())
    ]
    return min(values) if values else None


def row(cells):
    return "| " + " | ".join("" if cell is None else str(cell) for cell in cells) + " |"


def figure(value, digits=2):
    return None if value is None else f"{value:.{digits}f}"


def report(records, forks):
    counts = sorted({record["count"] for record in records})
    tools = list(dict.fromkeys(record["tool"] for record in records))
    heads = ["clients", "tool", "work", "seconds", "× bare loop", "ms a node", "CPU ms a node", "MiB", "CA s"]
    lines = [row(heads), row("---" if place in (1, 2) else "---:" for place in range(len(heads)))]
    for count in counts:
        floor = best(records, "wall", count=count, tool="bare loop")
        for tool in tools:
            for work in WORKS:
                wanted = {"count": count, "tool": tool, "work": work}
                wall = best(records, "wall", **wanted)
                if wall is None:
                    continue
                lines.append(
                    row(
                        [
                            count,
                            tool,
                            work,
                            figure(wall),
                            figure(wall / floor) if floor else None,
                            figure(wall / count * 1000, 1),
                            figure(best(records, "processor", **wanted) / count * 1000, 1),
                            figure(best(records, "largest", **wanted) / 2**20, 0),
                            figure(best(records, "keys", **wanted)),
                        ]
                    )
                )
    lines += ["", f"{forks} nodes at one time; the bare loop connects, logs in and runs the facts script.", ""]
    growth = []
    for small, large in zip(counts, counts[1:]):
        for tool in tools:
            for work in WORKS:
                walls = [best(records, "wall", count=count, tool=tool, work=work) for count in (small, large)]
                if None not in walls:
                    times = (walls[1] / large) / (walls[0] / small)
                    growth.append(row([f"{small} to {large}", tool, work, figure(times)]))
    if growth:
        lines += [row(["clients", "tool", "work", "× time a node"]), row(["---", "---", "---", "---:"]), *growth]
    return "\n".join(lines)
