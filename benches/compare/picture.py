"""The table as a picture: SVG of our own, bars of the ratios, and lines of what connections cost. It follows a reader's dark or light."""

from html import escape

from loads import ALL, CURVE

BAR, GAP, LEFT, SCALE, WIDTH = 13, 5, 330, 190, 860  # pixels; SCALE is as wide as a ratio of 1
NUMBER = 32  # as wide as a number
CUT = 2.4  # longer bars are cut, and their number says it
SHOWN = ("cpu_us", "open_cpu_us", "message_cpu_us", "rps", "p99_us", "pss_kib", "open_us", "open_bytes", "connection_kib", "socket_kib",
         "rest_pss_kib")
COLOURS = ("#2f7ed8", "#e07b00", "#2a9d5c", "#b13fb1", "#c43c3c", "#7a6a00", "#008b9a", "#666699")
PLOT = 240  # height of the lines' field
STYLE = """
    svg { font: 12px system-ui, sans-serif; }
    text { fill: #222; } .dim { fill: #666; } .axis { stroke: #888; } .one { stroke: #222; stroke-dasharray: 4 3; }
    .ground { fill: #fff; }
    @media (prefers-color-scheme: dark) {
        text { fill: #ddd; } .dim { fill: #999; } .one { stroke: #ddd; } .ground { fill: #15181c; }
    }"""


def text(x, y, words, kind="", anchor="start"):
    return f'<text x="{x:.0f}" y="{y:.0f}" class="{kind}" text-anchor="{anchor}">{escape(words)}</text>'


def colours(peers):
    return {peer: COLOURS[number % len(COLOURS)] for number, peer in enumerate(peers)}


def bars(summary, titles, peers, subject, top):
    """(elements, where they end): for each load and figure, one bar for each peer that the subject is compared with."""
    parts, y, last, colour = [], top, None, colours(peers)
    for entry in summary:
        if entry["metric"] not in SHOWN or not entry["ratios"] or entry["load"] in CURVE:
            continue
        if entry["load"] != last:
            y, last = y + 12, entry["load"]
            parts.append(text(10, y + 11, titles[last]))
            y += 17
        better = "more is better" if entry["better"] == "higher" else ""
        parts.append(text(LEFT - 8, y + 11, f"{entry['heading'].split(',')[0]} {better and f'({better})'}".strip(), "dim", "end"))
        for peer, ratio in entry["ratios"].items():
            wide = min(ratio["median"], CUT) * SCALE
            parts.append(f'<rect x="{LEFT}" y="{y}" width="{wide:.1f}" height="{BAR}" rx="2" fill="{colour[peer]}"/>')
            beside = SCALE if SCALE - NUMBER < wide < SCALE else wide  # a number does not stand on the line
            parts.append(text(LEFT + beside + 5, y + 11, f"{ratio['median']:.2f}", "dim"))
            y += BAR + 2
        y += GAP
    parts.append(f'<line x1="{LEFT + SCALE}" x2="{LEFT + SCALE}" y1="{top}" y2="{y}" class="one"/>')
    return parts, y


def lines(summary, peers, metric, heading, left, top, colour):
    """One field with a line for each peer over the number of connections."""
    wide, points = WIDTH / 2 - 90, {}
    for entry in summary:
        if entry["metric"] == metric and entry["load"] in CURVE:
            for peer, value in entry["medians"].items():
                points.setdefault(peer, []).append((ALL[entry["load"]].connections, value * entry["factor"]))
    if not points:
        return []
    most = max(x for found in points.values() for x, _ in found)
    high = max(max(y for found in points.values() for _, y in found), 1e-9) * 1.1
    parts = [text(left, top - 8, heading),
             f'<path d="M{left} {top}V{top + PLOT}H{left + wide}" fill="none" class="axis"/>',
             text(left - 5, top + 10, f"{high:.0f}", "dim", "end"), text(left - 5, top + PLOT, "0", "dim", "end"),
             text(left + wide, top + PLOT + 16, f"{most:,} connections", "dim", "end")]
    for peer, found in points.items():
        at = [(left + x / most * wide, top + PLOT - max(y, 0) / high * PLOT) for x, y in sorted(found)]
        parts.append(f'<polyline points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in at)}" fill="none" stroke="{colour[peer]}" '
                     'stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour[peer]}"/>' for x, y in at]
    return parts


def draw(summary, titles, peers, subject, conditions):
    """The whole picture."""
    colour = colours(peers)
    others, curve = [peer for peer in peers if peer != subject], any(entry["load"] in CURVE for entry in summary)
    parts = [text(10, 22, f"{subject}, as a share of what the others need: left of the line at 1.0 is less" if others else subject)]
    for number, peer in enumerate(peers if curve else others):
        x = 10 + 105 * number
        parts.append(f'<rect x="{x}" y="34" width="12" height="12" rx="2" fill="{colour[peer]}"/>')
        parts.append(text(x + 17, 44, peer))
    y = 52
    if any(entry["ratios"] and entry["load"] not in CURVE for entry in summary):
        drawn, y = bars(summary, titles, peers, subject, y)
        parts += drawn
    if curve:
        y += 40
        parts += lines(summary, peers, "cpu_us", "CPU/request, µs", 50, y, colour)
        parts += lines(summary, peers, "connection_kib", "memory/connection, KiB", WIDTH / 2 + 50, y, colour)
        y += PLOT + 30
    for line in conditions:
        y += 17
        parts.append(text(10, y, line if len(line) < 140 else line[:137] + "…", "dim"))
    body = "\n".join(parts)
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y + 16:.0f}" width="{WIDTH}">\n<style>{STYLE}\n</style>\n'
            f'<rect class="ground" width="100%" height="100%"/>\n{body}\n</svg>\n')
