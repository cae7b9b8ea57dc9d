"""An editor's first open: what a browser asks for, files that weigh and compress like the container's, and one open as it is measured.

`editor-open.tsv` was taken from a browser that opened a .docx in Document Server 9.0.4: path, status, type, size, size as gzip.
"""

import gzip
import itertools
import random
import re
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from drive import CRYPTOGRAPHY, DriveError

LIST = Path(__file__).resolve().parent / "editor-open.tsv"
VERSION = "/9.0.4-6c2544b8e86a3707c9cd6d6691fb2b5c"
STREAMS = 100  # a browser asks for as much at once as the server lets it
LEVEL = 6  # of gzip
# The container sends its icons (SVG) as they are, and what they would be as gzip was not captured. Of others' large ones gzip makes
# 0.25 (glyphicons), 0.32 (LibreOffice), 0.43 (drawings of Rust's book).
ICONS = 0.35
SAMPLE = 256 << 10
# Text of so many phrases becomes a tenth as gzip. With noise in it so that a script weighs what it should, brotli 9 makes 0.82 to
# 0.85 of its gzip, as of real minified scripts of that size (plotly.js 0.84, bokeh.js 0.83, MathJax 0.81).
PHRASES, FALL = 500, 0.6
SYLLABLES = ("re tu fun ction var get set Style prop ty pe ar ray Obj ect this pro to val ue null re turn ex port s default asc word "
             "cell slide Draw ing Con trol ler view mod el on Change if else for length push call apply Ch ar Par a graph Run Text "
             "Pr Tbl Row").split()
MARKS = [*"().,;={}[]!&|?:+", "==", "&&", "this.", "return ", "var ", "function(", ");", "()"]


@dataclass(frozen=True)
class File:
    path: str
    status: int
    kind: str
    size: int
    packed: int | None  # bytes of its gzip; None: the container has none

    def at(self, version):
        return self.path.replace("{version}", version)

    @property
    def on_disk(self):
        return self.path.replace("{version}", "/versioned").split("?")[0].lstrip("/")


def parse_list(text):
    rows = (line.split("\t") for line in text.splitlines())
    return [File(path, int(status), kind, int(size), None if packed == "-" else int(packed))
            for path, status, kind, size, packed in rows]


def phrases(source):
    words = ["".join(source.choices(SYLLABLES, k=source.randint(1, 4))) for _ in range(PHRASES // 4 + 50)]
    lengths = [source.randint(1, 5) for _ in range(PHRASES)]
    return ["".join(itertools.chain(*zip(source.choices(words, k=k), source.choices(MARKS, k=k)))) for k in lengths]


def blend(source, text, noise, size):
    """`size` bytes of text, of which a share is noise."""
    piece = 2048
    loud, parts = round(piece * noise), []
    for at in range(0, size, piece):
        parts += [source.randbytes(loud), text[at:at + piece - loud]]
    return b"".join(parts)[:size]


def make(file):
    """(content, its gzip or None), always the same for the same file."""
    source = random.Random(file.path)
    if file.packed is None and file.kind != "image/svg+xml":
        return source.randbytes(file.size), None
    pool = phrases(source)
    weights = list(itertools.accumulate((place + 1) ** -FALL for place in range(PHRASES)))
    text, mean = "", sum(map(len, pool)) / PHRASES
    while len(text) < file.size:
        text += "".join(source.choices(pool, cum_weights=weights, k=int(file.size / mean) + 100))
    text, wanted, noise = text.encode(), file.packed / file.size if file.packed else ICONS, 0.0
    for _ in range(3):  # noise weighs a little more than its own bytes, so it is found by trying
        trial = blend(random.Random(1), text, noise, min(file.size, SAMPLE))
        noise = min(max(noise + wanted - len(gzip.compress(trial, LEVEL)) / len(trial), 0.0), 1.0)
    content = blend(source, text, noise, file.size)
    return content, gzip.compress(content, LEVEL, mtime=0) if file.packed else None


def lay_out(folder):
    """Writes all files below `folder`, gzip beside; returns content by path on disk."""
    contents = {}
    for file in parse_list(LIST.read_text()):
        if file.status != 200:
            continue
        content, packed = make(file)
        target = folder / file.on_disk
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        if packed:
            target.with_name(target.name + ".gz").write_bytes(packed)
        contents["/" + file.on_disk] = content
    return contents


def parse_finished(text):
    """(milliseconds, bytes of the answers, requests by class of status) that h2load names at its end."""
    took, unit = re.search(r"^finished in ([\d.]+)(us|ms|s),", text, re.MULTILINE).groups()
    total = re.search(r"^traffic: .*?\((\d+)\) total", text, re.MULTILINE).group(1)
    good, bad = re.search(r"^status codes: (\d+) 2xx, \d+ 3xx, (\d+) 4xx", text, re.MULTILINE).groups()
    return float(took) * {"us": 1e-3, "ms": 1, "s": 1e3}[unit], int(total), (int(good), int(bad))


def open_once(port, version, folder, launch):
    """One browser that opens one editor: (ms, bytes). Its connection is new and its cache empty."""
    files = parse_list(LIST.read_text())
    uris, output = folder / "uris", folder / "open.out"
    uris.write_text("".join(file.at(version) + "\n" for file in files))
    argv = ["h2load", "-t", "1", "-c", "1", "-m", str(STREAMS), "--npn-list=h2", "-n", str(len(files)), "-i", str(uris), "-B",
            f"https://localhost:{port}", f"--connect-to=127.0.0.1:{port}", "-H", "accept-encoding: gzip, deflate, br, zstd",
            *CRYPTOGRAPHY]
    with open(output, "w") as sink:
        driver = launch(argv, stdout=sink, stderr=subprocess.STDOUT)
    try:
        driver.wait(60)
    except subprocess.TimeoutExpired:
        raise DriveError("an open did not end within 60 s") from None
    finally:
        if driver.poll() is None:
            driver.kill()
            driver.wait()
    said = output.read_text()
    expected = tuple(sum(file.status // 100 == kind for file in files) for kind in (2, 4))
    try:
        took, size, statuses = parse_finished(said)
    except AttributeError:
        raise DriveError("h2load ended without a summary:\n" + said[-800:]) from None
    if statuses != expected:
        raise DriveError(f"an open got {statuses} answers with 2xx and 4xx instead of {expected}:\n" + said[-800:])
    return took, size


def open_many(port, count, fresh, folder, launch, seed):
    """(ms by open, bytes by open). Where they are `fresh`, each comes after a restart of the container: the same files elsewhere."""
    opens = []
    for number in range(count):
        version = f"/9.0.4-{seed:08x}{number:024x}" if fresh else VERSION
        opens.append(open_once(port, version, folder, launch))
    return [took for took, _ in opens], median(size for _, size in opens)


def settle(cpu_seconds, patience=60):
    """Wait until a process tree has nothing to do any more: two looks in a row without more than a tick or two."""
    deadline, quiet, before = time.monotonic() + patience, 0, cpu_seconds()
    while quiet < 2:
        if time.monotonic() > deadline:
            raise DriveError(f"the proxy still worked {patience} s after the last request")
        time.sleep(0.5)
        now = cpu_seconds()
        quiet, before = (quiet + 1 if now - before <= 0.02 else 0), now
