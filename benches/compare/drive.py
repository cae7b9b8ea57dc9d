"""The load: what is asked for, h2load as the only driver, and what its output says."""

import re
import subprocess
import time
from dataclasses import dataclass

import proc
from table import percentile

DOCUMENT = "k1"
PUBLIC = "/9.0.4-0123456789abcdef0123456789abcdef/web-apps/apps"  # an editor loads it before it has a token
PROTECTED = f"/downloadfile/{DOCUMENT}"  # nobody gets it without one


@dataclass(frozen=True)
class Load:
    title: str
    path: str
    size: int
    arguments: tuple  # of h2load
    protocol: str  # that must come out of ALPN
    in_flight: int
    requests: int  # unless the command line says otherwise
    most: int  # whatever it says
    token: bool = False  # whether the path needs one
    sockets: int = 0  # editor sockets to hold; h2load has no part in it then


LOADS = {
    "1k-h1": Load("1 KB, HTTP/1.1", f"{PUBLIC}/size-1k.js", 1024, ("--h1", "-c", "50", "-m", "1"), "http/1.1", 50,
                  50_000, 1_000_000),
    "1k-h2": Load("1 KB, HTTP/2", f"{PUBLIC}/size-1k.js", 1024,
                  ("--npn-list=h2", "-c", "50", "-m", "10"), "h2", 500,
                  50_000, 1_000_000),
    "4m-h1": Load("4 MB, HTTP/1.1", f"{PUBLIC}/size-4m.js", 4 << 20, ("--h1", "-c", "8", "-m", "1"), "http/1.1", 8,
                  400, 10_000),
    "1k-h1-token": Load("1 KB with a token, HTTP/1.1", PROTECTED, 1024, ("--h1", "-c", "50", "-m", "1"), "http/1.1", 50,
                        50_000, 1_000_000, token=True),
    "1k-h2-token": Load("1 KB with a token, HTTP/2", PROTECTED, 1024, ("--npn-list=h2", "-c", "50", "-m", "10"), "h2", 500,
                        50_000, 1_000_000, token=True),
}
EXTRA = {  # only where it is named
    "sockets-idle": Load("idle editor sockets", f"{PUBLIC}/size-1k.js", 0, (), "http/1.1", 0, 0, 0, sockets=2000),
}
ALL = LOADS | EXTRA


class DriveError(Exception):
    """The driver could not do its work; the text says why."""


def command(load, port, requests, log, token=None):
    """One thread, one cipher and one group for all, so that no proxy gets cheaper cryptography. h2load checks no certificate."""
    fields = ["-H", f"authorization: Bearer {token}"] if load.token else []
    return [
        "h2load", "-t", "1", *load.arguments, *fields, "-n", str(requests), f"--log-file={log}",
        "--tls13-ciphers=TLS_AES_128_GCM_SHA256", "--groups=X25519",
        f"--connect-to=127.0.0.1:{port}", f"https://localhost:{port}{load.path}",
    ]


def parse_log(text):
    """(span in µs, sorted latencies in µs) of the good answers in a --log-file: start, status, duration in each line."""
    first, last, latencies = None, 0, []
    for line in text.splitlines():
        start, status, duration = (int(field) for field in line.split("\t")[:3])
        if status == 200:
            latencies.append(duration)
            first = start if first is None else min(first, start)
            last = max(last, start + duration)
    latencies.sort()
    return (last - first if latencies else 0), latencies


def parse_output(text):
    """What h2load negotiated, and how many bytes of bodies came."""
    def find(pattern, default=None):
        match = re.search(pattern, text, re.MULTILINE)
        return match.group(1) if match else default
    return {
        "protocol": find(r"^Application protocol: (\S+)"),
        "tls": find(r"^TLS Protocol: (\S+)"),
        "cipher": find(r"^Cipher: (\S+)"),
        "group": find(r"^Server Temp Key: (\S+)"),
        "data": int(find(r"^traffic: .*\((\d+)\) data", "0")),
    }


def run(load, port, requests, log, launch, token=None, roots=(), timeout=120):
    """One run of h2load; the PSS of the process trees of `roots` is sampled beside it."""
    log.unlink(missing_ok=True)  # h2load appends
    output = log.with_suffix(".out")
    with open(output, "w") as sink:
        driver = launch(command(load, port, requests, log, token), stdout=sink, stderr=subprocess.STDOUT)
    pss, deadline = 0, time.monotonic() + timeout
    try:
        while driver.poll() is None:
            if time.monotonic() > deadline:
                raise DriveError(f"h2load did not end within {timeout} s; fewer --requests or --seconds may help")
            if roots:
                pss = max(pss, proc.pss_kib(*roots))
            try:
                driver.wait(0.25)
            except subprocess.TimeoutExpired:
                pass
    finally:
        if driver.poll() is None:
            driver.kill()
            driver.wait()
    said = parse_output(output.read_text())
    span, latencies = parse_log(log.read_text() if log.exists() else "")
    if not latencies or not span:
        raise DriveError("h2load got no answer:\n" + output.read_text()[-800:])
    if said["protocol"] != load.protocol or said["tls"] != "TLSv1.3":
        raise DriveError(f"negotiated {said['protocol']} over {said['tls']}, not {load.protocol} over TLSv1.3")
    if len(latencies) == requests and requests * load.size != said["data"]:  # failures have bodies too, and are counted below
        raise DriveError(f"{said['data']} bytes came for {requests} answers of {load.size} bytes")
    return {
        "requests": requests, "failed": requests - len(latencies), "rps": len(latencies) / span * 1e6,
        "p50_us": percentile(latencies, 50), "p99_us": percentile(latencies, 99), "pss_kib": pss,
        "protocol": said["protocol"], "cipher": said["cipher"], "group": said["group"],
    }
