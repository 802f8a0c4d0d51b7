"""Fitting a table to a run (`samplers.fit`)."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from fewstep.diffusion.levers import enlarged
from fewstep.errors import UsageError, lookup
from fewstep.ranges import within
from fewstep.samplers.amed import FORMS
from fewstep.samplers.fit.amed import Trained, Training, calls_of_epoch, train
from fewstep.samplers.fit.fit import all_calls, fit, trajectories
from fewstep.samplers.fit.gradient import Descent
from fewstep.samplers.fit.numbers import Ends, Numbers, numbers_of, table
from fewstep.samplers.fit.spectral import spectral
from fewstep.samplers.grids import GRIDS
from fewstep.samplers.registry import as_sampler
from fewstep.samplers.tableau import tabulate
from fewstep.train.run.calibration import levers_around
from fewstep.train.run.tables import FittedTable
from fewstep.train.utils.hashing import digest
from fewstep.train.utils.progress import progress

MOST_FITTED = 10**6  # seeds from here on are for judging
SOLUTION = 100  # network calls of the trajectories
MOST_BYTES = 2**32  # of trajectories
METHODS = {"table": Descent()} | {form if form == "amed" else f"amed_{form}": Training(form) for form in FORMS}


def method(name: str, steps: int) -> Descent | Training:
    """The settings of a method of METHODS with so many steps, or epochs; UsageError for an unknown name."""
    found = lookup("method", name, METHODS)
    if isinstance(found, Training):
        return found._replace(epochs=within(steps, "steps", 1, 100_000))
    return found._replace(steps=within(steps, "steps", 0, 1_000_000))


def prefix(name: str) -> str:
    """What the default names of tables begin with, by the name of their method."""
    return "fit" if name == "table" else name


def fit_table(
    run: Any, nfe: int, levers: Sequence[Any] = (), *, texts: Sequence[str] = (), label: Any = None,
    seeds: np.ndarray = np.arange(5 * 10**5, 5 * 10**5 + 200), how: Descent | Training = Descent(),
) -> FittedTable:  # fmt: skip
    """A table of `nfe` calls fitted to the trajectories of a run (`train.run.Run`) from the noise of the seeds, or with
    a `Training` one of AMED.

    texts: the levers as they are told.  Raises UsageError for seeds of a million and above, which judge.
    """
    if len(seeds) and max(seeds) >= MOST_FITTED:
        raise UsageError(f"seeds of {MOST_FITTED} and above judge tables: fit on smaller ones")
    within(nfe, "nfe", 1, 64)
    den, cond = run.under(levers), run.labels(label, len(seeds))
    shape = enlarged(run.shape, den)
    if (size := 8 * len(seeds) * SOLUTION * int(np.prod(shape))) > MOST_BYTES:
        raise UsageError(f"{len(seeds)} trajectories of this size take {size / 2**30:.0f} GiB: fit to fewer (count)")
    begun = len(seeds) * SOLUTION
    if isinstance(how, Training):
        search, total = partial(train, how=how), begun + how.epochs * calls_of_epoch(nfe, len(seeds))
    else:
        search, total = partial(fit, how=how), all_calls(nfe, len(seeds), SOLUTION, how)
    with progress(total, unit="calls", note="compiling") as show:

        def also(done: int, note: str) -> None:
            show(min(begun + done, total), note)

        teacher = trajectories(den, seeds, shape, cond, SOLUTION, show=show)
        found = search(den, nfe, teacher, show=also)
    labels = None if label is None or cond.label is None else tuple(dict.fromkeys(map(int, np.asarray(cond.label))))
    errors, of_seeds = dict(found.errors), (int(seeds[0]), len(seeds))
    told = _told(run, found.table, found.last, found.method, errors, texts, den, labels, of_seeds)
    return replace(told, form=found.form, predictor=found.predictor) if isinstance(found, Trained) else told


def spectral_table(run: Any, nfe: int, sampler: Any, mean: np.ndarray, var: np.ndarray) -> FittedTable:
    """The table of a sampler (a name, or as in SAMPLERS) in `nfe` calls on the spectral grid of data with a mean and
    variances (`samplers.fit.spectral`).

    Raises UsageError for a sampler that is no multistep method without noise.
    """
    chosen, process = as_sampler(sampler), run.model.process

    def numbers(grid: np.ndarray) -> tuple[Ends, Numbers]:
        made = tabulate(chosen(process, grid))
        found = numbers_of(process, made, float(grid[-1])) if made.nfe == nfe else None
        if found is None:
            raise UsageError(f"{chosen.name} is no multistep method without noise: take ddim, dpmpp_2m or unipc")
        return found

    numbers(GRIDS["uniform"](process, nfe))
    grid = spectral(process, chosen, nfe, mean, var)
    plain = table(process, *numbers(grid))
    return _told(run, plain, float(grid[-1]), f"{chosen.name} on the spectral grid", {}, (), run.denoiser, None, (0, 0))


def _told(run, made, last, method, errors, texts, den, labels, seeds) -> FittedTable:
    """The table with what it was fitted on."""
    prediction = repr(getattr(run.model, "prediction", None))
    return FittedTable(
        made, last, repr(run.model.process), prediction, run.weights, run.step, tuple(texts),
        digest(levers_around(den)), labels, seeds, method, errors,
    )  # fmt: skip
