"""metrics.jsonl: one JSON object a logged step."""

import json

from etils import epath

from train.files import write_atomic


class Metrics:
    """Appends to `path`; opened at step k, it first drops what an interrupted run logged after k."""

    def __init__(self, path, step: int):
        self.path = epath.Path(path)
        kept = [line for line in read(self.path) if line["step"] <= step]
        write_atomic(self.path, "".join(json.dumps(line) + "\n" for line in kept))
        self._file = self.path.open("a")

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._file.close()

    def log(self, **values):
        """One line, on disk at once."""
        self._file.write(json.dumps(values) + "\n")
        self._file.flush()


def read(path) -> list[dict]:
    """The lines of a metrics file that are whole; none where there is no file."""
    path = epath.Path(path)
    lines = []
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            lines.append(json.loads(line))
        except json.JSONDecodeError:  # the line that a killed run was writing
            break
    return lines
