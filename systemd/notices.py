#!/usr/bin/env python3
"""Prints the licences of every crate in the gateway's program, as these ask of whoever hands it on: systemd/notices.py"""

import collections
import json
import pathlib
import re
import subprocess
import sys

FILES = re.compile(r"(licen[cs]e|copying|copyright|notice|unlicense)", re.IGNORECASE)


def cargo(*arguments):
    return subprocess.run(["cargo", *arguments], check=True, capture_output=True, text=True).stdout


def linked():
    """Crates that are part of the program: what only builds or tests it is not handed on."""
    of = ["--locked", "--package", "rapidpm-gateway", "--edges", "normal", "--prefix", "none", "--no-dedupe"]
    lines = cargo("tree", *of, "--format", "{p}").splitlines()
    return {tuple(line.split()[:2]) for line in lines if line}


def texts(folder):
    """What a crate brings; folders of licences are looked into as well."""
    found = [path for path in folder.iterdir() if FILES.match(path.name)]
    found += [path for above in found if above.is_dir() for path in above.iterdir()]
    return sorted(path for path in found if path.is_file() and path.suffix != ".rs")


def main():
    packages = json.loads(cargo("metadata", "--locked", "--format-version", "1"))["packages"]
    wanted = linked()
    crates, bearers = [], collections.defaultdict(list)
    for package in sorted(packages, key=lambda package: package["name"]):
        name = f"{package['name']} {package['version']}"
        if (package["name"], "v" + package["version"]) not in wanted or package["name"] == "rapidpm-gateway":
            continue
        crates.append(f"{name}: {package['license'] or package['license_file']}")
        for path in texts(pathlib.Path(package["manifest_path"]).parent):
            text = path.read_text(errors="replace").replace("\r\n", "\n").strip()
            bearers[text].append(name)
    if len(crates) < 100:
        sys.exit(f"only {len(crates)} crates were found: this cannot be the whole list")
    print("rapidpm-gateway is made of these crates. Where one may be had under several licences, choose.\n")
    print("\n".join(crates))
    for text, names in bearers.items():
        print(f"\n{'=' * 100}\n{', '.join(dict.fromkeys(names))}\n{'-' * 100}\n{text}")


if __name__ == "__main__":
    main()
