"""fewstep fit."""

import numpy as np

from fewstep.cli import parse
from fewstep.cli.config.settings import settings
from fewstep.cli.errors import UserError
from fewstep.cli.options import Levers, Opening
from fewstep.cli.verbs.sampling import again, opened
from fewstep.cli.verbs.sampling import levers as looked_up
from fewstep.diffusion.denoiser import CAPABILITY_NAMES, INSTANT
from fewstep.errors import lookup
from fewstep.evaluation.exact import spectrum
from fewstep.evaluation.reference import MOST
from fewstep.ranges import within
from fewstep.train.run import tables
from fewstep.train.run.fitting import MOST_FITTED, fit_table, method, prefix, spectral_table
from fewstep.train.utils.messages import say
from fewstep.train.utils.multihost import barrier, is_main_process


def main(
    folder: str, given: Levers, opening: Opening, nfe: int, name: str | None, count: int, steps: int, seed: int,
    label: str | None, of_spectrum: str | None, by: str = "table",
) -> None:  # fmt: skip
    """Fit a table of `nfe` calls to a run, and store it in the run."""
    known = settings(opening.set)
    if opening.set and of_spectrum is None:
        raise UserError(f'--set {opening.set[0]}: write the settings of a lever in it, such as --lever "cfg(2)"')
    wrap = looked_up(given, opening.set, known)
    if of_spectrum is not None:
        lookup("sampler", of_spectrum, known.samplers)
        known.check_used({of_spectrum})
        if wrap:
            raise UserError("--spectral calls no network, so that levers have no effect: leave them out")
    if of_spectrum is not None and by != "table":
        raise UserError(f"--spectral fits a grid alone, --method {by} a network: leave one of them out")
    within(nfe, "--nfe", 1, 64)
    within(count, "--count", 8, 100_000)
    within(steps, "--steps", 0, 1_000_000)
    how = method(by, steps)
    within(seed, "--seed", 0, MOST_FITTED - count)
    kind = prefix(by) if of_spectrum is None else "spectral"
    kind = "-".join([kind, *(at for at, _ in wrap)])
    name = tables.checked_name(name or f"{kind}-{nfe}")
    texts = None if label is None else parse.all_words(label, "--label")
    run = opened(folder, opening)
    parse.writable(run.folder, "the run")
    if INSTANT not in run.denoiser.capabilities:
        raise UserError(
            f"fit requires {CAPABILITY_NAMES[INSTANT]}, and {folder} learned only jumps: choose another run"
        )
    if of_spectrum is not None:
        images = run.data.train[: min(MOST, len(run.data.train))].image
        found = spectral_table(run, nfe, known.samplers[of_spectrum], *spectrum(images))
    else:
        found = fit_table(
            run, nfe, [one for _, one in wrap], texts=given.lever, label=texts, seeds=np.arange(seed, seed + count),
            how=how,
        )  # fmt: skip
    if is_main_process():
        file = tables.save(run, name, found)
        errors = ", ".join(f"{stage} {error:.4g}" for stage, error in found.errors.items())
        judged = f"; error on the trajectories that decided: {errors}" if errors else ""
        say(f"{file}: {found.table.nfe} calls, {found.method}{judged}")
        made = tables.of_file(file, f"{tables.PREFIX}{name}")
        say(f"next: {again(run, opening, made, nfe, None, given.lever, [])}")
    barrier("the table is written")
