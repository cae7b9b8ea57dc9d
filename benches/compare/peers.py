"""The contestants and the upstream: how each is configured, as well as its friends would do it.

All: TLS 1.3 with the same key, HTTP/2 by ALPN, two workers, keep-alive towards the upstream, forwarded headers overwritten,
an access log line for each request, the proxy's default buffering.
"""

import os
import re
import secrets
import shutil
import ssl
import subprocess
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from processes import free_ports, private_copy

WORKERS = 2
PACKAGES = {"nginx": "nginx", "haproxy": "haproxy", "h2load": "nghttp2-client", "openssl": "openssl"}
# What a Document Server must never hear from a client (it builds links from them).
STRIPPED = ("Forwarded", "X-Forwarded-Port", "X-Forwarded-Prefix", "Cloudfront-Forwarded-Proto")


class PeerError(Exception):
    """A peer did not start, or did not serve what it should."""


@dataclass(frozen=True)
class Site:
    """What all peers are given."""
    chain: Path
    key: Path
    both: Path  # chain and key in one file, for HAProxy
    upstream: int  # port


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


def nginx_frame(directory, http):
    """What nginx needs to live in a directory of its own."""
    user = "user root;" if os.geteuid() == 0 else ""
    folders = "\n".join(f"    {name}_temp_path {directory}/{name};"
                        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    return (f"{user}\ndaemon off;\nworker_processes {WORKERS};\npid {directory}/pid;\nerror_log {directory}/error.log warn;\n"
            f"events {{ worker_connections 4096; }}\nhttp {{\n{folders}\n{http}\n}}\n")


def nginx_command(program, directory):
    return [program, "-p", str(directory), "-e", str(directory / "error.log"), "-c", str(directory / "nginx.conf")]


def start_upstream(directory, launcher, sizes):
    """A static nginx on a copy of its own. `sizes` maps path to length; returns (port, contents by path)."""
    contents = {}
    for path, size in sizes.items():
        contents[path] = (secrets.token_hex(size // 2)).encode()  # plain text that looks like nothing a cache or filter knows
        file = directory / "www" / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(contents[path])
    [port] = free_ports(1)
    (directory / "nginx.conf").write_text(nginx_frame(directory, f"""
    access_log off;
    sendfile on;
    tcp_nopush on;
    open_file_cache max=16 inactive=1h;
    keepalive_requests 1000000000;
    keepalive_timeout 1h;
    types {{ application/javascript js; }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        root {directory}/www;
        add_header Cache-Control no-store;  # every request shall reach us, whatever a proxy may cache
        location = /healthcheck {{ default_type text/plain; return 200 "true"; }}
        location = /counters {{ stub_status; }}
    }}"""))
    program, environment = private_copy(shutil.which("nginx"), directory / "copy")
    with open(directory / "stderr", "w") as sink:
        process = launcher.start(nginx_command(program, directory), launcher.other_cpus, environment, stdout=sink, stderr=sink)
    wait_for(lambda: read_counters(port), process, directory / "stderr", "the upstream nginx")
    return port, contents


def parse_counters(text):
    """(connections accepted, requests) of nginx's stub_status."""
    accepted, _, requests = re.search(r"^\s*(\d+)\s+(\d+)\s+(\d+)\s*$", text, re.MULTILINE).groups()
    return int(accepted), int(requests)


def read_counters(port):
    """Our own question counts too: one connection, one request each time."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/counters", timeout=5) as answer:
        return parse_counters(answer.read().decode())


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


def fetch(port, path):
    """GET over TLS; the certificate is ours and not judged."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    with urllib.request.urlopen(urllib.request.Request(f"https://127.0.0.1:{port}{path}", headers={"Host": f"localhost:{port}"}),
                                context=context, timeout=10) as answer:
        return answer.read()


class Peer:
    """One contestant. A subclass says which program, how it is configured, and where its access log goes."""
    name = ""
    log = "stdout"

    def __init__(self, program):
        self.program = program

    def version(self):
        said = subprocess.run([self.program, "-v"], capture_output=True, text=True)
        return (said.stdout + said.stderr).strip().splitlines()[0]

    def prepare(self, directory, site, port):
        """Write the configuration; return the command."""
        raise NotImplementedError

    def start(self, directory, site, launcher, contents):
        """(process, port), once it serves what the upstream has."""
        [port] = free_ports(1)
        argv = self.prepare(directory, site, port)
        with open(directory / "stdout", "w") as out, open(directory / "stderr", "w") as err:
            process = launcher.start(argv, launcher.proxy_cpus, stdout=out, stderr=err)

        def serves():
            for path, content in contents.items():
                if fetch(port, path) != content:
                    raise PeerError(f"{path} came back changed")
        wait_for(serves, process, directory / "stderr", self.name)
        return process, port

    def log_lines(self, directory):
        with open(directory / self.log, "rb") as file:
            return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))


class Nginx(Peer):
    name, log = "nginx", "access.log"

    def prepare(self, directory, site, port):
        stripped = "\n".join(f'            proxy_set_header {name} "";' for name in STRIPPED)
        (directory / "nginx.conf").write_text(nginx_frame(directory, f"""
    log_format line escape=json '{{"time":"$time_iso8601","address":"$remote_addr","method":"$request_method","uri":"$request_uri",'
        '"protocol":"$server_protocol","status":$status,"bytes":$body_bytes_sent,"duration":$request_time,'
        '"upstream":"$upstream_addr","upstream_duration":"$upstream_response_time","agent":"$http_user_agent"}}';
    access_log {directory}/access.log line buffer=64k flush=1s;
    tcp_nodelay on;
    keepalive_requests 1000000000;
    ssl_certificate {site.chain};
    ssl_certificate_key {site.key};
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_session_cache shared:tls:10m;
    upstream documentserver {{
        server 127.0.0.1:{site.upstream};
        keepalive 512;  # a worker; as many as the HTTP/2 load has in flight, since HAProxy's pool has no limit
        keepalive_requests 1000000000;
    }}
    server {{
        listen 127.0.0.1:{port} ssl http2 reuseport backlog=4096;
        server_name localhost;
        client_max_body_size 100m;
        location / {{
            proxy_pass http://documentserver;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_set_header X-Forwarded-Host $http_host;
            proxy_set_header X-Forwarded-Proto https;
{stripped}
        }}
    }}"""))
        return nginx_command(self.program, directory)


class Haproxy(Peer):
    name = "haproxy"

    def prepare(self, directory, site, port):
        stripped = "\n".join(f"    http-request del-header {name}" for name in STRIPPED)
        (directory / "haproxy.cfg").write_text(f"""
global
    nbthread {WORKERS}
    maxconn 4096
    log stdout format raw local0 info
    ssl-default-bind-options ssl-min-ver TLSv1.2

defaults
    mode http
    log global
    option httplog
    option http-keep-alive
    http-reuse always
    timeout connect 5s
    timeout client 75s
    timeout server 75s
    timeout http-request 10s
    timeout http-keep-alive 75s

frontend tls
    bind 127.0.0.1:{port} ssl crt {site.both} alpn h2,http/1.1 backlog 4096
    http-request set-header X-Forwarded-For %[src]
    http-request set-header X-Forwarded-Host %[req.hdr(host)]
    http-request set-header X-Forwarded-Proto https
{stripped}
    default_backend documentserver

backend documentserver
    option httpchk GET /healthcheck
    server one 127.0.0.1:{site.upstream} check inter 5s
""")
        return [self.program, "-db", "-f", str(directory / "haproxy.cfg")]


class Gateway(Peer):
    def __init__(self, program, name="gateway"):
        super().__init__(program)
        self.name = name

    def version(self):
        said = subprocess.run([self.program, "--version"], capture_output=True, text=True)
        return f"{self.name}: {(said.stdout.strip() or 'no --version').splitlines()[0]} ({Path(self.program).parent.name} build)"

    def prepare(self, directory, site, port):
        [admin] = free_ports(1)
        secret = directory / "secret"
        secret.write_text(secrets.token_hex(32))
        secret.chmod(0o600)
        (directory / "saves").mkdir()
        (directory / "gateway.toml").write_text(f"""
public_url = "https://localhost:{port}"

[server]
https = ["127.0.0.1:{port}"]
http = []
admin = "127.0.0.1:{admin}"
workers = {WORKERS}

[[tls.certificates]]
names = ["localhost"]
chain = "{site.chain}"
key = "{site.key}"

[jwt]
secret = {{ file = "{secret}" }}

[document_server]
servers = ["http://127.0.0.1:{site.upstream}"]

[saves]
directory = "{directory}/saves"
""")
        return [self.program, "run", "--config", str(directory / "gateway.toml")]


def find_gateway(named, root):
    """The gateway's binary: the one named, else the dist build, else the release build, else None."""
    if named:
        return str(Path(named).resolve()) if os.access(named, os.X_OK) else None
    target = root / (os.environ.get("CARGO_TARGET_DIR") or "target")
    for profile in ("dist", "release"):
        binary = target / profile / "rapidpm-gateway"
        if os.access(binary, os.X_OK):
            return str(binary.resolve())
    return None
