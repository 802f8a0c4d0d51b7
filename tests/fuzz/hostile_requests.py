"""Requests to the page of `fewstep play`, made from a seed: raw bytes with one or a few things wrong with them."""

import json
import random

from hostile_words import ANY, CALLS, NUMBERS, PATHS, TEXTS
from play_client import VALID

MARK = "hostile-7f3a"  # in every path that is asked for: no file of this name may be opened
CLIMBS = (
    "../" * 8,
    "..%2f" * 8,
    "%2e%2e/" * 8,
    "..\\" * 8,
    "/",
    "//",
    "./",
    "%00",
    "%c0%ae%c0%ae/" * 8,
    "file:///",
    "",
)
METHODS = ("GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "get", "G\0T", "")
VALUES = (None, True, [], {}, [[]], {"a": 1}, -1, 0, 1, 2**31, 2**64, 10**300, 0.5, -0.0, 1e308, "", "\ud800", "\0")


def request(seed: int, client) -> bytes:
    """The bytes of one request to the server of a client."""
    rng = random.Random(seed)
    return rng.choice((_garbage, _path, _headers, _framing, _body, _body, _field, _field, _field, _field))(rng, client)


def _joined(client, method="POST", at="draw", body=b"", headers=(), path=None):
    given = {
        "host": f"{client.host}:{client.port}", "content-type": "application/json", "content-length": str(len(body)),
        "connection": "close",
    } | dict(headers)  # fmt: skip
    path = client.path + at if path is None else path
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in given.items() if value is not None)]
    return "\r\n".join(lines).encode("utf-8", "surrogatepass") + b"\r\n\r\n" + body


def _garbage(rng, client):
    """Bytes that are no HTTP, or no longer."""
    data = rng.choice((rng.randbytes(rng.randint(0, 4000)), b"\x16\x03\x01" + rng.randbytes(300), b"\r\n" * 500))
    whole = bytearray(_joined(client, body=json.dumps(VALID).encode()))
    for _ in range(rng.randint(1, 20)):
        whole[rng.randrange(len(whole))] = rng.randrange(256)
    return rng.choice((data, bytes(whole), bytes(whole[: rng.randrange(len(whole))])))


def _path(rng, client):
    """Files that nobody serves, with and without the token."""
    name = rng.choice(CLIMBS) + rng.choice((*PATHS, "etc/passwd", "config.gin", "play.js")) + MARK
    name = "".join(one if " " < one < "\x7f" else f"%{ord(one) % 256:02x}" for one in name)
    root = rng.choice((client.path, client.path.rstrip("/"), "/", "", client.path[:-3] + "/", client.path.upper()))
    query = rng.choice(("", "?file=" + name, "#" + name, ";" + name))
    return _joined(client, rng.choice(METHODS), path=root + name + query)


def _headers(rng, client):
    """Other hosts and sites, and headers that are too many, too long or odd."""
    odd = {
        "host": rng.choice(
            ("evil.example", "", None, "127.0.0.1", f"127.0.0.1:{client.port}@evil", "[::1]", "a" * 9000)
        ),
        "origin": rng.choice(("http://evil.example", "null", "", "http://127.0.0.1")),
        "x-many\r\nx": "\r\n".join(f"x-{i}: {i}" for i in range(rng.randint(1, 3000))),
        "cookie": "a" * rng.randint(0, 100_000),
        "x-forwarded-host": f"127.0.0.1:{client.port}",
        "upgrade": "websocket",
        "expect": "100-continue",
        "content-type": rng.choice(("text/html", "application/json; charset=\xff", "", "multipart/form-data")),
    }
    chosen = rng.sample([*odd], rng.randint(1, 3))
    return _joined(
        client, rng.choice(("GET", "POST")), rng.choice(("", "draw", "offer")), headers=[(n, odd[n]) for n in chosen]
    )


def _framing(rng, client):
    """Lengths that are not those of the body."""
    body = json.dumps(VALID).encode()
    length = rng.choice(("0", "1", "-1", "1e3", "99999999999999999999", "abc", str(len(body) + 1), None))
    chunked = rng.choice((None, "chunked", "gzip, chunked", "identity"))
    parts = rng.choice((body, b"%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n", b"zz\r\n" + body, b"f" * 40 + b"\r\n"))
    return _joined(client, body=parts, headers={"content-length": length, "transfer-encoding": chunked})


def _body(rng, client):
    """Bodies that are not the JSON of a request."""
    text = json.dumps(VALID)
    body = rng.choice(
        (
            rng.choice(ANY).encode("utf-8", "surrogateescape"), rng.randbytes(rng.randint(0, 3000)),
            text[: rng.randrange(len(text))].encode(), text.encode("utf-16"), b" " * rng.randint(0, 100_000),
            b"[" * rng.randint(1, 16_000), json.dumps([VALID] * 3).encode(), b'{"a":' * 3000,
            text.replace("0", rng.choice(NUMBERS)).encode("utf-8", "surrogateescape"),
        )
    )  # fmt: skip
    return _joined(client, body=body)


def _field(rng, client):
    """JSON requests with a few values that nobody offers."""
    asked = dict(VALID)
    for _ in range(rng.randint(1, 2)):
        name, value = rng.choice([*asked, MARK]), rng.choice((*VALUES, *ANY))
        if name == "sampler":
            value = rng.choice((*TEXTS, f"fitted:{rng.choice(CLIMBS)}{MARK}.json", f"fitted:{MARK}", value))
        if name == "levers":
            text = rng.choice((*CALLS, "autoguidance", "cfg", "interval", "skip_tuning", "upsample_guidance"))
            key = rng.choice(("scale", "run", "low", "rho", "m", "**", MARK))
            value = [[text, {key: rng.choice((*VALUES, MARK, f"/{MARK}", value))}]] * rng.choice((1, 1, 1, 2, 9, 300))
        asked[name] = value
    return _joined(client, body=json.dumps(asked).encode())
