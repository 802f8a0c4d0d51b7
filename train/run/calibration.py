"""Statistics that are measured with a run's network, stored in the run for samplers that need them: the variance of x0
given x_t (`diffusion.calibrate`), and the parameterization of DPM-Solver-v3 (`diffusion.ems`)."""

import inspect
import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from etils import epath

from fewstep.diffusion.calibrate import Statistics, calibrated, measure
from fewstep.diffusion.denoiser import INSTANT, Cond, wrappers
from fewstep.diffusion.ems import EMS, measure_ems
from fewstep.diffusion.levers import enlarged
from fewstep.diffusion.predict import predict_shape
from fewstep.samplers import Tableau
from fewstep.samplers.registry import Sampler
from fewstep.train.run.computation import is_other
from fewstep.train.utils import npz
from fewstep.train.utils.errors import Damaged, RunError
from fewstep.train.utils.files import loads
from fewstep.train.utils.hashing import digest
from fewstep.train.utils.multihost import any_process, barrier, is_main_process
from fewstep.train.utils.progress import progress

# Functions here take a `train.run.Run` as `run`; the type is Any because Run imports this module.
POINTS = 40  # half log-SNRs at which the statistics are measured


class Kind(NamedTuple):
    """A kind of statistics: the name of its file, what it is, its type, and the option of `calibrate` that makes it."""

    name: str
    what: str
    type: Any
    option: str = ""


VARIANCE = Kind("variance", "the variance of x0", Statistics)
SLOPES = Kind("ems", "the parameterization of dpm_solver_v3", EMS, " --statistics ems")
KINDS = {kind.name: kind for kind in (VARIANCE, SLOPES)}


def levers_around(den: Any) -> list:
    """The levers around a network, outermost first, without the network."""
    return [replace(wrapper, inner=None) for wrapper in wrappers(den)]


def calibrate(
    run: Any, den: Any, count: int = 512, seed: int = 0, points: int = POINTS, estimate: str = "residual",
    kind: Kind = VARIANCE,
) -> Any:  # fmt: skip
    """Measure statistics of a run's network with levers, `den`, on the first `count` training images, at evenly spaced
    half log-SNRs between the finite ends of the process; store them in the run."""
    check_predicts_mean(run)
    check_data_size(run, den)
    images = run.data.train[: min(count, len(run.data.train))]
    cond = Cond(images.label.astype(np.int32) if den.classes else None)
    low, high = (float(den.process.lam(t)) for t in den.process.snr_ends)
    lam = np.linspace(low, high, points)
    with progress(len(images.image), unit="images") as show:
        if kind is VARIANCE:
            found = measure(den, images.image, lam, seed, cond, show=show, eight_bit=len(run.shape) == 3)
        else:
            found = measure_ems(den, images.image, lam, seed, cond, show=show)
    record = _identity(run, den) | {"code": run.code, "estimate": estimate, "count": len(images.image), "seed": seed}
    file = path(run, den, kind)  # computes a digest, which all processes must do
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
    return calibrated(den, *_load(run, den, VARIANCE), bound=1.0 if len(run.shape) == 3 else None)


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
    return partial(grid, known=_load(run, den, VARIANCE)[0])


def sampler_with_statistics(run: Any, sampler: Sampler, levers: Any = ()) -> Sampler:
    """The sampler, with the run's statistics under levers if it depends on them (`dpm_solver_v3`)."""
    if "ems" not in sampler.needs:
        return sampler
    rows = partial(sampler.rows, known=_load(run, run.under(levers), SLOPES)[0])
    return replace(sampler, rows=rows, title=sampler.name, needs=sampler.needs - {"ems"})


def _load(run, den, kind) -> tuple[Any, str]:
    """The statistics of a run with levers, and the estimate to use; measured now if missing and run.calibrates."""
    if kind is VARIANCE:
        den.process.check_gaussian(kind.what)
    if run.calibrates and any_process(_missing(run, den, kind)):
        calibrate(run, den, kind=kind)
    return _read(run, den, kind)


def _missing(run, den, kind):
    try:
        _read(run, den, kind)
    except RunError:
        return True
    return False


def _read(run, den, kind):
    check_predicts_mean(run)
    check_data_size(run, den)
    file, identity = path(run, den, kind), _identity(run, den)
    of, remedy = run.name, "pass calibrate=True"
    if (run.folder / "run.json").exists():  # not a denoiser in the place of a run
        same = " and the same levers and settings" if levers_around(den) else ""
        at = (f" --step {run.step}" if file.exists() else "") + kind.option
        of = run.folder
        remedy = f"measure it with `fewstep calibrate {of}{at}`{same}, or add --calibrate (in Python calibrate=True)"
    if not file.exists():
        raise RunError(f"this requires {kind.what}, but {of} has no statistics of it: {remedy}")
    try:
        arrays = npz.read(file)
        record = loads(str(arrays["told"]))
        found, estimate = kind.type(*(arrays[name] for name in kind.type._fields)), record["estimate"]
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


def path(run: Any, den: Any, kind: Kind = VARIANCE) -> epath.Path:
    """The file of statistics of a run with levers."""
    levers = levers_around(den)
    return run.folder / "stats" / (f"{kind.name}-{digest(levers)[:12]}.npz" if levers else f"{kind.name}.npz")
