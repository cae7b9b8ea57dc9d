"""What the gateway must reach beside the others, and what it aims at; the numbers were set before it was built, from measurements
of a bare hyper proxy beside nginx and HAProxy on the same work (src/ARCHITECTURE.md has what became of them)."""

from dataclasses import dataclass

from table import verdict

BEST = "the best peer"


@dataclass(frozen=True)
class Target:
    load: str
    metric: str
    beside: str | None  # a peer, the best of them, or nobody: then the figure itself is judged
    must: float
    aim: float | None = None
    higher: bool = False
    factor: float = 1  # from the sample's unit to that of `must`
    unit: str = ""


TARGETS = [
    Target("1k-h1-token", "cpu_us", "haproxy", 0.90, 0.75),
    Target("1k-h1-token", "cpu_us", "nginx", 0.50, 0.40),  # with auth_request and a service
    Target("1k-h1-token", "p99_us", BEST, 1.00),
    Target("1k-h1", "cpu_us", "nginx", 0.85, 0.75),
    Target("1k-h1", "p99_us", BEST, 1.00),
    Target("1k-h2-token", "cpu_us", "haproxy", 1.15, 0.95),
    Target("1k-h2-token", "p99_us", BEST, 1.00),
    Target("1k-h2", "p99_us", BEST, 1.00),
    Target("4m-h1", "cpu_us", "nginx", 0.60, 0.55),
    Target("4m-h1", "rps", BEST, 1.00, higher=True),
    Target("4m-h1", "p99_us", BEST, 1.00),
    Target("handshake-full", "cpu_us", "nginx", 0.90, 0.75),
    Target("editor-open", "open_cpu_us", "nginx", 0.50, 0.30),
    Target("editor-open", "open_bytes", "nginx", 0.85, 0.80),
    Target("sockets-idle", "socket_kib", "haproxy", 1.00),
    Target("sockets-idle", "socket_kib", None, float("inf"), 12.0, unit=" KiB"),
    Target("rest", "rest_rss_kib", None, 20.0, 14.0, factor=1024 / 1e6, unit=" MB"),
]


def against_best(entry, higher):
    """(ratio, name) beside whichever peer leaves the gateway looking worst; None without one."""
    found = [(ratio["median"], name) for name, ratio in entry["ratios"].items() if name != "before"]
    return (min if higher else max)(found, default=None)


def measured(target, entry, subject):
    """(value, who it is beside), or None if it was not measured."""
    if target.beside is None:
        value = entry["medians"].get(subject)
        return None if value is None else (value * target.factor, "")
    if target.beside == BEST:
        return against_best(entry, target.higher)
    ratio = entry["ratios"].get(target.beside)
    return (ratio["median"], target.beside) if ratio else None


def judge(target, value, behind=True):
    """`behind`: whether the rounds agree that the gateway is worse; who must be no worse than the best may be as good."""
    def holds(bound):
        return value >= bound if target.higher else value <= bound
    if target.aim is not None and holds(target.aim):
        return "aim reached"
    if target.must == float("inf"):
        return "aim missed"
    if holds(target.must):
        return "reached"
    return "even" if target.beside == BEST and not behind else "MISSED"


def rows(summary, titles, subject):
    """The table as lists of cells, heading first. What was not measured says so."""
    entries = {(entry["load"], entry["metric"]): entry for entry in summary}
    headings = {entry["metric"]: entry["heading"].split(",")[0] for entry in summary}
    sign = {True: "≥", False: "≤"}
    lines, last = [["load", "figure", "beside", "must", "aim", "measured", ""]], None
    for target in TARGETS:
        entry = entries.get((target.load, target.metric))
        found = measured(target, entry, subject) if entry else None
        beside, behind = target.beside or "–", True
        if found and target.beside == BEST:
            beside = f"the best: {found[1]}"
            behind = verdict(entry["ratios"][found[1]], entry["better"]) == "behind"

        def bound(number):
            return "–" if number in (None, float("inf")) else f"{sign[target.higher]} {number:.2f}{target.unit}"
        lines.append([
            titles.get(target.load, target.load) if target.load != last else "", headings.get(target.metric, target.metric), beside, bound(target.must),
            bound(target.aim), f"{found[0]:.3f}{target.unit}" if found else "–",
            judge(target, found[0], behind) if found else "not measured"])
        last = target.load
    return lines
