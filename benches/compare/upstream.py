"""What stands behind all contestants: a static nginx, one that speaks to sockets, and one that reads what it is sent."""

import re
import secrets
import shutil
import urllib.request

import editor
from nginx import nginx_command, nginx_frame
from peers import wait_for
from processes import free_ports, private_copy
from stages import script


# The container's own headers (protocol of Document Server 9.0.4): a year for what stands below a version, gzip from disk.
EDITOR = """
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        root {root};
        gzip_static on;
        gzip_vary on;
        rewrite ^/\\d+\\.\\d+\\.\\d+-[0-9a-f]+/(.*)$ /versioned/$1 last;
        location /versioned/ {{ expires 365d; }}
        location = /web-apps/apps/api/documents/api.js {{ expires -1; }}
        location = /themes.json {{ add_header Cache-Control max-age=300; }}
        location = /healthcheck {{ default_type text/plain; return 200 "true"; }}
        location = /counters {{ stub_status; }}
    }}"""


def start_upstream(directory, launcher, sizes, opens):
    """A static nginx on a copy of its own. `sizes` maps path to length; returns (port, port of the editor's files or None,
    contents by path)."""
    contents = editor.lay_out(directory / "editor") if opens else {}
    for path, size in sizes.items():
        contents[path] = (secrets.token_hex(size // 2)).encode()  # plain text that looks like nothing a cache or filter knows
        file = directory / "www" / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(contents[path])
    port, other = free_ports(2)
    files = EDITOR.format(port=other, root=directory / "editor") if opens else ""
    (directory / "nginx.conf").write_text(nginx_frame(directory, f"""
    access_log off;
    sendfile on;
    tcp_nopush on;
    open_file_cache max=256 inactive=1h;
    keepalive_requests 1000000000;
    keepalive_timeout 1h;
    types {{
        application/javascript js;
        application/json json;
        application/wasm wasm;
        image/png png;
        image/svg+xml svg;
        text/css css;
        text/html html;
    }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        root {directory}/www;
        add_header Cache-Control no-store;  # every request shall reach us, whatever a proxy may cache
        location = /healthcheck {{ default_type text/plain; return 200 "true"; }}
        location = /counters {{ stub_status; }}
    }}{files}"""))
    program, environment = private_copy(shutil.which("nginx"), directory / "copy")
    with open(directory / "stderr", "w") as sink:
        process = launcher.start(nginx_command(program, directory), launcher.other_cpus, environment, stdout=sink, stderr=sink)
    wait_for(lambda: read_counters(port), process, directory / "stderr", "the upstream nginx")
    return port, other if opens else None, contents


def start_own(argv, who, directory, launcher):
    """An upstream of ours; returns what it answers to whatever nobody has planned for."""
    port = int(argv[-1])
    with open(directory / who, "w") as sink:
        process = launcher.start(argv, launcher.other_cpus, stdout=sink, stderr=sink)

    def answers():
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthcheck", timeout=5) as answer:
            return answer.read()
    return wait_for(answers, process, directory / who, f"the upstream of the {who}")


def start_socket_upstream(directory, launcher):
    """The upstream of the sockets; returns (port, what it answers to anything else)."""
    [port] = free_ports(1)
    return port, start_own(script("sockets.py", "serve", port), "sockets", directory, launcher)


def start_sink(directory, launcher):
    """The upstream of uploads and callbacks; returns (port, what it answers to anything else)."""
    [port] = free_ports(1)
    return port, start_own(script("sink.py", port), "sink", directory, launcher)


def parse_counters(text):
    """(connections accepted, requests) of nginx's stub_status."""
    accepted, _, requests = re.search(r"^\s*(\d+)\s+(\d+)\s+(\d+)\s*$", text, re.MULTILINE).groups()
    return int(accepted), int(requests)


def read_counters(port):
    """Our own question counts too: one connection, one request each time."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/counters", timeout=5) as answer:
        return parse_counters(answer.read().decode())
