"""Starting and stopping: every process is pinned, quiet, known by its pid, and dies with us."""

import ctypes
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import proc

PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None)


def split_cpus(cpus):
    """(cpus of the proxy, cpus of everything else). With fewer than four there is nothing to part."""
    cpus = sorted(cpus)
    return (cpus, cpus) if len(cpus) < 4 else (cpus[:2], cpus[2:])


def free_ports(count):
    """Ports that were free a moment ago, all different."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def clean_environment(**more):
    """Ours without what would configure a proxy behind our back."""
    hidden = ("ONLY_OFFICE_", "RAPIDPM_", "NOTIFY_SOCKET", "LISTEN_", "NGINX")
    return {k: v for k, v in os.environ.items() if not k.startswith(hidden)} | more


def private_copy(program, directory):
    """The program and its libraries copied, and the environment to run them with.

    PSS divides a page by the processes that map it. A helper that shared nginx's program or its OpenSSL would make nginx
    look smaller than it is, so the helpers run from copies.
    """
    directory.mkdir()
    copy = directory / Path(program).name
    shutil.copy(program, copy)
    listed = subprocess.run(["ldd", program], capture_output=True, text=True).stdout
    for library in re.findall(r"=> (/\S+)", listed):
        shutil.copy(library, directory)
    return str(copy), {"LD_LIBRARY_PATH": str(directory)}


class Launcher:
    """Starts processes and stops what is left of them."""

    def __init__(self):
        self.proxy_cpus, self.other_cpus = split_cpus(os.sched_getaffinity(0))
        self.running = []

    def start(self, argv, cpus, environment=None, **streams):
        def child():  # between fork and exec
            os.sched_setaffinity(0, cpus)
            LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)

        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, env=clean_environment(**(environment or {})),
                                   start_new_session=True, preexec_fn=child, **streams)
        self.running = [p for p in self.running if p.poll() is None] + [process]
        return process

    def stop(self, process, patience=8):
        """SIGTERM, and SIGKILL by pid for what is still there after `patience` seconds. True if it went by itself."""
        if process.poll() is None:
            process.terminate()
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.02)
        willing = process.poll() is not None
        left = proc.tree(process.pid)  # it leads a session, so its workers are found even when it is gone
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        process.wait()
        return willing and not left

    def stop_all(self):
        for process in reversed(self.running):
            self.stop(process)
        self.running = []
