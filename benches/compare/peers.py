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
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import sockets
import tokens
from drive import DOCUMENT
from processes import free_ports, private_copy

WORKERS = 2
PACKAGES = {"nginx": "nginx", "haproxy": "haproxy", "h2load": "nghttp2-client", "openssl": "openssl"}
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

    def token(self):
        return tokens.good(DOCUMENT, self.secret, time.time())


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


def nginx_frame(directory, http, connections=4096):
    """What nginx needs to live in a directory of its own."""
    user = "user root;" if os.geteuid() == 0 else ""
    folders = "\n".join(f"    {name}_temp_path {directory}/{name};"
                        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    return (f"{user}\ndaemon off;\nworker_processes {WORKERS};\npid {directory}/pid;\nerror_log {directory}/error.log warn;\n"
            f"events {{ worker_connections {connections}; }}\nhttp {{\n{folders}\n{http}\n}}\n")


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


def start_socket_upstream(directory, launcher):
    """The upstream of the sockets; returns (port, what it answers to anything else)."""
    [port] = free_ports(1)
    with open(directory / "sockets", "w") as sink:
        process = launcher.start(sockets.command("serve", port), launcher.other_cpus, stdout=sink, stderr=sink)

    def answers():
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthcheck", timeout=5) as answer:
            return answer.read()
    return port, wait_for(answers, process, directory / "sockets", "the sockets' upstream")


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


def fetch(port, path, token=None):
    """(status, body) of a GET over TLS; the certificate is ours and not judged."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    fields = {"Host": f"localhost:{port}"} | ({"Authorization": f"Bearer {token}"} if token else {})
    try:
        with urllib.request.urlopen(urllib.request.Request(f"https://127.0.0.1:{port}{path}", headers=fields),
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

    def __init__(self, program):
        self.program = program

    def version(self):
        said = subprocess.run([self.program, "-v"], capture_output=True, text=True)
        return (said.stdout + said.stderr).strip().splitlines()[0]

    def lacks(self, load):
        """What is missing for this load, as a sentence; None if nothing is."""
        return None

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
        for argv in [*self.helpers(directory, site, load), self.prepare(directory, site, port, load)]:
            with open(directory / "stdout", "a") as out, open(directory / "stderr", "a") as err:
                running.append(launcher.start(argv, launcher.proxy_cpus, stdout=out, stderr=err))
        try:
            self.check(directory, site, running[-1], port, load, content)
        except BaseException:
            for process in running:
                launcher.stop(process)
            raise
        return running, port

    def check(self, directory, site, process, port, load, content):
        token = site.token() if load.token else None

        def serves():
            status, body = fetch(port, load.path, token)
            if status != 200:
                raise PeerError(f"{load.path} came back with {status}")
            if body != content:
                raise PeerError(f"{load.path} came back changed")
        wait_for(serves, process, directory / "stderr", self.name)
        if load.token:
            try:
                check_refusals(lambda token: fetch(port, load.path, token), tokens.bad(DOCUMENT, site.secret, time.time()))
            except CheckError as error:
                raise PeerError(f"{self.name} {error}") from None

    def log_lines(self, directory):
        with open(directory / self.log, "rb") as file:
            return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))


BUILD_SERVICE = "cargo build --profile dist -p jwt-service"

# The service's upstream, and what protects a location. The service gets the one field it reads, no body and no query.
NGINX_TOKEN = ("""
    upstream jwt {{
        server unix:{directory}/jwt.sock;
        keepalive 512;
        keepalive_requests 1000000000;
    }}""", """
        location = /_token {{
            internal;
            proxy_pass http://jwt/;
            proxy_http_version 1.1;
            proxy_pass_request_body off;
            proxy_pass_request_headers off;
            proxy_set_header Host jwt;
            proxy_set_header Connection "";
            proxy_set_header Content-Length "";
            proxy_set_header Authorization $http_authorization;
        }}
        location /downloadfile/ {{
            auth_request /_token;
{forward}
        }}""")


# Proxies close what is silent for a minute unless told otherwise; the editor pings, but nobody would leave that to chance.
NGINX_SOCKETS = """
        location /doc/ {{
{forward}
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection "upgrade";
            proxy_read_timeout 1h;
            proxy_send_timeout 1h;
        }}"""


class Nginx(Peer):
    """Where a token is asked for, with `auth_request` and the service beside it: Debian's nginx cannot read one."""
    name, log = "nginx", "access.log"

    def __init__(self, program, service=None):
        super().__init__(program)
        self.service = service

    def lacks(self, load):
        return f"no jwt-service; build it with `{BUILD_SERVICE}`" if load.token and not self.service else None

    def helpers(self, directory, site, load):
        return [[self.service, str(directory / "jwt.sock"), str(site.secret_file), str(WORKERS)]] if load.token else []

    def prepare(self, directory, site, port, load):
        service, protected = NGINX_TOKEN if load.token else ("", "")
        stripped = "\n".join(f'            proxy_set_header {name} "";' for name in STRIPPED)
        keep_alive = '            proxy_set_header Connection "";'
        forward = f"""            proxy_pass http://documentserver;
            proxy_http_version 1.1;
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_set_header X-Forwarded-Host $http_host;
            proxy_set_header X-Forwarded-Proto https;
{stripped}"""
        own = NGINX_SOCKETS.format(forward=forward) if load.sockets else ""
        forward = f"{forward}\n{keep_alive}"
        connections = max(4096, 2 * load.sockets + 512)  # of one worker, in case it gets them all
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
{service.format(directory=directory)}
    server {{
        listen 127.0.0.1:{port} ssl http2 reuseport backlog=4096;
        server_name localhost;
        client_max_body_size 100m;
        client_header_buffer_size 4k;  # a token fits
        location / {{
{forward}
        }}
{protected.format(forward=forward)}{own}
    }}""", connections))
        return nginx_command(self.program, directory)


# As in HAProxy's own example for `jwt_verify`; the algorithm is never the token's.
HAPROXY_TOKEN = """
    acl protected path_beg -i /downloadfile/
    http-request set-var(req.token) http_auth_bearer if protected
    http-request deny deny_status 403 unless !protected or {{ var(req.token),jwt_header_query('$.alg') -m str HS256 }}
    http-request deny deny_status 403 unless !protected or {{ var(req.token),jwt_verify("HS256","{secret}") 1 }}
    http-request set-var(req.now) date() if protected
    http-request set-var(req.exp) var(req.token),jwt_payload_query('$.exp','int') if protected
    http-request deny deny_status 403 if protected {{ var(req.now),sub(req.exp) ge {leeway} }}
"""


class Haproxy(Peer):
    name = "haproxy"

    def prepare(self, directory, site, port, load):
        check = HAPROXY_TOKEN.format(secret=site.secret, leeway=LEEWAY) if load.token else ""
        stripped = "\n".join(f"    http-request del-header {name}" for name in STRIPPED)
        (directory / "haproxy.cfg").write_text(f"""
global
    nbthread {WORKERS}
    maxconn {max(4096, load.sockets + 128)}
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
    timeout tunnel 1h

frontend tls
    bind 127.0.0.1:{port} ssl crt {site.both} alpn h2,http/1.1 backlog 4096
{check}
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

    def prepare(self, directory, site, port, load):
        [admin] = free_ports(1)
        (directory / "saves").mkdir()
        most = load.sockets + 128  # they all come from one address
        limits = f"""
[limits]
connections = {most}
connections_per_address = {most}
sockets_per_document = {most}
""" if load.sockets else ""
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
secret = {{ file = "{site.secret_file}" }}

[document_server]
servers = ["http://127.0.0.1:{site.upstream}"]

[saves]
directory = "{directory}/saves"
{limits}""")
        return [self.program, "run", "--config", str(directory / "gateway.toml")]


def find_program(name, named, root, beside=None):
    """A binary of this workspace: the one named, else one beside another, else the dist build, else the release build, else None."""
    if named:
        return str(Path(named).resolve()) if os.access(named, os.X_OK) else None
    target = root / (os.environ.get("CARGO_TARGET_DIR") or "target")
    folders = [target / "dist", target / "release"]
    for folder in [Path(beside).parent, *folders] if beside else folders:
        if os.access(folder / name, os.X_OK):
            return str((folder / name).resolve())
    return None


def find_gateway(named, root):
    return find_program("rapidpm-gateway", named, root)
