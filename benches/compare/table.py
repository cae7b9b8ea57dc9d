"""From samples to medians, ratios and the tables people read. Pure."""

from math import comb
from statistics import median

# key, heading, factor from the sample's unit to the heading's, digits, which direction is better
METRICS = [
    ("cpu_us", "CPU/request, µs", 1, 1, "lower"),
    ("rps", "requests/s", 1, 0, "higher"),
    ("p50_us", "p50, ms", 1e-3, 2, "lower"),
    ("p99_us", "p99, ms", 1e-3, 2, "lower"),
    ("pss_kib", "PSS, MiB", 1 / 1024, 1, "lower"),
    ("open_cpu_us", "CPU/open, ms", 1e-3, 2, "lower"),
    ("open_us", "time/open, ms", 1e-3, 1, "lower"),
    ("open_bytes", "bytes/open, MB", 1e-6, 2, "lower"),
    ("connection_kib", "memory/connection, KiB", 1, 1, "lower"),
    ("rest_pss_kib", "PSS at rest, MiB", 1 / 1024, 1, "lower"),
    ("rest_rss_kib", "RSS at rest, MiB", 1 / 1024, 1, "lower"),
    ("message_cpu_us", "CPU/message, µs", 1, 1, "lower"),
    ("socket_kib", "memory/socket, KiB", 1, 1, "lower"),
    ("drops", "drops", 1, 0, "lower"),
    ("echo_p50_us", "echo p50, ms", 1e-3, 2, "lower"),
    ("echo_p99_us", "echo p99, ms", 1e-3, 2, "lower"),
]


def percentile(values, percent):
    """The nearest-rank percentile: a value that was really measured."""
    ordered = sorted(values)
    if not ordered:
        raise ValueError("no values")
    rank = -(-len(ordered) * percent // 100)  # ceiling
    return ordered[max(int(rank), 1) - 1]


def quartiles(values):
    """(median, lower quartile, upper quartile)."""
    return median(values), percentile(values, 25), percentile(values, 75)


def by_round(samples, load, peer, key):
    return {s["round"]: s[key] for s in samples if s["load"] == load and s["peer"] == peer and key in s}


def ratios(samples, load, key, subject, other):
    """subject/other, one for each round that has both: a disturbance that hits both cancels out."""
    mine, theirs = by_round(samples, load, subject, key), by_round(samples, load, other, key)
    return [mine[r] / theirs[r] for r in sorted(mine.keys() & theirs.keys()) if theirs[r]]


def summarise(samples, loads, peers, subject):
    """One entry for each load and metric: the medians, and the ratios subject/other with their quartiles."""
    result = []
    for load in loads:
        for key, heading, factor, digits, better in METRICS:
            values = {p: list(by_round(samples, load, p, key).values()) for p in peers}
            if not any(values.values()):
                continue  # no figure of this load
            against = {}
            for other in peers:
                found = ratios(samples, load, key, subject, other) if other != subject else []
                if found:
                    mid, low, high = quartiles(found)
                    against[other] = {
                        "median": mid, "q1": low, "q3": high, "rounds": len(found),
                        "below": sum(r < 1 for r in found), "above": sum(r > 1 for r in found)}
            result.append({
                "load": load, "metric": key, "heading": heading, "factor": factor, "digits": digits, "better": better,
                "medians": {p: median(v) for p, v in values.items() if v},
                "ratios": against,
            })
    return result


def verdict(entry, better):
    """Where the subject stands, if so many rounds agree that chance would do it once in twenty (sign test); else "even"."""
    rounds, fewer = entry["below"] + entry["above"], min(entry["below"], entry["above"])  # ties say nothing
    if not rounds:
        return "even"
    chance = 2 * sum(comb(rounds, i) for i in range(fewer + 1)) / 2**rounds
    if chance > 0.05:
        return "even"
    lower = entry["below"] > entry["above"]
    return "ahead" if lower == (better == "lower") else "behind"


def rows(summary, titles, peers, subject):
    """The table as lists of cells, heading first."""
    others = [p for p in peers if p != subject]
    head = ["load", "figure", "better"] + peers + [f"{subject}/{other}" for other in others]
    lines, last = [head], None
    for entry in summary:
        cells = [titles[entry["load"]] if entry["load"] != last else "", entry["heading"], entry["better"]]
        last = entry["load"]
        for peer in peers:
            value = entry["medians"].get(peer)
            cells.append("–" if value is None else f"{value * entry['factor']:.{entry['digits']}f}")
        for other in others:
            ratio = entry["ratios"].get(other)
            cells.append("–" if ratio is None else
                         f"{ratio['median']:.2f} ({ratio['q1']:.2f}–{ratio['q3']:.2f}) {verdict(ratio, entry['better'])}")
        lines.append(cells)
    return lines


def plain(lines):
    """The table for a terminal."""
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    text = []
    for number, line in enumerate(lines):
        if line[0] and number:
            text.append("")
        text.append("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip())
    return "\n".join(text)


def markdown(lines):
    """The same table in Markdown."""
    head, *body = ["| " + " | ".join(line) + " |" for line in lines]
    return "\n".join([head, "|" + "---|" * len(lines[0]), *body])


def growth(summary, sizes):
    """What one request and one connection cost at the most connections, as a multiple of what they cost at the fewest that say
    something; 1.0 all along is linear. `sizes` maps loads to numbers of connections."""
    told = []
    for metric, least in (("cpu_us", 0), ("connection_kib", 500)):  # a few connections live on memory that was there before
        entries = [entry for entry in summary if entry["metric"] == metric and sizes.get(entry["load"], -1) >= least]
        entries.sort(key=lambda entry: sizes[entry["load"]])
        if len(entries) < 2:
            continue
        first, last = entries[0], entries[-1]
        peers = [f"{peer} {last['medians'][peer] / first['medians'][peer]:.2f}" for peer in first["medians"]
                 if first["medians"][peer] > 0 and peer in last["medians"]]
        told.append(f"{first['heading'].split(',')[0]} at {sizes[last['load']]:,} connections, as a multiple of that at "
                    f"{sizes[first['load']]:,}: {', '.join(peers)}")
    return told
