"""The gateway, as its package would run it."""

import re
import subprocess
import urllib.request
from pathlib import Path

from peers import WORKERS, Peer
from processes import free_ports


def parse_brotli(text):
    """Of how many files it has made brotli, out of its metrics; 0 for one that has no such number."""
    found = re.search(r"^gateway_asset_brotli_total (\d+)", text, re.MULTILINE)
    return int(found.group(1)) if found else 0


class Gateway(Peer):
    def __init__(self, program, name="gateway"):
        super().__init__(program)
        self.name, self.admin = name, None

    def version(self):
        said = subprocess.run([self.program, "--version"], capture_output=True, text=True)
        return f"{self.name}: {(said.stdout.strip() or 'no --version').splitlines()[0]} ({Path(self.program).parent.name} build)"

    def brotli(self):
        """Of how many files it has made brotli so far."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}/metrics", timeout=5) as answer:
            return parse_brotli(answer.read().decode())

    def prepare(self, directory, site, port, load):
        [self.admin] = free_ports(1)
        (directory / "saves").mkdir()
        most = load.most_connections + 256  # they all come from one address
        limits = f"""
[limits]
connections = {most}
connections_per_address = {most}
sockets_per_document = {most}
""" if load.most_connections else ""
        integrator = f"""
[[integrators]]
name = "rapidpm"
url = "http://127.0.0.1:{site.upstream}"
""" if load.kind == "callbacks" else ""
        assets = "" if load.cache else """
[assets]
memory = "off"
"""
        (directory / "gateway.toml").write_text(f"""
public_url = "https://localhost:{port}"

[server]
https = ["127.0.0.1:{port}"]
http = []
admin = "127.0.0.1:{self.admin}"
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
{assets}{integrator}{limits}""")
        return [self.program, "run", "--config", str(directory / "gateway.toml")]
