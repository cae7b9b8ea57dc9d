"""What is asked of every contestant: the loads, and how many requests each has."""

from dataclasses import dataclass

DOCUMENT = "k1"
PUBLIC = "/9.0.4-0123456789abcdef0123456789abcdef/web-apps/apps"  # an editor loads it before it has a token
PROTECTED = f"/downloadfile/{DOCUMENT}"  # nobody gets it without one
UPLOAD = f"/upload/{DOCUMENT}"  # nor this
API = "/web-apps/apps/api/documents/api.js"
CALLBACK = "/relay/rapidpm/onlyoffice/callback"
CROWDS = (100, 500, 1000, 2000, 5000)
UPLOAD_SIZE = 40 << 20
PLAIN = 50_000  # requests of a load of 1 KB


@dataclass(frozen=True)
class Load:
    title: str
    kind: str  # who measures it, in measure.py
    path: str = f"{PUBLIC}/size-1k.js"
    size: int = 1024  # of an answer
    arguments: tuple = ()  # of h2load
    protocol: str = "http/1.1"  # that must come out of ALPN
    in_flight: int = 1
    requests: int = 0  # unless the command line says otherwise
    most: int = 0  # whatever it says
    token: bool = False  # whether the path needs one
    body: int = 0  # bytes that every request brings
    sockets: int = 0  # editor sockets to hold
    busy: bool = False  # whether they say something meanwhile
    connections: int = 0  # HTTP connections to hold
    resumed: bool = False  # whether a connection continues a TLS session
    cache: bool = True  # whether the gateway may keep the editor's files
    fresh: bool = False  # whether every open of the editor finds a container that has just been restarted
    saves: bool = False  # whether callbacks bring documents
    shown: str = ""  # what a peer must serve before it is measured, if not the path itself

    @property
    def prefix(self):
        """What a proxy protects."""
        return self.path[:self.path.index("/", 1) + 1]

    @property
    def probe(self):
        """A small body for the check before; None for a GET."""
        return b"x" * 1024 if self.body else None

    @property
    def most_connections(self):
        return max(self.sockets, self.connections)


def h2load(title, arguments, in_flight, requests, most, **more):
    return Load(title, "requests", arguments=arguments, in_flight=in_flight, requests=requests, most=most, **more)


H1, H2 = ("--h1", "-c", "50", "-m", "1"), ("--npn-list=h2", "-c", "50", "-m", "10")
FEW = ("--h1", "-c", "8", "-m", "1")
LOADS = {
    "1k-h1": h2load("1 KB, HTTP/1.1", H1, 50, PLAIN, 1_000_000),
    "1k-h2": h2load("1 KB, HTTP/2", H2, 500, PLAIN, 1_000_000, protocol="h2"),
    "4m-h1": h2load("4 MB, HTTP/1.1", FEW, 8, 400, 10_000, path=f"{PUBLIC}/size-4m.js", size=4 << 20),
    "1k-h1-token": h2load("1 KB with a token, HTTP/1.1", H1, 50, PLAIN, 1_000_000, path=PROTECTED, token=True),
    "1k-h2-token": h2load("1 KB with a token, HTTP/2", H2, 500, PLAIN, 1_000_000, path=PROTECTED, token=True, protocol="h2"),
    "handshake-full": Load("new connection, full handshake, 1 KB", "handshakes", in_flight=8, requests=2_000, most=20_000),
    "editor-open": Load("editor's first open, files cached", "opens", path=API, protocol="h2", requests=40, most=1_000),
    "rest": Load("at rest", "rest"),
}
EXTRA = {  # only where they are named
    "handshake-resumed": Load("new connection, resumed handshake, 1 KB", "handshakes", in_flight=8, requests=2_000, most=20_000,
                              resumed=True),
    "40m-upload": h2load("40 MB upload with a token", ("--h1", "-c", "4", "-m", "1"), 4, 40, 1_000, path=UPLOAD, size=8, token=True,
                         body=UPLOAD_SIZE),
    "editor-open-cold": Load("editor's first open after a restart of the container", "opens", path=API, protocol="h2", requests=20,
                             most=1_000, fresh=True),
    "editor-open-off": Load("editor's first open, nothing cached", "opens", path=API, protocol="h2", requests=20, most=1_000,
                            cache=False),
    "callbacks": Load("callbacks that report", "callbacks", path=CALLBACK, shown=API, in_flight=8, requests=4_000, most=50_000),
    "saves": Load("callbacks that save a document", "callbacks", path=CALLBACK, shown=API, in_flight=8, requests=400, most=10_000, saves=True),
    "sockets-idle": Load("idle editor sockets", "sockets", sockets=2000),
    "sockets-busy": Load("editor sockets, a message a second each", "sockets", sockets=2000, busy=True),
    **{f"curve-{crowd}": Load(f"1 KB over {crowd:,} connections", "crowd", in_flight=50, requests=10_000, most=200_000,
                              connections=crowd) for crowd in CROWDS},
}
ALL = LOADS | EXTRA
CURVE = [f"curve-{crowd}" for crowd in CROWDS]
GROUPS = {"all": list(ALL), "targets": [*LOADS, "sockets-idle"], "curve": CURVE}
