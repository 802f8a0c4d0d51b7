"""Drawing what a request asks for, along the path of `fewstep sample`, and what there is to say about it."""

import logging
import shlex
import time
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import jax
import numpy as np

from fewstep.cli.config.messages import target
from fewstep.cli.options import Opening, Sampling
from fewstep.cli.play.asked import Asked, lever_text
from fewstep.cli.play.offer import Offer, offer
from fewstep.cli.play.worker import Superseded
from fewstep.cli.verbs.sample import strip, strips
from fewstep.cli.verbs.sampling import Chosen, again, look_up
from fewstep.diffusion.denoiser import Cond
from fewstep.diffusion.levers import enlarged
from fewstep.errors import UsageError, lookup
from fewstep.evaluation.outside import Sampled, far_outside, root_mean_square
from fewstep.samplers import SAMPLERS, Tableau
from fewstep.samplers.cost import passes
from fewstep.samplers.loop import fetched, program, recorded, remembering
from fewstep.train.logs.images import picture, png
from fewstep.train.run import Run
from fewstep.train.run.calibration import with_statistics
from fewstep.train.run.tables import check_labels
from fewstep.train.utils.messages import LOGGER

ROWS, COLUMNS = 4, 8  # of the picture of predictions
MOST_NUMBERS = 2**24  # in the images of one request


class Easel:
    """The runs, ready to draw from; one thread uses it."""

    def __init__(self, runs: Sequence[Run], opening: Opening, batch: int):
        self.offers: list[Offer] = [offer(run) for run in runs]
        self._runs, self._opening, self._batch = runs, opening, batch
        self._compiled, self._passes = set(), {}
        self.compiling = False  # at this moment

    def draw(self, asked: Asked, is_superseded: Callable[[], bool]) -> dict[str, Any]:
        """The images of a request with their cost and command, as JSON for the page.

        Raises UsageError for settings that do not fit, and Superseded between batches.
        """
        if asked.run >= len(self._runs):
            raise UsageError(f"run is a number from 0: there are {len(self._runs)}")
        run, known = self._runs[asked.run], self.offers[asked.run]
        lookup("sampler", asked.sampler, known.samplers)  # also the name of a fitted table, which may else be a file
        levers = [lever_text(name, settings, known.levers) for name, settings in asked.levers]
        with _messages() as notes:
            overrides = self._overrides(run, asked, levers)
            sampling = Sampling(lever=levers, sampler=asked.sampler, nfe=asked.nfe, grid=asked.grid)
            chosen = look_up(sampling, overrides).on(run)
            table = remembering(chosen.table(run))
            den = with_statistics(run, run.under(chosen.levers), table)
            images, x0, ms, compiled = self._drawn(run, den, table, asked, is_superseded)
            check_labels(chosen.sampler, run.labels(asked.label, asked.count).label)
        far = Sampled(chosen.name, root_mean_square(images), chosen.name, chosen.nfe, run.model.process, chosen.grid)
        return {
            "image": _url(picture(images)),
            "strip": _url(strips(x0)) if self._predicts(run, table) else None,
            "calls": [call + 1 for call in strip(table.nfe, COLUMNS)],
            "nfe": table.nfe,
            "passes": self._counted(run, den, table, chosen, levers),
            "ms": ms,
            "compiled": compiled,
            "command": self._command(run, asked, chosen, levers, overrides),
            "notes": [*notes, *far_outside([far])],
        }

    def _drawn(self, run, den, table, asked, is_superseded):
        """(images, predictions of the first of them, milliseconds, seconds of compilation or None)."""
        shape, size = enlarged(run.shape, den), self._batch
        if asked.count * np.prod(shape) > MOST_NUMBERS:
            raise UsageError(f"images: at most {int(MOST_NUMBERS // np.prod(shape))} of this size are drawn at once")
        # The batch never changes, or every count would be compiled: the last one is filled with repeats.
        seeds = asked.seed + np.minimum(np.arange(-(-asked.count // size) * size), asked.count - 1)
        cond, calls = run.labels(asked.label, len(seeds)), strip(table.nfe, COLUMNS)

        def batch(table: Tableau, first: int, calls: Sequence[int]) -> Any:
            rows = slice(first, first + size)
            part = Cond(None if cond.label is None else cond.label[rows])
            return jax.tree.map(fetched, recorded(den, table, seeds[rows], shape, calls, cond=part))

        compiled = self._compile(den, table, (asked.run, shape), lambda table: batch(table, 0, [0]))
        parts, start = [], time.perf_counter()
        for first in range(0, len(seeds), size):
            if is_superseded():
                raise Superseded
            parts.append(batch(table, first, calls))
        ms = 1000 * (time.perf_counter() - start)
        images = np.concatenate([images for images, _ in parts])[: asked.count]
        return images, parts[0][1][:, : min(ROWS, asked.count)], ms, compiled

    def _compile(self, den, table, of, draw):
        """The seconds that it took to compile the program of a draw, by its cheapest table; None if it is there."""
        key = (*program(den, table), of)
        if key in self._compiled:
            return None
        first = Tableau(*(column[:1] if column.ndim else column for column in table))
        start, self.compiling = time.perf_counter(), True
        try:
            draw(first if program(den, first) == key[:-1] else table)
        finally:
            self.compiling = False
        self._compiled.add(key)
        return time.perf_counter() - start

    def _counted(self, run, den, table, chosen: Chosen, levers):
        """Network passes per image, counted once for each table and levers."""
        key = (run.folder, chosen.name, table.nfe, chosen.grid, *levers)
        if key not in self._passes:
            self._passes[key] = passes(den, table, run.shape)
        return self._passes[key]

    def _predicts(self, run, table):
        """Whether the calls predict images, as jumps between states do not."""
        return len(run.shape) == 3 and run.shape[-1] in (1, 3) and not (table.s > run.model.process.ends[1]).any()

    def _overrides(self, run, asked, levers):
        """Those of the command line that are about the sampler, the grid or the levers."""
        grid = asked.grid or (SAMPLERS[asked.sampler].grid_for(run.model.process) if asked.sampler in SAMPLERS else "")
        used = {asked.sampler, grid, *(text.partition("(")[0] for text in levers)}
        return [text for text in self._opening.set if target(text).split(".")[0] in used]

    def _command(self, run, asked, chosen, levers, overrides):
        """The command that draws these images."""
        words = ["--count", str(asked.count), "--seed", str(asked.seed)]
        if asked.label is not None:
            words += ["--label", run.names[asked.label] if run.names else str(asked.label)]
        how = again(run, self._opening, chosen.sampler, chosen.nfe, asked.grid, levers, overrides)
        return f"{how} {shlex.join(words)}"


class _Messages(logging.Filter):
    """Keeps what is said, and lets none of it pass."""

    def __init__(self):
        super().__init__()
        self.lines = []

    def filter(self, record: logging.LogRecord) -> bool:
        self.lines.append(record.getMessage())
        return False


@contextmanager
def _messages() -> Iterator[list[str]]:
    """The messages of a draw, for the page instead of the terminal."""
    kept = _Messages()
    LOGGER.addFilter(kept)
    try:
        yield kept.lines
    finally:
        LOGGER.removeFilter(kept)


def _url(image):
    """A picture as the address of a PNG, None of no picture."""
    return None if image is None else f"data:image/png;base64,{b64encode(png(image)).decode()}"
