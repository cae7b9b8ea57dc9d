"""Editor sockets, idle and busy: the upstream that speaks Engine.IO, and the client that holds them.

    python3 sockets.py serve PORT                              the upstream
    python3 sockets.py hold PORT SOCKETS SECONDS BUSY FOLDER    the client, in stages (stages.py); it signs with $COMPARE_SECRET
"""

import asyncio
import base64
import gc
import hashlib
import json
import os
import resource
import ssl
import struct
import sys
import time

import tokens
from stages import stage
from table import percentile

PING = 4.0  # seconds between pings; a Document Server takes 25, and a measurement shall see some
EDITORS = 10  # of one document
WARM = 40  # sockets that come and go before memory is looked at
AT_ONCE = 32  # sockets that are being opened
RATE = 200  # round trips a second
PATIENCE = 20  # seconds for one socket to open, or for one answer
SPARE = 512  # descriptors of a proxy that are not sockets
TEXT, CLOSE = 0x1, 0x8


# Pure.

def frame(text, mask=None, kind=TEXT):
    """One WebSocket frame (RFC 6455 5.2), masked as a client's must be if there is a mask of four bytes."""
    payload, bit = text.encode(), 0x80 if mask else 0
    size = len(payload)
    if size < 126:
        head = struct.pack("!BB", 0x80 | kind, bit | size)
    elif size < 1 << 16:
        head = struct.pack("!BBH", 0x80 | kind, bit | 126, size)
    else:
        head = struct.pack("!BBQ", 0x80 | kind, bit | 127, size)
    return head + mask + masked(payload, mask) if mask else head + payload


def masked(payload, mask):
    repeated = (mask * (len(payload) // 4 + 1))[:len(payload)]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(repeated, "big")).to_bytes(len(payload), "big")


def take_frames(buffer):
    """[(kind, text)] of the whole frames in front, which leave the bytearray."""
    found = []
    while len(buffer) >= 2:
        size, at = buffer[1] & 0x7F, 2
        if size >= 126:
            at = 4 if size == 126 else 10
            if len(buffer) < at:
                break
            size = int.from_bytes(buffer[2:at], "big")
        mask = b""
        if buffer[1] & 0x80:
            mask, at = bytes(buffer[at:at + 4]), at + 4
        if len(buffer) < at + size:
            break
        payload = bytes(buffer[at:at + size])
        found.append((buffer[0] & 0xF, (masked(payload, mask) if mask else payload).decode()))
        del buffer[:at + size]
    return found


def accept(key):
    """`Sec-WebSocket-Accept` (RFC 6455 4.2.2)."""
    return base64.b64encode(hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()).decode()


def most(descriptors):
    """How many sockets a proxy can carry that may open so many files: each has two ends."""
    return (descriptors - SPARE) // 2


def key_of(number):
    return f"k{number // EDITORS}"


# The upstream.

class Server(asyncio.Protocol):
    """Any other request gets "true", as a health check expects."""

    def __init__(self):
        self.buffer, self.upgraded, self.timer, self.waiting = bytearray(), False, None, False

    def connection_made(self, transport):
        self.transport = transport

    def connection_lost(self, error):
        if self.timer:
            self.timer.cancel()

    def data_received(self, data):
        self.buffer += data
        while not self.upgraded and (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            self.answer(bytes(self.buffer[:end]).decode("latin-1"))
            del self.buffer[:end + 4]
        if self.upgraded:
            for kind, text in take_frames(self.buffer):
                self.heard(kind, text)

    def answer(self, head):
        first, *lines = head.split("\r\n")
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        if fields.get("upgrade", "").lower() != "websocket":
            self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 4\r\n\r\ntrue")
            return
        self.upgraded = True
        self.transport.write(("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                              f"Sec-WebSocket-Accept: {accept(fields['sec-websocket-key'])}\r\n\r\n").encode())
        opening = {"sid": os.urandom(15).hex()[:20], "upgrades": [], "pingInterval": int(PING * 1000), "pingTimeout": 20000,
                   "maxPayload": 100000000}
        self.say("0" + json.dumps(opening, separators=(",", ":")))
        self.timer = asyncio.get_running_loop().call_later(PING, self.ping)

    def say(self, text):
        self.transport.write(frame(text))

    def ping(self):
        if self.waiting:  # the last one was not answered
            self.transport.close()
            return
        self.waiting = True
        self.say("2")
        self.timer = asyncio.get_running_loop().call_later(PING, self.ping)

    def heard(self, kind, text):
        if kind != TEXT:
            self.transport.close()
        elif text == "3":
            self.waiting = False
        elif text.startswith("40"):
            self.say('40{"sid":"%s"}' % os.urandom(10).hex())
        else:
            self.say(text)


async def serve(port):
    server = await asyncio.get_running_loop().create_server(Server, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


# The client.

class Editor(asyncio.Protocol):
    """One socket. `opened` holds once the Document Server took it, `echoed` once it answered our message."""

    def __init__(self, port, key, token):
        loop = asyncio.get_running_loop()
        self.port, self.key, self.token = port, key, token
        self.opened, self.echoed = loop.create_future(), loop.create_future()
        self.buffer, self.upgraded, self.lost, self.pings, self.asked, self.why = bytearray(), False, False, 0, None, None

    def connection_made(self, transport):
        self.transport = transport
        transport.write((
            f"GET /doc/{self.key}/c/?shardkey={self.key}&EIO=4&transport=websocket HTTP/1.1\r\nHost: localhost:{self.port}\r\n"
            f"Origin: https://localhost:{self.port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}\r\nUser-Agent: compare\r\n\r\n").encode())

    def connection_lost(self, error):
        self.end(f"ended: {error or 'closed'}")

    def end(self, why):
        self.lost, self.why = True, self.why or why
        for future in (self.opened, self.echoed):
            if not future.done():
                future.cancel()
        self.transport.close()

    def data_received(self, data):
        self.buffer += data
        if not self.upgraded:
            end = self.buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            status = bytes(self.buffer[:end]).split(b"\r\n")[0].decode("latin-1")
            if " 101 " not in status + " ":
                self.end(f"upgrade: {status}")
                return
            self.upgraded = True
            del self.buffer[:end + 4]
        for kind, text in take_frames(self.buffer):
            self.heard(kind, text)

    def say(self, text):
        self.transport.write(frame(text, os.urandom(4)))

    def heard(self, kind, text):
        if kind != TEXT:
            self.end(f"frame of kind {kind}")
        elif text == "2":
            self.pings += 1
            self.say("3")
        elif text.startswith("0{"):
            self.say("40" + json.dumps({"token": self.token}, separators=(",", ":")))
        elif text.startswith("40{"):
            if not self.opened.done():
                self.opened.set_result(None)
        elif text == self.asked:
            if not self.echoed.done():
                self.echoed.set_result(time.perf_counter())
        else:
            self.end(f"unexpected packet: {text[:120]}")

    async def round_trip(self, number):
        """Microseconds, or None."""
        if self.lost:
            return None
        self.echoed = asyncio.get_running_loop().create_future()
        self.asked = f'42["message",{{"type":"cursor","cursor":"{number};AgAAADEA/////w==;{"x" * 120}"}}]'
        begun = time.perf_counter()
        self.say(self.asked)
        try:
            return (await asyncio.wait_for(self.echoed, PATIENCE) - begun) * 1e6
        except (asyncio.TimeoutError, asyncio.CancelledError):
            return None


async def open_one(port, number, context, secret, gate):
    """An editor, opened, or a reason."""
    loop = asyncio.get_running_loop()
    async with gate:
        key = key_of(number)
        editor = Editor(port, key, tokens.good(key, secret, time.time()))
        try:
            await asyncio.wait_for(loop.create_connection(
                lambda: editor, "127.0.0.1", port, ssl=context, server_hostname="localhost"), PATIENCE)
            await asyncio.wait_for(editor.opened, PATIENCE)
            return editor
        except (OSError, asyncio.TimeoutError, asyncio.CancelledError) as error:
            return editor.why or f"{type(error).__name__}: {error}"


async def open_all(port, count, context, secret):
    gate = asyncio.Semaphore(AT_ONCE)
    return await asyncio.gather(*(open_one(port, number, context, secret, gate) for number in range(count)))


async def chat(editors, seconds):
    """Every editor says something each second, evenly spread; returns the times of the round trips."""
    begun = time.perf_counter()

    async def one(number, editor):
        trips = []
        for turn in range(int(seconds)):
            await asyncio.sleep(max(0, begun + turn + number / len(editors) - time.perf_counter()))
            trips.append(await editor.round_trip(number))
        return trips
    return [trip for trips in await asyncio.gather(*(one(*which) for which in enumerate(editors))) for trip in trips]


async def ask_each(editors):
    """One message through each, `RATE` a second."""
    begun, trips = time.perf_counter(), []
    for number, editor in enumerate(editors):
        await asyncio.sleep(max(0, begun + number / RATE - time.perf_counter()))
        trips.append(asyncio.ensure_future(editor.round_trip(number)))
    return await asyncio.gather(*trips)


async def hold(port, count, seconds, busy, secret, folder):
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["http/1.1"])
    for editor in await open_all(port, min(WARM, count), context, secret):
        if isinstance(editor, Editor):
            editor.transport.close()
    await asyncio.sleep(0.5)
    await stage("before", folder)
    begun = time.perf_counter()
    found = await open_all(port, count, context, secret)
    took = time.perf_counter() - begun
    editors, whys = [e for e in found if isinstance(e, Editor)], [e for e in found if not isinstance(e, Editor)]
    heard = {editor: editor.pings for editor in editors}
    await asyncio.sleep(1 if busy else seconds)
    await stage("holding", folder)
    if not busy and seconds >= 2 * PING:  # every one has heard a ping, or something swallows them
        for editor in editors:
            if editor.pings == heard[editor] and not editor.lost:
                editor.end("no ping came")
    begun = time.perf_counter()
    trips = await (chat(editors, seconds) if busy else ask_each(editors))
    span = time.perf_counter() - begun
    await stage("asked", folder)
    for editor in editors:
        if not editor.echoed.done() or editor.echoed.cancelled():
            editor.end("no answer came")
    alive = [editor for editor in editors if not editor.lost]
    whys += [editor.why for editor in editors if editor.lost]
    cipher = alive[0].transport.get_extra_info("cipher")[0] if alive else None
    for editor in alive:
        editor.transport.close()
    await asyncio.sleep(0.5)
    print(json.dumps({"open_s": took, "drops": count - len(alive), "why": sorted(set(whys))[:5], "span_s": span, "cipher": cipher,
                      "times": [round(t) for t in trips if t is not None], "pings": sum(editor.pings for editor in alive)}),
          flush=True)


def result(count, said, before, holding, spent=None):
    """The sample. `before` and `holding` are the proxy's memory; `spent` the CPU seconds of the messages, if they are what counts."""
    times = said["times"]
    busy = {} if spent is None else {"message_cpu_us": spent / len(times) * 1e6, "messages": len(times),
                                     "message_rate": len(times) / said["span_s"]}
    return {
        "sockets": count, "failed": said["drops"], "drops": said["drops"], "why": said["why"], "pings": said["pings"],
        "open_s": said["open_s"], "cipher": said["cipher"], "pss_before_kib": before, "pss_holding_kib": holding,
        "socket_kib": (holding - before) / max(count - said["drops"], 1),
        "echo_p50_us": percentile(times, 50), "echo_p99_us": percentile(times, 99), **busy,
    }


def raise_limit():
    """As many descriptors as we may have, for us and for whom we start; returns the number."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard if hard != resource.RLIM_INFINITY else 1 << 20


if __name__ == "__main__":
    what, port, *rest = sys.argv[1:]
    gc.disable()  # a collection that looks at thousands of sockets would be in somebody's echo
    if what == "serve":
        asyncio.run(serve(int(port)))
    else:
        count, seconds, busy, folder = rest
        asyncio.run(hold(int(port), int(count), float(seconds), bool(int(busy)), os.environ["COMPARE_SECRET"], folder))
