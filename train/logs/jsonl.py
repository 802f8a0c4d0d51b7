"""metrics.jsonl: one JSON object per logged step."""

import numpy as np
from etils import epath

from fewstep.train.utils.errors import RunError
from fewstep.train.utils.files import LOG, AppendFile, dumps, loads, read_text


class Metrics:
    """Writes `path`.  Opened at step k, it first drops the lines that an interrupted run logged after step k."""

    def __init__(self, path: epath.PathLike, step: int):
        kept = [line for line in read(path) if line["step"] <= step]
        self._file = AppendFile(path, "".join(dumps(line) + "\n" for line in kept).encode())
        self.flush, self.close = self._file.flush, self._file.close

    def log(self, step: int, values: dict) -> None:
        """Append one line; values that are not finite become null."""
        self._file.write((dumps({"step": step, **values}) + "\n").encode())

    def picture(self, step: int, pixels: np.ndarray) -> None:
        """Does nothing: this log holds numbers only."""


def read(path: epath.PathLike) -> list[dict]:
    """The lines of a metrics file; [] if there is no file.

    An incomplete last line, left by a killed run, is dropped.  Raises RunError for any other line that is not an object
    with a step.
    """
    path = epath.Path(path)
    text = read_text(path, LOG) if path.exists() else ""
    lines = []
    for number, line in enumerate(text.split("\n")[:-1], 1):
        try:
            lines.append(loads(line))
            _ = lines[-1]["step"] + 0
        except (ValueError, TypeError, KeyError):
            raise RunError(f"{path}, line {number} is damaged: {line[:60]!r}. Repair or remove the line") from None
    return lines
