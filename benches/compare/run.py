#!/usr/bin/env python3
"""The gateway beside nginx and HAProxy on the same work: CPU per request, requests/s, p50, p99, memory, as ratios.

    python3 benches/compare/run.py                 all loads, all peers, 7 rounds
    python3 benches/compare/run.py --only 1k-h2    one load
    python3 benches/compare/run.py --only sockets-idle --sockets 2000 --hold 60    editor sockets that do nothing

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
import tempfile
import time
from pathlib import Path

import drive
import peers
import proc
import sockets
import table
from processes import Launcher, private_copy

ROOT = Path(__file__).resolve().parents[2]
NAMES = ["nginx", "haproxy", "gateway"]
INSTALL = "apt-get install " + " ".join(peers.PACKAGES.values())
BUILD = "cargo build --profile dist -p rapidpm-gateway -p jwt-service"


def parse_arguments(argv):
    def between(low, high):
        def number(text):
            value = int(text)
            if not low <= value <= high:
                raise argparse.ArgumentTypeError(f"must be between {low} and {high}")
            return value
        return number

    def names(known):
        def split(text):
            found = [name for name in text.split(",") if name]
            for name in found:
                if name not in known:
                    raise argparse.ArgumentTypeError(f"no {name!r}; there are {', '.join(known)}")
            return [name for name in known if name in found]
        return split

    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], epilog=f"needs: {INSTALL}")
    parser.add_argument("--gateway", metavar="BINARY", help="default: target/dist/rapidpm-gateway, else target/release/…")
    parser.add_argument("--before", metavar="BINARY", help="an older gateway as one more peer; the same one shows the noise")
    parser.add_argument("--peers", type=names(NAMES), default=NAMES, metavar="LIST", help="of " + ",".join(NAMES))
    parser.add_argument("--only", type=names(list(drive.ALL)), default=list(drive.LOADS), metavar="LOAD",
                        help="one or several of " + ",".join(drive.ALL) + "; default: all but " + ",".join(drive.EXTRA))
    parser.add_argument("--sockets", type=between(10, 100_000), default=drive.ALL["sockets-idle"].sockets, metavar="N",
                        help="editor sockets of sockets-idle; default %(default)s")
    parser.add_argument("--hold", type=between(2, 3600), default=10, metavar="S",
                        help="how long sockets-idle holds them; default %(default)s seconds")
    parser.add_argument("--rounds", type=between(1, 100), default=7, metavar="N", help="default 7")
    work = parser.add_mutually_exclusive_group()
    work.add_argument("--requests", type=between(100, 1_000_000), metavar="N",
                      help="requests in each measurement; default: the load's own number")
    work.add_argument("--seconds", type=between(1, 60), metavar="S", help="as many requests as the peer does in about S seconds")
    parser.add_argument("--minutes", type=between(1, 240), default=30, metavar="M", help="no new round after M minutes; default 30")
    parser.add_argument("--seed", type=int, help="of the order; default: a new one, which is printed")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every sample and the summary")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table")
    parser.add_argument("--install", action="store_true", help="print the command that installs what this needs, and end")
    return parser.parse_args(argv)


def choose_peers(wanted, gateway, before):
    """The peers that are here. Ends the program where going on would measure nothing useful."""
    missing = [name for name in ("nginx", "h2load", "openssl") if not shutil.which(name)]
    if missing:
        stop(2, f"not installed: {', '.join(missing)} (nginx is also the upstream, h2load the driver); {INSTALL}")
    service = peers.find_program("jwt-service", None, ROOT, peers.find_gateway(gateway, ROOT))
    chosen, makers = [], {"nginx": lambda program: peers.Nginx(program, service), "haproxy": peers.Haproxy}
    for name in wanted:
        if name == "gateway":
            program = peers.find_gateway(gateway, ROOT)
            if program is None:
                where = gateway or "target/dist/rapidpm-gateway or target/release/rapidpm-gateway"
                stop(2, f"no gateway at {where}; build it with `{BUILD}`, name one with --gateway BINARY, "
                        "or leave it out with --peers nginx,haproxy")
            chosen.append(peers.Gateway(program))
        elif program := shutil.which(name):
            chosen.append(makers[name](program))
        else:
            print(f"left out: {name} is not installed (apt-get install {peers.PACKAGES[name]})")
    if before:
        program = peers.find_gateway(before, ROOT)
        if program is None:
            stop(2, f"--before {before} is not a program")
        chosen.insert(0, peers.Gateway(program, "before"))
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


def how_many(load, options, warm_rate):
    if options.requests:
        return min(max(options.requests, load.in_flight), load.most)
    if options.seconds:
        return min(max(int(warm_rate * options.seconds), load.in_flight), load.most)
    return load.requests


def measure(peer, load, options, directory, site, content, launcher, driver):
    """A fresh process, a check that it serves the right bytes, a warm-up, then the measured run."""
    program, environment = driver

    def launch(argv, **streams):
        return launcher.start([program, *argv[1:]], launcher.other_cpus, environment, **streams)

    running, port = peer.start(directory, site, launcher, load, content)
    roots, token = [process.pid for process in running], site.token()
    try:
        warm_up = max(load.requests // 10, load.in_flight)
        warm = drive.run(load, port, warm_up, directory / "warm", launch, token)
        requests = how_many(load, options, warm["rps"])
        connections, seen = peers.read_counters(site.upstream)
        before = [proc.cpu_seconds(root) for root in roots]
        sample = drive.run(load, port, requests, directory / "load", launch, token, roots)
        spent = [proc.cpu_seconds(root) - already for root, already in zip(roots, before)]
        if ended := [process.poll() for process in running if process.poll() is not None]:
            raise peers.PeerError(f"ended with code {ended[0]} under load")
        connections_after, seen_after = peers.read_counters(site.upstream)
    except (peers.PeerError, drive.DriveError, OSError) as error:
        said = (directory / "stderr").read_text(errors="replace").strip()[-1000:]
        raise peers.PeerError(f"{peer.name}, {load.title}: {error}\n{said}".rstrip()) from error
    finally:
        willing = all([launcher.stop(process) for process in reversed(running)])
    answered = sample["requests"] - sample["failed"]
    return {
        **sample, "cpu_us": sum(spent) / answered * 1e6, "cpu_s": sum(spent), "cpu_s_each": spent,  # helpers first
        "upstream_requests": seen_after - seen - 1, "upstream_connections": connections_after - connections - 1,
        "log_lines": peer.log_lines(directory), "log_expected": warm_up + requests, "stopped_by_itself": willing,
    }


def measure_sockets(peer, load, options, directory, site, content, launcher):
    """A fresh process, sockets that come and go, memory without any, then all of them, memory with them, a round trip in each."""
    def launch(argv, **streams):
        return launcher.start(argv, launcher.other_cpus, {"COMPARE_SECRET": site.secret}, **streams)

    running, port = peer.start(directory, site, launcher, load, content)
    roots = [process.pid for process in running]
    try:
        sample = sockets.run(port, load.sockets, options.hold, directory / "client", launch, roots)
        if ended := [process.poll() for process in running if process.poll() is not None]:
            raise peers.PeerError(f"ended with code {ended[0]} under load")
    except (peers.PeerError, drive.DriveError, OSError) as error:
        said = (directory / "stderr").read_text(errors="replace").strip()[-1000:]
        raise peers.PeerError(f"{peer.name}, {load.title}: {error}\n{said}".rstrip()) from error
    finally:
        willing = all([launcher.stop(process) for process in reversed(running)])
    return {**sample, "log_lines": peer.log_lines(directory), "log_expected": load.sockets, "stopped_by_itself": willing}


def socket_doubts(who, s):
    if s["drops"]:
        yield f"{who}: {s['drops']} of {s['sockets']} sockets were dropped ({'; '.join(s['why'])})"
    if s["log_lines"] < 0.99 * s["log_expected"]:
        yield f"{who}: {s['log_lines']} access log lines for {s['log_expected']} sockets"


def doubts(samples):
    """What makes a sample worth less than it looks."""
    found = []
    for s in samples:
        who = f"round {s['round']}, {s['load']}, {s['peer']}"
        if not s["stopped_by_itself"]:
            found.append(f"{who}: did not stop on SIGTERM and was killed")
        if "sockets" in s:
            found.extend(socket_doubts(who, s))
            continue
        if s["failed"]:
            found.append(f"{who}: {s['failed']} of {s['requests']} requests failed")
        if s["upstream_requests"] < s["requests"] - s["failed"]:
            found.append(f"{who}: only {s['upstream_requests']} of {s['requests']} requests reached the upstream")
        if s["upstream_connections"] > s["requests"] // 20 + 64:
            found.append(f"{who}: {s['upstream_connections']} new upstream connections for {s['requests']} requests")
        if s["log_lines"] < 0.99 * s["log_expected"]:  # HAProxy loses some when two threads write at once
            found.append(f"{who}: {s['log_lines']} access log lines for {s['log_expected']} requests")
    for ours in ([s for s in samples if "sockets" not in s], [s for s in samples if "sockets" in s]):
        suites = {(s["cipher"], s.get("group")) for s in ours}
        if len(suites) > 1:
            found.append(f"not the same cryptography for all: {sorted(suites, key=str)}")
    return found


def load_of(name, options):
    load = drive.ALL[name]
    return dataclasses.replace(load, sockets=options.sockets, title=f"{options.sockets:,} {load.title}, {options.hold} s") \
        if load.sockets else load


def compete(chosen, options, scratch, launcher, progress):
    """All rounds; within one, loads in shuffled order, and for each load the peers in shuffled order, one after the other."""
    order = random.Random(options.seed)
    loads = {name: load_of(name, options) for name in options.only}
    sizes = {load.path: load.size for load in loads.values() if not load.sockets}
    (scratch / "upstream").mkdir()
    upstream, contents = peers.start_upstream(scratch / "upstream", launcher, sizes)
    site = peers.make_site(scratch, upstream)
    if any(load.sockets for load in loads.values()):
        socket_port, socket_content = peers.start_socket_upstream(scratch / "upstream", launcher)
        socket_site = dataclasses.replace(site, upstream=socket_port)
    driver = private_copy(shutil.which("h2load"), scratch / "driver")
    samples, begun = [], time.monotonic()
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
                if load.sockets:
                    sample = measure_sockets(peer, load, options, directory, socket_site, socket_content, launcher)
                else:
                    sample = measure(peer, load, options, directory, site, contents[load.path], launcher, driver)
                samples.append({**sample, "round": number, "peer": peer.name, "load": name})
                shutil.rmtree(directory)
    progress.clear()
    return samples


def report(samples, chosen, options, launcher, load_before):
    present = [peer.name for peer in chosen]
    subject = "gateway" if "gateway" in present else present[-1]
    summary = table.summarise(samples, options.only, present, subject)
    titles = {name: load_of(name, options).title for name in options.only}
    lines = table.rows(summary, titles, present, subject)
    rounds = len({s["round"] for s in samples})
    others = "the same" if launcher.proxy_cpus == launcher.other_cpus else f"{len(launcher.other_cpus)} others"
    conditions = [
        *(peer.version() for peer in chosen),
        f"{rounds} of {options.rounds} rounds, seed {options.seed}, {peers.WORKERS} workers, "
        f"proxies on {len(launcher.proxy_cpus)} cores, driver and upstream on {others}, "
        f"load average {load_before:.1f} before, {os.getloadavg()[0]:.1f} after",
        "medians; ratios are medians of the rounds' ratios with the middle half of the rounds in brackets; "
        "ahead or behind is said when the rounds agree (sign test, 1 in 20), which takes six",
    ]
    found = doubts(samples)
    print("\n".join(conditions) + "\n\n" + table.plain(lines))
    for doubt in found:
        print(f"doubt: {doubt}")
    if options.markdown:
        notes = [f"- {line}" for line in conditions + [f"doubt: {doubt}" for doubt in found]]
        options.markdown.write_text(table.markdown(lines) + "\n\n" + "\n".join(notes) + "\n")
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
        print(INSTALL)
        return 0
    if "sockets-idle" in options.only and options.sockets > (most := sockets.most(sockets.raise_limit())):
        stop(2, f"--sockets {options.sockets}: a proxy may hold {most} at most here (two descriptors each); see `ulimit -Hn`")
    if options.seed is None:
        options.seed = random.SystemRandom().randrange(10**6)
    chosen = choose_peers(options.peers, options.gateway, options.before)
    print(f"seed {options.seed}", flush=True)
    for peer in chosen:
        for reason in {peer.lacks(drive.ALL[name]) for name in options.only} - {None}:
            print(f"left out: {peer.name} where a token is needed: {reason}", flush=True)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)
    launcher, progress, load_before = Launcher(), Progress(), os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="compare-") as scratch:
        try:
            samples = compete(chosen, options, Path(scratch), launcher, progress)
        except peers.PeerError as error:
            progress.clear()
            stop(1, str(error))
        except KeyboardInterrupt:
            progress.clear()
            stop(130, "interrupted; everything is stopped")
        finally:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)  # impatience must not leave processes behind
            launcher.stop_all()
    return report(samples, chosen, options, launcher, load_before)


if __name__ == "__main__":
    sys.exit(main())
