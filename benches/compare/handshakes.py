"""Connections that come, ask once and go: the client, which closes each as a browser does, and never resumes unless told to.

    python3 handshakes.py PORT PATH COUNT AT_ONCE RESUME FOLDER

Cipher and group come from a file in $OPENSSL_CONF, because Python cannot name them for TLS 1.3.
"""

import asyncio
import gc
import json
import socket
import ssl
import sys
import threading
import time

from stages import stage
from visitors import context, get, take_answer

PATIENCE = 15  # seconds for one connection
PIECE = 64 << 10
SETTINGS = """openssl_conf = all
[all]
ssl_conf = tls
[tls]
system_default = everybody
[everybody]
Ciphersuites = TLS_AES_128_GCM_SHA256
Groups = X25519
"""


class Refused(Exception):
    """An answer that is not the one."""


def once(tls, port, question, session):
    """(session, cipher, whether it was resumed) after one request over a connection of its own."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    made = tls.wrap_bio(incoming, outgoing, server_hostname="localhost", session=session)
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as link:
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def until(step):
            while True:
                try:
                    done = step()
                except ssl.SSLWantReadError:
                    done = None
                if outgoing.pending:
                    link.sendall(outgoing.read())
                if done is not None:
                    return done
                piece = link.recv(PIECE)
                if not piece:
                    raise Refused("closed")
                incoming.write(piece)
        until(lambda: made.do_handshake() or True)
        made.write(question)
        buffer = bytearray()

        def read():
            while (answer := take_answer(buffer)) is None:
                buffer.extend(made.read(PIECE))
            return answer
        status, _ = until(read)
        if status != 200:
            raise Refused(f"answered {status}")
        found = made.session, made.cipher()[0], made.session_reused
        try:
            made.unwrap()
        except ssl.SSLError:  # it wants to read the other's goodbye, for which a browser does not wait either
            pass
        link.sendall(outgoing.read())
        return found


def churn(port, path, count, at_once, resume):
    """`count` connections, some at once, each the next one's ticket if they resume."""
    tls, question, lock = context(), get(port, path), threading.Lock()
    numbers, times, failures, resumed, ciphers = iter(range(count)), [], [], [], set()

    def work():
        session = once(tls, port, question, None)[0] if resume else None
        while True:
            with lock:
                if next(numbers, None) is None:
                    return
            begun = time.perf_counter()
            try:
                ticket, cipher, continued = once(tls, port, question, session)
            except (OSError, KeyError, ValueError, Refused) as error:
                failures.append(f"{type(error).__name__}: {error}")
                continue
            times.append((time.perf_counter() - begun) * 1e6)
            session = ticket if resume else None
            resumed.append(continued)
            ciphers.add(cipher)
    begun, threads = time.perf_counter(), [threading.Thread(target=work) for _ in range(at_once)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {"times": [round(t) for t in times], "failed": count - len(times), "why": sorted(set(failures))[:5],
            "resumed": sum(resumed), "span_s": time.perf_counter() - begun, "cipher": ", ".join(sorted(ciphers))}


def main(port, path, count, at_once, resume, folder):
    churn(port, path, max(at_once, count // 10), at_once, resume)
    asyncio.run(stage("ready", folder))
    found = churn(port, path, count, at_once, resume)
    asyncio.run(stage("asked", folder))
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    port, path, *numbers, folder = sys.argv[1:]
    gc.disable()
    main(int(port), path, *(int(number) for number in numbers), folder)
