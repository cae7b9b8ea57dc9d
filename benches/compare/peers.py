"""What all contestants are given, and what each must show before it is measured. Their configurations have a file each.

All: TLS 1.3 with the same key, HTTP/2 by ALPN, two workers, keep-alive towards the upstream, forwarded headers overwritten,
an access log line for each request, the proxy's default buffering.
"""

import secrets
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import tokens
from loads import DOCUMENT
from processes import clean_environment, free_ports

WORKERS = 2
LEEWAY = 60  # seconds that clocks may differ, for all
# What a Document Server must never hear from a client (it builds links from them).
STRIPPED = ("Forwarded", "X-Forwarded-Port", "X-Forwarded-Prefix", "Cloudfront-Forwarded-Proto")


class PeerError(Exception):
    """A peer did not start, or did not serve what it should."""


class CheckError(Exception):
    """A peer serves, and accepts what it must refuse."""


@dataclass(frozen=True)
class Site:
    """What all peers are given."""
    chain: Path
    key: Path
    both: Path  # chain and key in one file, for HAProxy
    upstream: int  # port
    secret: str  # that tokens are signed with
    secret_file: Path

    def token(self, load):
        return tokens.good(DOCUMENT, self.secret, time.time(), claims_of(load))

    def bad_tokens(self, load):
        return tokens.bad(DOCUMENT, self.secret, time.time(), claims_of(load))


def claims_of(load):
    """Who opens a document has one kind of token, who works in it another."""
    return tokens.session_claims if load.body else tokens.open_claims


def make_certificate(directory):
    """A self-signed ECDSA P-256 pair for localhost."""
    request, chain, key, both = (directory / name for name in ("request.cnf", "chain.pem", "key.pem", "both.pem"))
    request.write_text(
        "[req]\ndistinguished_name = name\nx509_extensions = extensions\nprompt = no\n"
        "[name]\nCN = localhost\n"
        "[extensions]\nsubjectAltName = DNS:localhost\nbasicConstraints = critical, CA:FALSE\n"
    )
    made = subprocess.run(
        ["openssl", "req", "-x509", "-config", request, "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-days", "7", "-keyout", key, "-out", chain], capture_output=True, text=True)
    if made.returncode:
        raise PeerError("openssl could not make a certificate: " + made.stderr.strip())
    both.write_bytes(chain.read_bytes() + key.read_bytes())
    for secret in (key, both):
        secret.chmod(0o600)
    return chain, key, both


def make_site(directory, upstream):
    secret, file = secrets.token_hex(32), directory / "secret"
    file.write_text(secret)
    file.chmod(0o600)
    return Site(*make_certificate(directory), upstream, secret, file)


def wait_for(question, process, complaints, who, patience=15):
    """Ask until there is no error; if the process ends or time is up, say what it said."""
    deadline = time.monotonic() + patience
    while True:
        try:
            return question()
        except (OSError, PeerError) as error:
            if process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.05)
                continue
            said = complaints.read_text(errors="replace").strip()[-1500:]
            state = f"ended with code {process.poll()}" if process.poll() is not None else f"does not serve: {error}"
            raise PeerError(f"{who} {state}\n{said}".strip()) from None


def fetch(port, path, token=None, body=None):
    """(status, body) of a GET, or a POST if there is a body, over TLS; the certificate is ours and not judged."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    fields = {"Host": f"localhost:{port}"} | ({"Authorization": f"Bearer {token}"} if token else {})
    fields |= {"Content-Type": "application/octet-stream"} if body is not None else {}
    try:
        with urllib.request.urlopen(urllib.request.Request(f"https://127.0.0.1:{port}{path}", body, fields),
                                    context=context, timeout=10) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as answer:
        with answer:
            return answer.code, answer.read()


def check_refusals(ask, bad):
    """Whoever does not check a token does less work than the others and is not measured. `ask`: token to (status, body)."""
    for name, token in bad.items():
        status, _ = ask(token)
        if status not in (401, 403):
            raise CheckError(f"answered {name} with {status}, not with 401 or 403")


class Peer:
    """One contestant. A subclass says which program, how it is configured, and where its access log goes."""
    name = ""
    log = "stdout"
    says_version = ("-v",)
    checks_tokens = True

    def __init__(self, program, environment=None):
        self.program, self.environment = program, environment or {}

    def version(self):
        """The first line of what it says; whoever does not run here ends up in an OSError."""
        said = subprocess.run([self.program, *self.says_version], capture_output=True, text=True, timeout=20,
                              env=clean_environment(**self.environment))
        lines = (said.stdout + said.stderr).strip().splitlines()
        if said.returncode or not lines:
            raise OSError(lines[-1] if lines else f"ended with code {said.returncode}")
        return f"{self.name}: {lines[0]}"

    def lacks(self, load):
        """What is missing for this load, as a sentence; None if nothing is."""
        return "checks no tokens by itself" if load.token and not self.checks_tokens else None

    def prepare(self, directory, site, port, load):
        """Write the configuration; return the command."""
        raise NotImplementedError

    def helpers(self, directory, site, load):
        """Commands of what has to run beside it, and is counted with it."""
        return []

    def start(self, directory, site, launcher, load, content):
        """(processes, port), once it serves what the upstream has, and refuses what it must."""
        [port] = free_ports(1)
        running = []
        environment = self.environment | {"HOME": str(directory)}
        for argv in [*self.helpers(directory, site, load), self.prepare(directory, site, port, load)]:
            with open(directory / "stdout", "a") as out, open(directory / "stderr", "a") as err:
                running.append(launcher.start(argv, launcher.proxy_cpus, environment, stdout=out, stderr=err))
        try:
            self.check(directory, site, running[-1], port, load, content)
        except BaseException:
            for process in running:
                launcher.stop(process)
            raise
        return running, port

    def check(self, directory, site, process, port, load, content):
        token = site.token(load) if load.token else None

        def serves():
            status, body = fetch(port, load.shown or load.path, token, load.probe)
            if status != 200:
                raise PeerError(f"{load.shown or load.path} came back with {status}")
            if body != content:
                raise PeerError(f"{load.shown or load.path} came back changed")
        wait_for(serves, process, directory / "stderr", self.name)
        if load.token:
            try:
                check_refusals(lambda token: fetch(port, load.path, token, load.probe), site.bad_tokens(load))
            except CheckError as error:
                raise PeerError(f"{self.name} {error}") from None

    def log_lines(self, directory):
        with open(directory / self.log, "rb") as file:
            return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))
