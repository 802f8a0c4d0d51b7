"""Serving the page until Ctrl-C."""

import os
import secrets
import socket
from types import FrameType

import uvicorn

from fewstep.cli.play.drawing import Easel
from fewstep.cli.play.server import application
from fewstep.cli.play.worker import Worker
from fewstep.cli.signals import terminating
from fewstep.train.utils.messages import say

HOST = "127.0.0.1"
PATIENCE = 60.0  # seconds for the batch or the compilation that is under way at the end


class Server(uvicorn.Server):
    """The server of the page on a bound socket, at `url`, with its worker."""

    def __init__(self, easel: Easel, listening: socket.socket):
        token, port = secrets.token_urlsafe(24), listening.getsockname()[1]
        self.url, self._worker, self._listening = f"http://{HOST}:{port}/{token}/", Worker(), listening
        config = uvicorn.Config(
            application(easel, self._worker, token, port), http="h11", ws="none", lifespan="off", log_config=None,
            log_level="error", access_log=False, server_header=False, proxy_headers=False,
            timeout_graceful_shutdown=5, h11_max_incomplete_event_size=1 << 14,
        )  # fmt: skip
        super().__init__(config)
        listening.listen()  # so that nobody is refused from now on

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Ctrl-C: the worker ends first, so that no answer is waited for."""
        self._worker.end()
        super().handle_exit(sig, frame)

    def serve_page(self) -> None:
        """Serve until a signal.  It returns when nothing is drawn any more; after PATIENCE, or at a second Ctrl-C, it
        ends the process at once, because the interpreter aborts if it ends while XLA runs."""
        try:
            self.run(sockets=[self._listening])
        finally:
            self._worker.end()
            try:
                ended = self._worker.join(PATIENCE)
            except KeyboardInterrupt:
                ended = False
            if not ended:
                os._exit(130)


def serve(easel: Easel, listening: socket.socket) -> None:
    """Serve the page; Ctrl-C and SIGTERM raise KeyboardInterrupt when all is closed."""
    server = Server(easel, listening)
    print(server.url, flush=True)
    say("open this address in a browser on this machine; Ctrl-C ends the page")
    with terminating():
        server.serve_page()
    raise KeyboardInterrupt  # uvicorn's has no effect where Ctrl-C is ignored, as behind & in a script
