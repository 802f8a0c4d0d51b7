"""metrics.jsonl: one JSON object a logged step."""

import json
from contextlib import contextmanager

from etils import epath

from train.errors import RunError
from train.files import dumps, write_atomic


class Metrics:
    """Appends to `path`; opened at step k, it first drops what an interrupted run logged after k."""

    def __init__(self, path, step: int):
        self.path = epath.Path(path)
        kept = [line for line in read(self.path) if line["step"] <= step]
        write_atomic(self.path, "".join(dumps(line) + "\n" for line in kept))
        self._file = self.path.open("a")

    def __enter__(self):
        return self

    def __exit__(self, *error):
        with self._written():
            self._file.close()

    def log(self, **values):
        """One line, on disk at once; null for what is not finite.  RunError where it cannot be written."""
        with self._written():
            self._file.write(dumps(values) + "\n")
            self._file.flush()

    @contextmanager
    def _written(self):
        try:
            yield
        except OSError as error:
            raise RunError(
                f"{self.path} could not be written ({error.strerror}): put that right, and the same command goes on "
                f"from the last checkpoint"
            ) from error


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
