"""One measurement: a fresh process, a check that it does the work, a warm-up, and the work itself between two looks at /proc."""

import dataclasses
import functools
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import drive
import editor
import handshakes
import peers
import proc
import sockets
import upstream
from gateway import Gateway
from loads import API, PLAIN, UPLOAD_SIZE
from processes import private_copy
from stages import follow, script
from table import percentile

REST = 1.0  # seconds after the check, before memory at rest is read
PATIENCE = 180  # seconds for a client of ours
LOOKS, PAUSE = 6, 0.25  # at memory, and seconds between them


@dataclass
class Bench:
    """What all measurements share."""
    options: object
    launcher: object
    sites: dict  # upstream's name: Site
    contents: dict  # path: what the upstreams answer
    h2load: tuple  # (program, environment) of a copy
    body: Path  # what is uploaded
    settings: Path  # OpenSSL's, for our own clients

    def launch(self, argv, environment=None, **streams):
        """Start a driver away from the proxy; h2load from its copy."""
        if argv[0] == "h2load":
            program, more = self.h2load
            return self.launcher.start([program, *argv[1:]], self.launcher.other_cpus, more, **streams)
        return self.launcher.start(argv, self.launcher.other_cpus, {"OPENSSL_CONF": str(self.settings), **(environment or {})},
                                   **streams)

    def site(self, load):
        return self.sites[upstream_of(load)]

    def content(self, load):
        return self.contents[upstream_of(load), load.shown or load.path]


def upstream_of(load):
    """The name of the upstream that a load needs."""
    if load.kind in ("opens", "sockets"):
        return load.kind
    return "sink" if load.body or load.kind == "callbacks" else "static"


def prepare(loads, options, scratch, launcher):
    """Starts the upstreams that these loads need, and makes what all share."""
    folder, needed = scratch / "upstream", {upstream_of(load) for load in loads}
    folder.mkdir()
    static, files, found = upstream.start_upstream(
        folder, launcher, {load.path: load.size for load in loads if upstream_of(load) == "static"}, "opens" in needed)
    contents = {("static", path): content for path, content in found.items()}
    site = peers.make_site(scratch, static)
    sites = {"static": site}
    if files:
        sites["opens"] = dataclasses.replace(site, upstream=files)
        contents["opens", API] = found[API]
    for name, start in (("sockets", upstream.start_socket_upstream), ("sink", upstream.start_sink)):
        if name in needed:
            port, answer = start(folder, launcher)
            sites[name] = dataclasses.replace(site, upstream=port)
            for load in loads:
                contents[name, load.shown or load.path] = answer if load.probe is None else b"%8d" % len(load.probe)
    body, settings = scratch / "body", scratch / "openssl.cnf"
    if any(load.body for load in loads):
        body.write_bytes(os.urandom(1 << 20) * (UPLOAD_SIZE >> 20))
    settings.write_text(handshakes.SETTINGS)
    h2load = private_copy(shutil.which("h2load"), scratch / "driver")
    return Bench(options, launcher, sites, contents, h2load, body, settings)


@dataclass
class Run:
    """A peer that serves, and is about to be measured."""
    bench: Bench
    peer: object
    load: object
    directory: Path
    site: object
    port: int
    roots: list

    def cpu(self):
        return [proc.cpu_seconds(root) for root in self.roots]

    def spent(self, before):
        return [now - then for now, then in zip(self.cpu(), before)]

    def follow(self, argv, looks, patience=PATIENCE):
        """Run a client of ours in stages; it may know the secret."""
        return follow(argv, self.directory / "client", self.bench.launch, looks, patience, {"COMPARE_SECRET": self.site.secret})


def measure(bench, peer, load, directory):
    site, content = bench.site(load), bench.content(load)
    running, port = peer.start(directory, site, bench.launcher, load, content)
    run = Run(bench, peer, load, directory, site, port, [process.pid for process in running])
    try:
        sample = KINDS[load.kind](run)
        if ended := [process.poll() for process in running if process.poll() is not None]:
            raise peers.PeerError(f"ended with code {ended[0]} under load")
    except (peers.PeerError, drive.DriveError, OSError) as error:
        said = (directory / "stderr").read_text(errors="replace").strip()[-1000:]
        raise peers.PeerError(f"{peer.name}, {load.title}: {error}\n{said}".rstrip()) from error
    finally:
        willing = all([bench.launcher.stop(process) for process in reversed(running)])
    return {"failed": 0, **sample, "log_lines": peer.log_lines(directory), "stopped_by_itself": willing}


def how_many(load, options, rate=None):
    """Requests of a measurement; `rate` is what the warm-up reached each second, where there was one."""
    count = load.requests
    if options.requests:  # of the plain loads; the others have fewer in proportion
        count = load.requests * options.requests // PLAIN
    elif options.seconds and rate:
        count = int(rate * options.seconds)
    return min(max(count, load.in_flight, 2), load.most)


def requests(run):
    """h2load over connections that stay."""
    load, log, token = run.load, run.directory / "load", run.site.token(run.load)
    drive_it = functools.partial(drive.run, load, run.port, launch=run.bench.launch, token=token, body=run.bench.body)
    warm_up = max(load.requests // 10, load.in_flight)
    warm = drive_it(warm_up, log=run.directory / "warm")
    count = how_many(load, run.bench.options, warm["rps"])
    connections, seen = upstream.read_counters(run.site.upstream)
    before = run.cpu()
    sample = drive_it(count, log=log, roots=run.roots)
    spent = run.spent(before)
    connections_after, seen_after = upstream.read_counters(run.site.upstream)
    answered = count - sample["failed"]
    return {**sample, "cpu_us": sum(spent) / answered * 1e6, "cpu_s": sum(spent), "cpu_s_each": spent,  # helpers first
            "upstream_requests": seen_after - seen - 1, "upstream_connections": connections_after - connections - 1,
            "log_expected": warm_up + count}


def own(run, argv, count, expected):
    """A client of ours that is looked at before and after its `count` requests."""
    seen, said = run.follow(argv, {"ready": run.cpu, "asked": run.cpu})
    return result(seen, said, count) | {"pss_kib": proc.pss_kib(*run.roots), "log_expected": expected}


def result(seen, said, count):
    if not said["times"]:
        raise drive.DriveError(f"no answer came: {said['why']}")
    spent = sum(after - before for before, after in zip(seen["ready"], seen["asked"]))
    return {"requests": count, "failed": said["failed"], "why": said["why"], "cipher": said["cipher"],
            "cpu_us": spent / len(said["times"]) * 1e6, "cpu_s": spent, "rps": len(said["times"]) / said["span_s"],
            "p50_us": percentile(said["times"], 50), "p99_us": percentile(said["times"], 99)}


def connections(run):
    """A connection for each request."""
    load, count = run.load, how_many(run.load, run.bench.options)
    argv = script("handshakes.py", run.port, load.path, count, load.in_flight, int(load.resumed))
    seen, said = run.follow(argv, {"ready": run.cpu, "asked": run.cpu})
    return {**result(seen, said, count), "resumed": said["resumed"], "should_resume": load.resumed,
            "pss_kib": proc.pss_kib(*run.roots), "log_expected": count}


def opens(run):
    """An editor is opened again and again. Where files are kept, only once the proxy has made of them what it wants to."""
    load, count = run.load, how_many(run.load, run.bench.options)
    seed = int.from_bytes(os.urandom(4), "big")
    many = functools.partial(editor.open_many, run.port, folder=run.directory, launch=run.bench.launch)
    many(2, False, seed=seed)
    editor.settle(lambda: sum(run.cpu()))
    before = run.cpu()
    took, size = many(count, load.fresh, seed=seed)
    spent = sum(run.spent(before))
    kept = run.peer.brotli() if isinstance(run.peer, Gateway) and load.cache else None
    asked = len(editor.parse_list(editor.LIST.read_text()))
    return {"open_cpu_us": spent / count * 1e6, "open_us": median(took) * 1e3, "open_bytes": size, "opens": count, "brotli": kept,
            "cpu_s": spent, "pss_kib": proc.pss_kib(*run.roots), "log_expected": asked * (count + 2)}


def callbacks(run):
    load, count = run.load, how_many(run.load, run.bench.options)
    argv = script("visitors.py", "callbacks", run.port, load.path, run.site.upstream, count, load.in_flight, int(load.saves))
    return own(run, argv, count, count)


def crowd(run):
    """Many connections that stay, of which each asks now and then."""
    load, count = run.load, how_many(run.load, run.bench.options)
    argv = script("visitors.py", "crowd", run.port, load.path, load.connections, count, load.in_flight)
    memory = functools.partial(proc.pss_kib, *run.roots)
    seen, said = run.follow(argv, {"empty": memory, "ready": lambda: (run.cpu(), memory()), "asked": run.cpu})
    empty, (before, full) = seen["empty"], seen["ready"]
    return {**result({"ready": before, "asked": seen["asked"]}, said, count), "log_expected": count + load.connections,
            "connections": load.connections, "connection_kib": (full - empty) / load.connections}


def held(run):
    """Editor sockets. Only what grows between two stages counts: a library that client and proxy share weighs the same in both."""
    load, options = run.load, run.bench.options

    def memory():
        found = []
        for _ in range(LOOKS):
            found.append(proc.pss_kib(*run.roots))
            time.sleep(PAUSE)
        return median(found)
    looks = {"before": memory, "holding": lambda: (memory(), run.cpu()), "asked": run.cpu}
    seen, said = run.follow(script("sockets.py", "hold", run.port, load.sockets, options.hold, int(load.busy)), looks,
                            60 + 2 * options.hold + load.sockets / 25)
    if not said["times"]:
        raise drive.DriveError(f"no socket answered: {said['why']}")
    full, before = seen["holding"]
    spent = sum(after - then for after, then in zip(seen["asked"], before)) if load.busy else None
    expected = {"asked": load.sockets * options.hold} if load.busy else {}
    return {**sockets.result(load.sockets, said, seen["before"], full, spent), **expected, "log_expected": load.sockets}


def rest(run):
    """Nothing at all, after the few requests of the check."""
    time.sleep(REST)
    return {"rest_pss_kib": proc.pss_kib(*run.roots), "rest_rss_kib": proc.pss_kib(*run.roots, field="Rss"), "log_expected": 0}


KINDS = {"requests": requests, "handshakes": connections, "opens": opens, "callbacks": callbacks, "crowd": crowd, "sockets": held,
         "rest": rest}
