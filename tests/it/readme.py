"""Runs the README's callback, given as the argument, in a house of stand-ins for flask, jwt, requests and a database."""
import sys
from types import SimpleNamespace as Names


class Refused(Exception):
    """What jwt and requests would raise; flask answers 500."""


class Database:
    def __init__(self):
        self.stored, self.keys = [], set()

    def seen(self, key):
        return key in self.keys

    def store(self, document, content, key):
        self.stored.append((document, content))
        self.keys |= {key} - {None}


class Answer:
    def __init__(self, status):
        self.status, self.content = status, b"words" if status == 200 else b"a page of errors"

    def raise_for_status(self):
        if self.status >= 400:
            raise Refused(self.status)


def decode(token, secret, algorithms, leeway):
    if (token.get("signed"), secret, algorithms) != (True, "secret", ["HS256"]):
        raise Refused("signature")
    return {name: value for name, value in token.items() if name != "signed"}


db, request, links = Database(), Names(), {}
house = {
    "app": Names(post=lambda path: lambda function: function),
    "db": db,
    "jwt": Names(decode=decode),
    "request": request,
    "requests": Names(get=lambda url, timeout: Answer(links.get(url, 404))),
    "SECRET": "secret",
}
exec(sys.argv[1], house)


def told(claims, key="one", signed=True):
    """What the callback answers; None: it fails, and the gateway comes again."""
    request.json = {"token": {**claims, "signed": signed}}
    request.args, request.headers = {"id": "7"}, {"Idempotency-Key": key} if key else {}
    try:
        return house["callback"]()
    except Refused:
        return None


taken, save = {"error": 0}, {"status": 2, "url": "link"}
assert told({"status": 1}) == taken and told({"status": 4}) == taken and told({"status": 3}) == taken
assert not db.stored and not db.keys, "what has no document is only answered"
assert told(save) is None and not db.keys, "a link that fails stores nothing, and the save comes again"
links["link"] = 200
assert told(save, signed=False) is None and not db.stored, "a stranger stores nothing"
assert told(save) == taken and db.stored == [("7", b"words")]
links["link"] = 403  # by the time of a duplicate the link has ended
assert told(save) == taken and len(db.stored) == 1, "a duplicate is answered and not stored"
links["link"] = 200
assert told({**save, "status": 6}, "two") == taken and len(db.stored) == 2, "another save has another key"
assert told(save, None) == taken and told(save, None) == taken and len(db.stored) == 4, "without a key nothing is a duplicate"
print("the README's callback holds")
