"""fewstep fit."""

import shlex

import numpy as np

from fewstep.cli import parse
from fewstep.cli.config.settings import settings
from fewstep.cli.errors import UserError
from fewstep.cli.options import Levers, Opening
from fewstep.cli.verbs.sampling import levers as looked_up
from fewstep.cli.verbs.sampling import opened
from fewstep.diffusion.denoiser import CAPABILITY_NAMES, INSTANT
from fewstep.errors import lookup
from fewstep.evaluation.exact import spectrum
from fewstep.evaluation.reference import MOST
from fewstep.ranges import within
from fewstep.samplers.fit.gradient import Descent
from fewstep.train.run import tables
from fewstep.train.run.fitting import MOST_FITTED, fit_table, spectral_table
from fewstep.train.utils.messages import say
from fewstep.train.utils.multihost import is_main_process


def main(
    folder: str, given: Levers, opening: Opening, nfe: int, name: str | None, count: int, steps: int, seed: int,
    label: str | None, of_spectrum: str | None,
) -> None:  # fmt: skip
    """Fit a table of `nfe` calls to a run, and store it in the run."""
    known = settings(opening.set)
    wrap = looked_up(given, opening.set, known)
    known.check_used({at for at, _ in wrap})
    within(nfe, "--nfe", 1, 64)
    within(count, "--count", 8, 100_000)
    within(steps, "--steps", 0, 1_000_000)
    within(seed, "--seed", 0, MOST_FITTED - count)
    if of_spectrum is not None:
        lookup("sampler", of_spectrum, known.samplers)
    name = tables.checked_name(name or (f"fit-{nfe}" if of_spectrum is None else f"spectral-{nfe}"))
    texts = None if label is None else parse.all_words(label, "--label")
    run = opened(folder, opening)
    if INSTANT not in run.denoiser.capabilities:
        raise UserError(f"fit requires {CAPABILITY_NAMES[INSTANT]}, and {folder} learned only jumps")
    if of_spectrum is not None:
        if wrap:
            raise UserError("--spectral calls no network, so that levers have no effect: leave them out")
        images = run.data.train[: min(MOST, len(run.data.train))].image
        found = spectral_table(run, nfe, known.samplers[of_spectrum], *spectrum(images))
    else:
        found = fit_table(
            run, nfe, [one for _, one in wrap], texts=given.lever, label=texts, seeds=np.arange(seed, seed + count),
            how=Descent(steps=steps),
        )  # fmt: skip
    if not is_main_process():
        return
    file = tables.save(run, name, found)
    errors = ", ".join(f"{stage} {error:.4g}" for stage, error in found.errors.items())
    say(
        f"{file}: {found.table.nfe} calls, {found.method}"
        + (f"; error on noise that was not fitted on: {errors}" if errors else "")
    )
    again = ["fewstep", "sample", run.folder, "--sampler", f"{tables.PREFIX}{name}"]
    again += [word for text in given.lever for word in ("--lever", text)]
    again += [word for text in opening.set for word in ("--set", text)]
    say(f"next: {shlex.join(map(str, again))}")
