"""The logs of a run: metrics.jsonl, samples/*.png, TensorBoard, and optionally wandb."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager

import numpy as np
from etils import epath

from fewstep.train.logs.images import png
from fewstep.train.logs.jsonl import Metrics
from fewstep.train.logs.tensorboard import TensorBoard
from fewstep.train.logs.wandb import Wandb
from fewstep.train.utils.files import write_atomic
from fewstep.train.utils.multihost import is_main_process


class Logs:
    """The logs of the run in `folder` from `step` on, as a context manager; only the main process writes.

    Entries that an interrupted run logged after `step` are dropped.  `batch_size` scales images_per_s; `wandb` is the
    name of a project.
    """

    def __init__(self, folder: epath.PathLike, step: int, batch_size: int, wandb: str | None = None):
        self.folder, self._batch_size = epath.Path(folder), batch_size
        self._before, self._untimed = None, 0.0
        with ExitStack() as stack:
            self._writers = [stack.enter_context(closing(writer)) for writer in self._open(step, wandb)]
            self._stack = stack.pop_all()

    def _open(self, step, wandb):
        if is_main_process():
            yield Metrics(self.folder / "metrics.jsonl", step)
            yield TensorBoard(self.folder / "tensorboard", step)
            if wandb:
                yield Wandb(self.folder, wandb)

    def __enter__(self) -> "Logs":
        return self

    def __exit__(self, *error):
        return self._stack.__exit__(*error)

    def log(self, step: int, **values: float) -> None:
        """Log the values of a step, at most once per step, with images_per_s since the previous logged step.

        The first logged step has no rate, because it includes compilation.
        """
        now = time.perf_counter()
        if self._before:
            at, since = self._before
            values["images_per_s"] = (step - at) * self._batch_size / max(now - since - self._untimed, 1e-9)
        self._before, self._untimed = (step, now), 0.0
        for writer in self._writers:
            writer.log(step, values)

    @contextmanager
    def untimed(self) -> Iterator[None]:
        """Exclude the time spent in this context from images_per_s."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self._untimed += time.perf_counter() - start

    def picture(self, step: int, pixels: np.ndarray) -> None:
        """Log a preview, uint8 (H, W, 1 or 3): to samples/STEP.png, TensorBoard and wandb."""
        if is_main_process():
            write_atomic(self.folder / "samples" / f"{step:08d}.png", png(pixels))
        for writer in self._writers:
            writer.picture(step, pixels)

    def flush(self) -> None:
        """Save everything logged so far; called before each checkpoint."""
        for writer in self._writers:
            writer.flush()
