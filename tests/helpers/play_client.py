"""A server of `fewstep play` in a thread, and a client of it over real sockets."""

import http.client
import json
import signal
import socket
import time
from contextlib import contextmanager
from threading import Thread
from urllib.parse import urlsplit

from fewstep.cli.play.serving import HOST, Server

SECONDS = 120  # for an answer: a draw may be compiled first
VALID = {
    "client": "test", "side": "A", "run": 0, "sampler": "ddim", "nfe": 4, "grid": None, "levers": [], "seed": 0,
    "count": 3, "label": None,
}  # fmt: skip


@contextmanager
def serving(easel):
    """Yields a Client of a new server."""
    with socket.socket() as listening:
        listening.bind((HOST, 0))
        server = Server(easel, listening)
        thread = Thread(target=server.serve_page)
        thread.start()
        try:
            while not server.started:
                time.sleep(0.01)
            yield Client(server.url)
        finally:
            server.handle_exit(signal.SIGINT, None)
            thread.join(SECONDS)
            assert not thread.is_alive()


class Client:
    """Requests to the server at a printed address."""

    def __init__(self, url):
        parts = urlsplit(url)
        self.host, self.port, self.path = parts.hostname, parts.port, parts.path

    def ask(self, method, at="", body=None, path=None, **headers):
        """(status, headers, content) of a request to a page below the token, or to a whole path; underscores in the
        names of headers stand for dashes."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=SECONDS)
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            connection.request(method, self.path + at if path is None else path, body, given)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def draw(self, **changes):
        """(status, JSON) of a drawing request, VALID but for the changes."""
        body = json.dumps(VALID | changes)
        status, _, content = self.ask("POST", "draw", body, content_type="application/json")
        return status, json.loads(content)

    def raw(self, data, patience=0.5):
        """The first bytes of what is answered to raw bytes; none after so many seconds, as to half a request."""
        with socket.create_connection((self.host, self.port), timeout=patience) as connection:
            try:
                connection.sendall(data)
                return connection.recv(1 << 16)
            except (TimeoutError, ConnectionError):  # it may close before it has read all
                return b""
