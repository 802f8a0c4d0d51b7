"""Statistics that `diffusion.calibrate` measures with a run's network, stored in the run for samplers that need the
variance of x0 given x_t."""

import inspect
import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from etils import epath

from fewstep.diffusion.calibrate import Statistics, calibrated, measure
from fewstep.diffusion.denoiser import INSTANT, Cond, predict_shape, wrappers
from fewstep.diffusion.levers import enlarged
from fewstep.samplers import Tableau
from fewstep.train.run.computation import is_other
from fewstep.train.utils import npz
from fewstep.train.utils.errors import Damaged, RunError
from fewstep.train.utils.files import loads
from fewstep.train.utils.hashing import digest
from fewstep.train.utils.multihost import any_process, barrier, is_main_process
from fewstep.train.utils.progress import progress

# Functions here take a `train.run.Run` as `run`; the type is Any because Run imports this module.
POINTS = 40  # half log-SNRs at which the statistics are measured


def levers_around(den: Any) -> list:
    """The levers around a network, outermost first, without the network."""
    return [replace(wrapper, inner=None) for wrapper in wrappers(den)]


def calibrate(
    run: Any, den: Any, count: int = 512, seed: int = 0, points: int = POINTS, estimate: str = "residual"
) -> Statistics:
    """Measure the statistics of a run's network with levers, `den`, on the first `count` training images, at evenly
    spaced half log-SNRs between the finite ends of the process; store them in the run."""
    check_predicts_mean(run)
    check_data_size(run, den)
    images = run.data.train[: min(count, len(run.data.train))]
    cond = Cond(images.label.astype(np.int32) if den.classes else None)
    low, high = (float(den.process.lam(t)) for t in den.process.snr_ends)
    lam = np.linspace(low, high, points)
    with progress(len(images.image), unit="images") as show:
        found = measure(den, images.image, lam, seed, cond, show=show, eight_bit=len(run.shape) == 3)
    record = _identity(run, den) | {"code": run.code, "estimate": estimate, "count": len(images.image), "seed": seed}
    file = path(run, den)  # computes a digest, which all processes must do
    if is_main_process():
        npz.write(file, told=json.dumps(record), **found._asdict())
    barrier("the statistics are kept")
    return found


def with_statistics(run: Any, den: Any, table: Tableau) -> Any:
    """The denoiser for a table: with the run's statistics if the table needs a variance that `den` does not predict."""
    if not table.spread.any():
        return den
    cond = Cond(np.zeros(1, np.int32)) if den.classes else Cond()
    image = np.zeros((1, *enlarged(run.shape, den)), np.float32)
    if predict_shape(den, image, np.float32(0.5), None, cond).var is not None:
        return den
    return calibrated(den, *_load(run, den), bound=1.0 if len(run.shape) == 3 else None)


def check_predicts_mean(run: Any) -> None:
    """Raises RunError for a run whose network does not predict E[x0 | x_t]."""
    if INSTANT not in run.model.capabilities:
        raise RunError(f"{run.folder} learned jumps to the data only: it does not predict the mean of x0 given x_t")


def check_data_size(run: Any, den: Any) -> None:
    """Raises RunError for levers that make images larger than the data."""
    if enlarged(run.shape, den) != run.shape:
        raise RunError(f"{run.folder} has no data of the image size under these levers: remove upsample_guidance")


def grid_with_statistics(run: Any, den: Any, grid: Callable) -> Callable:
    """The grid, with the run's statistics if it depends on them (`dp`)."""
    if "known" not in inspect.signature(grid).parameters:
        return grid
    return partial(grid, known=_load(run, den)[0])


def _load(run, den) -> tuple[Statistics, str]:
    """The statistics of a run with levers, and the estimate to use; measured now if missing and run.calibrates."""
    if run.calibrates and any_process(_missing(run, den)):
        calibrate(run, den)
    return _read(run, den)


def _missing(run, den):
    try:
        _read(run, den)
    except RunError:
        return True
    return False


def _read(run, den):
    check_predicts_mean(run)
    check_data_size(run, den)
    file, identity = path(run, den), _identity(run, den)
    of, remedy = run.name, "pass calibrate=True"
    if (run.folder / "run.json").exists():  # not a denoiser in the place of a run
        same = " and the same levers and settings" if levers_around(den) else ""
        at = f" --step {run.step}" if file.exists() else ""
        of = run.folder
        remedy = f"measure it with `fewstep calibrate {of}{at}`{same}, or add --calibrate (in Python calibrate=True)"
    if not file.exists():
        raise RunError(f"this requires the variance of x0, but {of} has no statistics of it: {remedy}")
    try:
        arrays = npz.read(file)
        record = loads(str(arrays["told"]))
        found, estimate = Statistics(*(arrays[name] for name in Statistics._fields)), record["estimate"]
    except KeyError:
        raise RunError(f"{file} is incomplete, or from another version of fewstep: {remedy}") from None
    except (ValueError, TypeError) as error:
        raise RunError(f"{error if isinstance(error, Damaged) else f'{file} is damaged'}: {remedy}") from None
    if is_other(run.code, record.get("code")):
        raise RunError(f"{file} was measured with another code of the network: {remedy}")
    for field, value in identity.items():
        if record.get(field) != value:
            known = f" ({record.get(field)}, not {value})" if field in ("step", "process") else ""
            raise RunError(f"{file} was measured with another {field}{known}: {remedy}")
    return found, estimate


def _identity(run, den):
    """What the statistics depend on."""
    return {
        "step": run.step,
        "process": str(den.process),
        "set of levers": digest(levers_around(den)),
        "EMA or training": run.weights,
    }


def path(run: Any, den: Any) -> epath.Path:
    """The file of the statistics of a run with levers."""
    levers = levers_around(den)
    name = f"variance-{digest(levers)[:12]}.npz" if levers else "variance.npz"
    return run.folder / "stats" / name
