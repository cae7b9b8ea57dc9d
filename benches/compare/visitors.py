"""Clients of our own over keep-alive HTTP/1.1, where h2load cannot say what is to be said.

    python3 visitors.py crowd PORT PATH CONNECTIONS REQUESTS IN_FLIGHT FOLDER       many connections, each asks now and then
    python3 visitors.py callbacks PORT PATH UPSTREAM REQUESTS IN_FLIGHT saves FOLDER    callbacks, each about another document

The secret of the callbacks' tokens comes in $COMPARE_SECRET. Stages and result are told as stages.py says.
"""

import asyncio
import gc
import itertools
import json
import os
import ssl
import sys
import time

import tokens
from stages import stage

PATIENCE = 30  # seconds for one answer
AT_ONCE = 32  # connections that are being opened
SETTLE = 1.0  # seconds after the connections were opened


# Pure.

def take_answer(buffer):
    """(status, body) of the whole answer in front, which leaves the bytearray; None if it is not whole."""
    end = buffer.find(b"\r\n\r\n")
    if end < 0:
        return None
    first, *lines = bytes(buffer[:end]).decode("latin-1").split("\r\n")
    fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    whole = end + 4 + int(fields["content-length"])  # KeyError: none of our upstreams' answers is without
    if len(buffer) < whole:
        return None
    body = bytes(buffer[end + 4:whole])
    del buffer[:whole]
    return int(first.split(" ")[1]), body


def get(port, path):
    return f"GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\nUser-Agent: compare\r\nAccept: */*\r\n\r\n".encode()


def callback(number, saves, upstream):
    """What a Document Server says: an editor came (1), or the last one left and here is the document (2)."""
    key = f"k{number}"
    said = {"key": key, "status": 2 if saves else 1, "users": ["u1"], "actions": [{"type": 0 if saves else 1, "userid": "u1"}]}
    if saves:
        def link(name):
            return (f"http://127.0.0.1:{upstream}/cache/files/data/{key}_1/{name}/{name}"
                    f"?md5=AAAAAAAAAAAAAAAAAAAAAA&expires=1999999999&shardkey={key}&filename={name}")
        said |= {"url": link("output.docx"), "changesurl": link("changes.zip"), "lastsave": "2026-11-22T04:07:11.000Z",
                 "history": {"serverVersion": "9.0.4", "changes": [{"created": "2026-11-22 04:07:11",
                                                                    "user": {"id": "u1", "name": "User u1"}}]},
                 "notmodified": False, "filetype": "docx"}
    return said


def post(port, path, said, secret, now):
    """With the token in both places, as a Document Server sends it."""
    times = {"iat": int(now), "exp": int(now) + 300}
    body = json.dumps({**said, "token": tokens.sign(said | times, secret)}, separators=(",", ":")).encode()
    token = tokens.sign({"payload": said, **times}, secret)
    return (f"POST {path} HTTP/1.1\r\nHost: localhost:{port}\r\nAccept: application/json, text/plain, */*\r\n"
            f"Content-Type: application/json\r\nUser-Agent: Node.js/6.13\r\nAuthorization: Bearer {token}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n").encode() + body


# The clients.

class Visitor(asyncio.Protocol):
    """One connection, one question at a time."""

    def __init__(self):
        self.buffer, self.waiting, self.lost = bytearray(), None, None

    def connection_made(self, transport):
        self.transport = transport

    def connection_lost(self, error):
        self.lost = f"ended: {error or 'closed'}"
        if self.waiting and not self.waiting.done():
            self.waiting.set_result(None)

    def data_received(self, data):
        self.buffer += data
        try:
            answer = take_answer(self.buffer)
        except (KeyError, ValueError):
            self.transport.abort()
            return
        if answer and self.waiting and not self.waiting.done():
            self.waiting.set_result(answer)

    async def ask(self, question):
        """((status, body), µs), or (None, µs)."""
        begun = time.perf_counter()
        if self.lost:
            return None, 0.0
        self.waiting = asyncio.get_running_loop().create_future()
        self.transport.write(question)
        try:
            answer = await asyncio.wait_for(self.waiting, PATIENCE)
        except asyncio.TimeoutError:
            answer = None
        return answer, (time.perf_counter() - begun) * 1e6


def context():
    made = ssl.create_default_context()
    made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
    made.minimum_version = ssl.TLSVersion.TLSv1_3
    made.set_alpn_protocols(["http/1.1"])
    return made


async def connect(port, count):
    """Visitors; whoever could not connect is left out."""
    tls, gate, loop = context(), asyncio.Semaphore(AT_ONCE), asyncio.get_running_loop()

    async def one():
        async with gate:
            try:
                return (await asyncio.wait_for(loop.create_connection(
                    Visitor, "127.0.0.1", port, ssl=tls, server_hostname="localhost"), PATIENCE))[1]
            except (OSError, asyncio.TimeoutError):
                return None
    return [visitor for visitor in await asyncio.gather(*(one() for _ in range(count))) if visitor]


async def ask_all(visitors, questions, in_flight):
    """Every question goes to the next visitor who is free, in turn. Returns (times, failures, seconds)."""
    free, questions, times, failures = asyncio.Queue(), iter(questions), [], []
    for visitor in visitors:
        free.put_nowait(visitor)

    async def work():
        for question in questions:
            visitor = await free.get()
            answer, took = await visitor.ask(question)
            if answer and answer[0] == 200:
                times.append(took)
            else:
                failures.append(f"answered {answer[0]}: {answer[1][:80]!r}" if answer else visitor.lost or "no answer")
            free.put_nowait(visitor)
    begun = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(min(in_flight, len(visitors)))))
    return times, failures, time.perf_counter() - begun


def tell(visitors, times, failures, took):
    cipher = visitors[0].transport.get_extra_info("cipher")[0] if visitors else None
    print(json.dumps({"times": [round(t) for t in times], "failed": len(failures), "why": sorted(set(failures))[:5],
                      "span_s": took, "cipher": cipher}), flush=True)


async def crowd(port, path, connections, requests, in_flight, folder):
    question = get(port, path)
    warm = await connect(port, in_flight)
    await ask_all(warm, [question] * 4 * in_flight, in_flight)
    for visitor in warm:
        visitor.transport.close()
    await asyncio.sleep(SETTLE)
    await stage("empty", folder)
    visitors = await connect(port, connections)
    await ask_all(visitors, [question] * len(visitors), in_flight)  # each has been asked once
    await asyncio.sleep(SETTLE)
    await stage("ready", folder)
    times, failures, took = await ask_all(visitors, itertools.repeat(question, requests), in_flight)
    await stage("asked", folder)
    failures += ["no connection"] * (connections - len(visitors))
    tell(visitors, times, failures, took)


async def callbacks(port, path, upstream, requests, in_flight, saves, folder):
    secret, now = os.environ["COMPARE_SECRET"], time.time()
    warm_up = max(in_flight, requests // 10)
    questions = [post(port, path, callback(number, saves, upstream), secret, now) for number in range(warm_up + requests)]
    visitors = await connect(port, in_flight)
    _, early, _ = await ask_all(visitors, questions[:warm_up], in_flight)
    await stage("ready", folder)
    times, failures, took = await ask_all(visitors, questions[warm_up:], in_flight)
    await stage("asked", folder)
    tell(visitors, times, early + failures, took)


if __name__ == "__main__":
    what, port, path, *numbers, folder = sys.argv[1:]
    gc.disable()
    asyncio.run({"crowd": crowd, "callbacks": callbacks}[what](int(port), path, *(int(n) for n in numbers), folder))
