"""metrics.jsonl: one JSON object a logged step."""

import json

from etils import epath

from fewstep.train.utils.errors import RunError
from fewstep.train.utils.files import Growing, dumps


class Metrics:
    """Writes `path`; opened at step k, it first drops what an interrupted run logged after k."""

    def __init__(self, path, step: int):
        kept = [line for line in read(path) if line["step"] <= step]
        self._file = Growing(path, "".join(dumps(line) + "\n" for line in kept).encode())
        self.flush, self.close = self._file.flush, self._file.close

    def log(self, step: int, values: dict):
        """One line; null for what is not finite."""
        self._file.write((dumps({"step": step, **values}) + "\n").encode())

    def picture(self, step: int, pixels):
        """Nothing: it holds numbers."""


def read(path) -> list[dict]:
    """The lines of a metrics file; none where there is no file.  A last line without its end, which a killed run was
    writing, is left out; RunError for any other line that is no object with a step."""
    path = epath.Path(path)
    text = path.read_text() if path.exists() else ""
    lines = []
    for number, line in enumerate(text.split("\n")[:-1], 1):
        try:
            lines.append(json.loads(line))
            lines[-1]["step"] + 0
        except (ValueError, TypeError, KeyError):
            raise RunError(f"{path}, line {number} is damaged: {line[:60]!r}. Mend it or remove the line") from None
    return lines
