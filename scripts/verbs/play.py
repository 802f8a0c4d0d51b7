"""fewstep play."""

import socket
from importlib.util import find_spec

from fewstep.cli.errors import UserError
from fewstep.cli.options import Opening
from fewstep.cli.verbs.sampling import implied, opened
from fewstep.ranges import within

LIBRARIES = ("starlette", "uvicorn")


def main(folders: list[str], opening: Opening, port: int, batch: int) -> None:
    """Serve the page of one or two runs until Ctrl-C."""
    if not all(map(find_spec, LIBRARIES)):
        raise UserError("play needs a server library: pip install 'fewstep[play]'")
    if len(folders) > 2:
        raise UserError(f"play shows one run or two: got {len(folders)}")
    if weights := implied(opening.set):
        raise UserError(f"--set {weights[0]}: play draws with the average that train.ema names, so leave it out")
    within(port, "--port", 0, 65535)
    within(batch, "--batch", 1, 256)
    from fewstep.cli.play.drawing import Easel
    from fewstep.cli.play.serving import HOST, serve

    with socket.socket() as listening:
        try:
            listening.bind((HOST, port))
        except OSError as error:
            raise UserError(f"--port {port}: {error.strerror}; leave it out for a free one") from None
        serve(Easel([opened(folder, opening) for folder in folders], opening, batch), listening)
