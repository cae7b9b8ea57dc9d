"""The upstream that reads what it is sent: uploads, and callbacks as an application would.

    python3 sink.py PORT

Bodies need a Content-Length, which every driver here sends and every proxy passes on.
"""

import asyncio
import gc
import io
import sys
import zipfile

PIECE = 1 << 20  # read at once: 40 MB shall not cost this program much
LARGEST_HEAD = 64 << 10


def archive(parts):
    """A small ZIP file, always the same."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as target:
        for name, text in parts.items():
            target.writestr(zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0)), text, zipfile.ZIP_DEFLATED)
    return file.getvalue()


def document():
    """A Word document of one long text."""
    main = "application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"
    package, office = "http://schemas.openxmlformats.org/package/2006", "http://schemas.openxmlformats.org/officeDocument/2006"
    words = "".join(f"<w:p><w:r><w:t>Paragraph {n}, {n * 7919 % 10007} and {n * n % 9973}</w:t></w:r></w:p>" for n in range(600))
    return archive({
        "[Content_Types].xml": f'<Types xmlns="{package}/content-types"><Default Extension="rels" ContentType="application/'
                               'vnd.openxmlformats-package.relationships+xml"/>'
                               f'<Override PartName="/word/document.xml" ContentType="{main}"/></Types>',
        "_rels/.rels": f'<Relationships xmlns="{package}/relationships"><Relationship Id="r1" Type="{office}/relationships/'
                       'officeDocument" Target="word/document.xml"/></Relationships>',
        "word/document.xml": '<w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"><w:body>'
                             f"{words}</w:body></w:document>"})


def parse_head(head):
    """(method, path, length of the body or None, whether the connection stays)."""
    first, *lines = head.decode("latin-1").split("\r\n")
    method, path, version = first.split(" ", 2)
    fields = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    length = None if "transfer-encoding" in fields else int(fields.get("content-length", 0))
    return method, path, length, version == "HTTP/1.1" and fields.get("connection", "").lower() != "close"


class Sink(asyncio.BufferedProtocol):
    """Answers once a body is whole. `counts` are connections and requests, as nginx counts them."""
    counts = [0, 0]
    document = document()
    changes = archive({"changes.json": "[]"})

    def __init__(self):
        self.piece, self.head, self.left, self.asked = memoryview(bytearray(PIECE)), bytearray(), None, None

    def connection_made(self, transport):
        self.transport = transport
        self.counts[0] += 1

    def get_buffer(self, hint):
        return self.piece

    def buffer_updated(self, count):
        at = 0
        while at < count or (self.left == 0):
            if self.left is None:
                at = self.read_head(at, count)
                if self.left is None:
                    return
            taken = min(self.left, count - at)
            self.left, at = self.left - taken, at + taken
            if self.left:
                return
            self.left = None
            self.answer(*self.asked)

    def read_head(self, at, count):
        """Takes up to the end of a head; returns where the body begins."""
        before = len(self.head)
        self.head += self.piece[at:count]
        end = self.head.find(b"\r\n\r\n", max(0, before - 3))
        if end < 0:
            if len(self.head) > LARGEST_HEAD:
                self.transport.close()
            return count
        method, path, length, stays = parse_head(bytes(self.head[:end]))
        self.head.clear()
        if length is None:
            self.say("411 Length Required", b"", False)
            return count
        self.left, self.asked = length, (method, path, length, stays)
        return at + end + 4 - before

    def answer(self, method, path, length, stays):
        self.counts[1] += 1
        if method == "POST":
            body = b"%8d" % length if path.startswith("/upload/") else b'{"error":0}'
        elif path == "/counters":
            body = f"Active connections: 1 \nserver accepts handled requests\n {self.counts[0]} 0 {self.counts[1]} \n".encode()
        elif path.startswith("/cache/"):
            body = self.changes if "changes.zip" in path else self.document
        else:
            body = b"true"
        self.say("200 OK", body, stays)

    def say(self, status, body, stays):
        kind = b"application/json" if body.startswith(b"{") else b"application/octet-stream"
        self.transport.write(b"HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s"
                             % (status.encode(), kind, len(body), body))
        if not stays:
            self.transport.close()


async def serve(port):
    server = await asyncio.get_running_loop().create_server(Sink, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    gc.disable()
    asyncio.run(serve(int(sys.argv[1])))
