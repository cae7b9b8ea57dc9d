"""A client that works in stages, and who looks at the proxy between them: it goes on only when it has been looked at.

The client names a stage on its standard output and waits for a file of that name beside it; the watcher writes the file.
"""

import asyncio
import json
import sys
import time
from pathlib import Path

from drive import DriveError

LOOK = 0.05  # seconds


def script(name, *words):
    """The command that runs a client of this folder."""
    return [sys.executable, "-B", str(Path(__file__).resolve().parent / name), *(str(word) for word in words)]


async def stage(name, folder):
    """In the client: wait until somebody has looked."""
    print(name, flush=True)
    while not (Path(folder) / name).exists():
        await asyncio.sleep(LOOK)


def parse_said(text):
    """(the stages that the client named, its result or None)."""
    lines = text.splitlines() if text.endswith("\n") else text.splitlines()[:-1]
    result = json.loads(lines[-1]) if lines and lines[-1].startswith("{") else None
    return [line for line in lines if line.isalpha()], result


def follow(argv, folder, launch, looks, patience, environment=None):
    """Run a client; at each stage of `looks`, call what stands there. Returns (what it returned by stage, the client's result)."""
    folder.mkdir()
    output, seen, deadline = folder / "said", {}, time.monotonic() + patience
    with open(output, "w") as sink:
        client = launch([*argv, str(folder)], environment or {}, stdout=sink, stderr=sink)
    try:
        while client.poll() is None:
            if time.monotonic() > deadline:
                raise DriveError(f"the client did not end within {patience:.0f} s:\n" + output.read_text()[-800:])
            for name in parse_said(output.read_text())[0]:
                if name in looks and name not in seen:
                    seen[name] = looks[name]()
                    (folder / name).touch()
            time.sleep(LOOK)
    finally:
        if client.poll() is None:
            client.kill()
            client.wait()
    _, result = parse_said(output.read_text())
    if result is None or seen.keys() != looks.keys():
        raise DriveError("the client failed:\n" + output.read_text()[-800:])
    return seen, result
