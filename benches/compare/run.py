#!/usr/bin/env python3
"""The gateway beside nginx and HAProxy on the same work: CPU per request, requests/s, p50, p99, memory, as ratios.

    python3 benches/compare/run.py                               the usual loads, nginx, HAProxy and the gateway, 7 rounds
    python3 benches/compare/run.py --only 1k-h2                   one load
    python3 benches/compare/run.py --only targets --targets       what the gateway must reach, reached or missed
    python3 benches/compare/run.py --peers all --only curve       what connections cost, everybody who is here

Needs Python 3.11, nothing but its standard library, and the Debian packages that --install names. See README.md beside this file.
"""

import sys

sys.dont_write_bytecode = True  # nothing is left behind

import argparse
import dataclasses
import json
import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import measure
import peers
import picture
import programs
import sockets
import table
import targets
from envoy import Envoy
from gateway import Gateway
from golang import Caddy, Traefik
from haproxy import Haproxy, HaproxyWheel
from loads import ALL, CURVE, EXTRA, GROUPS, LOADS
from nginx import Nginx, NginxWheel
from processes import Launcher

ROOT = Path(__file__).resolve().parents[2]
OTHERS = {peer.name: peer for peer in (Nginx, NginxWheel, Haproxy, HaproxyWheel, Envoy, Caddy, Traefik)}
NAMES = [*OTHERS, "gateway"]
USUAL = ["nginx", "haproxy", "gateway"]
BUILD = "cargo build --profile dist -p rapidpm-gateway -p jwt-service"


def parse_arguments(argv):
    def between(low, high):
        def number(text):
            value = int(text)
            if not low <= value <= high:
                raise argparse.ArgumentTypeError(f"must be between {low} and {high}")
            return value
        return number

    def names(known, groups):
        def split(text):
            found = [name for word in text.split(",") if word for name in groups.get(word, [word])]
            for name in found:
                if name not in known:
                    raise argparse.ArgumentTypeError(f"no {name!r}; there are {', '.join([*known, *groups])}")
            return [name for name in known if name in found]
        return split

    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], epilog=f"needs: {programs.APT}")
    parser.add_argument("--gateway", metavar="BINARY", help="default: target/dist/rapidpm-gateway, else target/release/…")
    parser.add_argument("--before", metavar="BINARY", help="an older gateway as one more peer; the same one shows the noise")
    parser.add_argument("--peers", type=names(NAMES, {"all": NAMES}), default=USUAL, metavar="LIST",
                        help=f"of {','.join(NAMES)}, or all; default: {','.join(USUAL)}")
    parser.add_argument("--only", type=names(list(ALL), GROUPS), default=list(LOADS), metavar="LOAD",
                        help=f"one or several of {','.join(ALL)}, or {', '.join(GROUPS)}; default: all but {','.join(EXTRA)}")
    parser.add_argument("--sockets", type=between(10, 100_000), default=ALL["sockets-idle"].sockets, metavar="N",
                        help="editor sockets of sockets-idle and sockets-busy; default %(default)s")
    parser.add_argument("--hold", type=between(2, 3600), default=10, metavar="S",
                        help="how long they are held, or talk; default %(default)s seconds")
    parser.add_argument("--rounds", type=between(1, 100), default=7, metavar="N", help="default 7")
    work = parser.add_mutually_exclusive_group()
    work.add_argument("--requests", type=between(100, 1_000_000), metavar="N",
                      help="requests of a plain load, others in proportion; default: the load's own number")
    work.add_argument("--seconds", type=between(1, 60), metavar="S", help="as many requests as the peer does in about S seconds, where h2load drives")
    parser.add_argument("--minutes", type=between(1, 240), default=30, metavar="M", help="no new round after M minutes; default 30")
    parser.add_argument("--seed", type=int, help="of the order; default: a new one, which is printed")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every sample and the summary")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="draw it, as SVG")
    parser.add_argument("--targets", action="store_true", help="print what the gateway must reach, and whether it does")
    parser.add_argument("--install", action="store_true", help="print the commands that install what this needs, and end")
    return parser.parse_args(argv)


def choose_peers(wanted, gateway, before):
    """The peers that are here. Ends the program where going on would measure nothing useful."""
    missing = [name for name in ("nginx", "h2load", "openssl") if not shutil.which(name)]
    if missing:
        stop(2, f"not installed: {', '.join(missing)} (nginx is also the upstream, h2load the driver); {programs.APT}")
    ours = programs.find_gateway(gateway, ROOT)
    service = programs.find_program("jwt-service", None, ROOT, ours)
    chosen = []
    for name in wanted:
        if name == "gateway":
            if ours is None:
                where = gateway or "target/dist/rapidpm-gateway or target/release/rapidpm-gateway"
                stop(2, f"no gateway at {where}; build it with `{BUILD}`, name one with --gateway BINARY, "
                        "or leave it out with --peers nginx,haproxy")
            chosen.append(Gateway(ours))
            continue
        try:
            program, environment = programs.find_peer(name, ROOT)
            peer = OTHERS[name](program, environment, **({"service": service} if name == "nginx" else {}))
            peer.version()
        except (programs.Missing, OSError, subprocess.TimeoutExpired) as error:
            print(f"left out: {name}: {error}")
        else:
            chosen.append(peer)
    if before:
        program = programs.find_gateway(before, ROOT)
        if program is None:
            stop(2, f"--before {before} is not a program")
        chosen.insert(0, Gateway(program, "before"))
    if not chosen:
        stop(2, "nobody left to measure")
    return chosen


def stop(code, text):
    print(f"compare: {text}", file=sys.stderr)
    raise SystemExit(code)


class Progress:
    """One line that is rewritten on a terminal; a line for each measurement elsewhere."""

    def __init__(self):
        self.terminal = sys.stderr.isatty()

    def show(self, text):
        print(f"\r\033[K{text}" if self.terminal else text, end="" if self.terminal else "\n", file=sys.stderr, flush=True)

    def clear(self):
        if self.terminal:
            print("\r\033[K", end="", file=sys.stderr, flush=True)


def request_doubts(who, s):
    if s.get("upstream_requests", s.get("requests", 0)) < s.get("requests", 0) - s["failed"]:
        yield f"{who}: only {s['upstream_requests']} of {s['requests']} requests reached the upstream"
    if s.get("upstream_connections", 0) > s.get("requests", 0) // 20 + 64:
        yield f"{who}: {s['upstream_connections']} new upstream connections for {s['requests']} requests"
    if s["failed"] and "sockets" not in s:
        why = f" ({'; '.join(s['why'])})" if s.get("why") else ""
        yield f"{who}: {s['failed']} of {s['requests']} requests failed{why}"
    if s.get("should_resume") and s["resumed"] < 0.99 * (s["requests"] - s["failed"]):
        yield f"{who}: only {s['resumed']} of {s['requests']} connections resumed a session"
    if s.get("resumed") and not s["should_resume"]:
        yield f"{who}: {s['resumed']} of {s['requests']} connections resumed a session, which none should"
    if s.get("brotli") == 0:
        yield f"{who}: no file had become brotli when the opens were measured"


def socket_doubts(who, s):
    if s.get("drops"):
        yield f"{who}: {s['drops']} of {s['sockets']} sockets were dropped ({'; '.join(s['why'])})"
    if s.get("messages", s.get("asked", 0)) < 0.95 * s.get("asked", 0):
        yield f"{who}: {s['messages']} of {s['asked']} messages were sent in time; driver and upstream had no core left for more"


def doubts(samples):
    """What makes a sample worth less than it looks."""
    found = []
    for s in samples:
        who = f"round {s['round']}, {s['load']}, {s['peer']}"
        if not s["stopped_by_itself"]:
            found.append(f"{who}: did not stop on SIGTERM and was killed")
        found.extend(socket_doubts(who, s))
        found.extend(request_doubts(who, s))
        if s["log_lines"] < 0.99 * s["log_expected"]:  # HAProxy loses some when two threads write at once
            found.append(f"{who}: {s['log_lines']} access log lines for {s['log_expected']} requests")
    for load in sorted({s["load"] for s in samples}):
        suites = {(s["cipher"], s.get("group")) for s in samples if s["load"] == load and "cipher" in s}
        if len(suites) > 1:
            found.append(f"{load}: not the same cryptography for all: {sorted(suites, key=str)}")
    return found


def load_of(name, options):
    load = ALL[name]
    return dataclasses.replace(load, sockets=options.sockets, title=f"{options.sockets:,} {load.title}, {options.hold} s") \
        if load.sockets else load


def compete(chosen, options, scratch, launcher, progress, samples):
    """All rounds; within one, loads in shuffled order, and for each load the peers in shuffled order, one after the other.
    Adds to `samples`, so that whatever ends it early leaves what there is."""
    order = random.Random(options.seed)
    loads = {name: load_of(name, options) for name in options.only}
    bench = measure.prepare(loads.values(), options, scratch, launcher)
    begun = time.monotonic()
    for number in range(1, options.rounds + 1):
        if time.monotonic() - begun > options.minutes * 60:
            progress.clear()
            print(f"time is up after {number - 1} of {options.rounds} rounds")
            break
        for name in order.sample(options.only, len(options.only)):
            load = loads[name]
            able = [peer for peer in chosen if not peer.lacks(load)]
            for peer in order.sample(able, len(able)):
                progress.show(f"round {number} of {options.rounds}, {peer.name}, {load.title}")
                directory = scratch / "peer"
                directory.mkdir()
                sample = measure.measure(bench, peer, load, directory)
                samples.append({**sample, "round": number, "peer": peer.name, "load": name})
                shutil.rmtree(directory)
    progress.clear()


def report(samples, chosen, options, launcher, load_before, broken=None):
    """Prints and writes everything; `broken` says why there is less than was asked for."""
    present = [peer.name for peer in chosen]
    subject = "gateway" if "gateway" in present else present[-1]
    summary = table.summarise(samples, options.only, present, subject)
    titles = {name: load_of(name, options).title for name in options.only}
    lines = table.rows(summary, titles, present, subject)
    rounds = len({s["round"] for s in samples})
    others = "the same" if launcher.proxy_cpus == launcher.other_cpus else f"{len(launcher.other_cpus)} others"
    conditions = [
        *([f"incomplete: {broken}"] if broken else []),
        *(peer.version() for peer in chosen),
        f"{rounds} of {options.rounds} rounds, seed {options.seed}, {peers.WORKERS} workers, "
        f"proxies on {len(launcher.proxy_cpus)} cores, driver and upstream on {others}, "
        f"load average {load_before:.1f} before, {os.getloadavg()[0]:.1f} after",
        "medians; ratios are medians of the rounds' ratios with the middle half of the rounds in brackets; "
        "ahead or behind is said when the rounds agree (sign test, 1 in 20), which takes six",
    ]
    conditions += table.growth(summary, {name: ALL[name].connections for name in CURVE})
    found = doubts(samples)
    goals = targets.rows(summary, titles, subject) if options.targets else None
    print("\n".join(conditions) + "\n\n" + table.plain(lines))
    if goals:
        print("\n" + table.plain(goals))
    for doubt in found:
        print(f"doubt: {doubt}")
    if options.markdown:
        notes = [f"- {line}" for line in conditions + [f"doubt: {doubt}" for doubt in found]]
        tables = [table.markdown(lines)] + ([table.markdown(goals)] if goals else [])
        options.markdown.write_text("\n\n".join(tables) + "\n\n" + "\n".join(notes) + "\n")
    if options.picture:
        options.picture.write_text(picture.draw(summary, titles, present, subject, conditions))
    if options.json:
        options.json.write_text(json.dumps({
            "seed": options.seed, "rounds": rounds, "subject": subject, "conditions": conditions, "doubts": found,
            "summary": summary, "samples": samples}, indent=1) + "\n")
    return 1 if any(s["failed"] for s in samples) else 0


def interrupt(number, frame):
    raise KeyboardInterrupt


def main(argv=None):
    options = parse_arguments(argv)
    if options.install:
        print(programs.APT + "\n" + programs.PIP)
        return 0
    held = any(ALL[name].sockets for name in options.only)
    if held and options.sockets > (most := sockets.most(sockets.raise_limit())):
        stop(2, f"--sockets {options.sockets}: a proxy may hold {most} at most here (two descriptors each); see `ulimit -Hn`")
    if options.seed is None:
        options.seed = random.SystemRandom().randrange(10**6)
    chosen = choose_peers(options.peers, options.gateway, options.before)
    print(f"seed {options.seed}", flush=True)
    for peer in chosen:
        for reason in {peer.lacks(ALL[name]) for name in options.only} - {None}:
            print(f"left out: {peer.name} where a token is needed: {reason}", flush=True)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)
    launcher, progress, load_before = Launcher(), Progress(), os.getloadavg()[0]
    samples, code, broken = [], 0, None
    with tempfile.TemporaryDirectory(prefix="compare-") as scratch:
        try:
            compete(chosen, options, Path(scratch), launcher, progress, samples)
        except peers.PeerError as error:
            code, broken = 1, str(error)
        except KeyboardInterrupt:
            code, broken = 130, "interrupted; everything is stopped"
        finally:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)  # impatience must not leave processes behind
            progress.clear()
            launcher.stop_all()
    if not samples:
        stop(code or 1, broken or "nothing was measured")
    found = report(samples, chosen, options, launcher, load_before, broken and broken.splitlines()[0])
    if broken:
        stop(code, broken)
    return found


if __name__ == "__main__":
    sys.exit(main())
