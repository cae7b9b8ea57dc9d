"""What the kernel says about a process tree: CPU time and memory, read from /proc."""

import os
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


def parse_stat(line):
    """(pid, parent, session, ticks) of one /proc/PID/stat line; ticks include children that were waited for."""
    pid, rest = line.split(" (", 1)
    fields = rest.rpartition(") ")[2].split()  # the name may hold spaces and brackets
    parent, session = int(fields[1]), int(fields[3])
    ticks = sum(int(field) for field in fields[11:15])  # utime stime cutime cstime
    return int(pid), parent, session, ticks


def parse_pss(text, field="Pss"):
    """PSS, or another field, in KiB from the text of a smaps_rollup file."""
    for line in text.splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1])
    raise ValueError(f"no {field}: line in smaps_rollup")


def below(root, table):
    """`root` with its descendants and the rest of its session (orphans of a dead parent), out of pid → (parent, session, ticks)."""
    tree = {pid for pid, (_, session, _) in table.items() if pid == root or session == root}
    while more := {pid for pid, (parent, _, _) in table.items() if parent in tree} - tree:
        tree |= more
    return tree


def read_all():
    """pid → (parent, session, ticks) for every process."""
    table = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                pid, *rest = parse_stat(Path("/proc", name, "stat").read_text(errors="replace"))
            except OSError:
                continue  # gone between listing and reading
            table[pid] = tuple(rest)
    return table


def tree(*roots):
    """The pids of the process trees that `roots` lead, as they are now."""
    table = read_all()
    return set().union(*(below(root, table) for root in roots))


def cpu_seconds(root):
    """User and system time spent by the tree so far. A worker that died counts through its parent."""
    table = read_all()
    return sum(table[pid][2] for pid in below(root, table)) / TICKS


def pss_kib(*roots, field="Pss"):
    """PSS of the trees, now. As "Rss" pages that several of their processes share count for each."""
    total = 0
    for pid in tree(*roots):
        try:
            total += parse_pss(Path("/proc", str(pid), "smaps_rollup").read_text(), field)
        except OSError:
            continue
    return total
