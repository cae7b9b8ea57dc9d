"""h2load, which drives most loads, and what its output says."""

import re
import subprocess
import time

import proc
from table import percentile

CRYPTOGRAPHY = ("--tls13-ciphers=TLS_AES_128_GCM_SHA256", "--groups=X25519")


class DriveError(Exception):
    """The driver could not do its work; the text says why."""


def command(load, port, requests, log, token=None, body=None):
    """One thread, one cipher and one group for all, so that no proxy gets cheaper cryptography. h2load checks no certificate."""
    fields = ["-H", f"authorization: Bearer {token}"] if load.token else []
    fields += ["-d", str(body)] if load.body else []
    return [
        "h2load", "-t", "1", *load.arguments, *fields, "-n", str(requests), f"--log-file={log}",
        *CRYPTOGRAPHY, f"--connect-to=127.0.0.1:{port}", f"https://localhost:{port}{load.path}",
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


def run(load, port, requests, log, launch, token=None, roots=(), body=None, timeout=120):
    """One run of h2load; the PSS of the process trees of `roots` is sampled beside it."""
    log.unlink(missing_ok=True)  # h2load appends
    output = log.with_suffix(".out")
    with open(output, "w") as sink:
        driver = launch(command(load, port, requests, log, token, body), stdout=sink, stderr=subprocess.STDOUT)
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
