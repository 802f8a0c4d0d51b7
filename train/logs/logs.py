"""What a run logs, to all who read it: metrics.jsonl, samples/*.png, TensorBoard, and wandb if asked for."""

import time
from contextlib import ExitStack, closing, contextmanager

from etils import epath

from fewstep.train.logs.images import png
from fewstep.train.logs.jsonl import Metrics
from fewstep.train.logs.tensorboard import TensorBoard
from fewstep.train.logs.wandb import Wandb
from fewstep.train.utils.files import write_atomic
from fewstep.train.utils.multihost import first


class Logs:
    """The logs of the run in `folder`, from `step` on, as a context manager; of several processes the first writes.

    What an interrupted run logged after `step` is dropped.  `batch_size` is for images_per_s, `wandb` a project.
    """

    def __init__(self, folder, step: int, batch_size: int, wandb: str | None = None):
        self.folder, self._batch_size = epath.Path(folder), batch_size
        self._before, self._aside = None, 0.0
        with ExitStack() as stack:
            self._writers = [stack.enter_context(closing(writer)) for writer in self._open(step, wandb)]
            self._stack = stack.pop_all()

    def _open(self, step, wandb):
        if first():
            yield Metrics(self.folder / "metrics.jsonl", step)
            yield TensorBoard(self.folder / "tensorboard", step)
            if wandb:
                yield Wandb(self.folder, wandb)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return self._stack.__exit__(*error)

    def log(self, step: int, **values: float):
        """The values of a step, once a step; with images_per_s since the last one that was logged.

        The first has no rate: compilation lies before it.
        """
        now = time.perf_counter()
        if self._before:
            at, since = self._before
            values["images_per_s"] = (step - at) * self._batch_size / max(now - since - self._aside, 1e-9)
        self._before, self._aside = (step, now), 0.0
        for writer in self._writers:
            writer.log(step, values)

    @contextmanager
    def aside(self):
        """What is done inside is no training: its time does not count in images_per_s."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            self._aside += time.perf_counter() - begin

    def picture(self, step: int, pixels):
        """A preview, uint8 (H, W, 1 or 3): samples/STEP.png, and in the logs that show pictures."""
        if first():
            write_atomic(self.folder / "samples" / f"{step:08d}.png", png(pixels))
        for writer in self._writers:
            writer.picture(step, pixels)

    def flush(self):
        """Before a checkpoint: what is logged so far is then where it stays, in a bucket too."""
        for writer in self._writers:
            writer.flush()
