"""The server of the page: who may ask, and what is answered.

It listens on the loopback interface only.  A request must name this host, come from no other site, and know the token
of the address that was printed.  Files come from a fixed list: nothing that is asked for is ever opened.
"""

import asyncio
import hmac
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fewstep.cli.explain import explained
from fewstep.cli.play.asked import asked
from fewstep.cli.play.drawing import Easel
from fewstep.cli.play.offer import page
from fewstep.cli.play.worker import Full, Superseded, Worker
from fewstep.errors import UsageError
from fewstep.train.utils.files import loads

BODY, SECONDS, LINE = 16_384, 10, 500  # bytes of a request, time for it to arrive, characters of a message
FILES = {
    "": ("index.html", "text/html"),
    "play.css": ("play.css", "text/css"),
    "play.js": ("play.js", "text/javascript"),
    "controls.js": ("controls.js", "text/javascript"),
}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": POLICY,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


class Answer(JSONResponse):
    """JSON in ASCII: a text from a request may be none that UTF-8 can hold."""

    def render(self, content: Any) -> bytes:
        return json.dumps(content, allow_nan=False).encode()


class Guard:
    """Refuses requests to another host, from another site, or without the token; adds headers to all answers."""

    def __init__(self, app: ASGIApp, token: str, port: int):
        self._app, self._token = app, token.encode()
        self._hosts = [f"{name}:{port}" for name in ("127.0.0.1", "localhost")]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = self._refusal(scope["path"], Headers(scope=scope))
        answer = self._app if refusal is None else Answer({"error": refusal}, 403)

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        await answer(scope, receive, sent)

    def _refusal(self, path, headers):
        if len(hosts := headers.getlist("host")) != 1 or hosts[0] not in self._hosts:
            return f"wrong host: open the page at {self._hosts[0]}"
        if not {*headers.getlist("origin")} <= {f"http://{host}" for host in self._hosts}:
            return "requests of other sites are refused"
        if not hmac.compare_digest(path.split("/")[1].encode() if "/" in path else b"", self._token):
            return "wrong token: open the address that `fewstep play` printed"
        return None


def application(easel: Easel, worker: Worker, token: str, port: int) -> ASGIApp:
    """The pages below /TOKEN/: the files, `offer` and `state`, and `draw`, which takes a request of `asked`."""
    here = Path(__file__).parent

    def fixed(value: bytes, kind: str) -> Callable:
        async def answer(request: Request) -> Response:
            return Response(value, media_type=kind)

        return answer

    async def offered(request: Request) -> Response:
        return Answer(page(easel.offers))

    async def state(request: Request) -> Response:
        return Answer(worker.state() | {"compiling": easel.compiling})

    async def draw(request: Request) -> Response:
        one = asked(await _json(request))
        try:
            future = worker.submit((one.client, one.side), partial(easel.draw, one))
            return Answer(await asyncio.wrap_future(future))
        except Superseded:
            return Answer({"superseded": True})
        except Full:
            raise HTTPException(503, "too many requests are waiting: try again") from None
        except Exception as error:
            if (line := explained(error)) is None:
                raise
            return Answer({"error": _line(line)})

    files = [Route(f"/{at}", fixed((here / name).read_bytes(), kind)) for at, (name, kind) in FILES.items()]
    routes = [*files, Route("/offer", offered), Route("/state", state), Route("/draw", draw, methods=["POST"])]
    handlers: Any = {HTTPException: _refused, UsageError: _wrong, Exception: _failed}
    return Guard(Starlette(routes=[Mount(f"/{token}", routes=routes)], exception_handlers=handlers), token, port)


async def _json(request):
    """The JSON value in the body of a request; HTTPException or UsageError for what is none, too large or too slow."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise HTTPException(415, "send application/json")
    body = bytearray()
    try:
        async with asyncio.timeout(SECONDS):
            async for part in request.stream():
                body += part
                if len(body) > BODY:
                    raise HTTPException(413, f"a request has at most {BODY} bytes")
    except (TimeoutError, ClientDisconnect):
        raise HTTPException(408, "the request did not arrive in time") from None
    try:
        return loads(body.decode())
    except ValueError as error:
        raise UsageError(f"the request is not JSON: {error}") from None


def _line(text):
    return " ".join(text.split())[:LINE]


async def _refused(request, error):
    return Answer({"error": error.detail}, error.status_code)


async def _wrong(request, error):
    return Answer({"error": _line(str(error))}, 400)


async def _failed(request, error):
    return Answer({"error": "this is a bug of fewstep: its traceback is in the terminal"}, 500)
