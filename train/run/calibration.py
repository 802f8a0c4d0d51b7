"""The statistics that `diffusion.calibrate` measures with a run's network, kept in the run for samplers that need the
variance of x0 given x_t."""

import inspect
import json
from dataclasses import replace
from functools import partial

import numpy as np

from fewstep.diffusion.calibrate import Statistics, calibrated, measure
from fewstep.diffusion.denoiser import INSTANT, Cond, predict_shape, wrappers
from fewstep.diffusion.levers import enlarged
from fewstep.train.utils import npz
from fewstep.train.utils.errors import RunError
from fewstep.train.utils.hashing import digest
from fewstep.train.utils.multihost import anywhere, first, meet
from fewstep.train.utils.progress import progress

POINTS = 40  # half log-SNRs at which they are measured


def around(den) -> list:
    """The levers around a network, outermost first, without it."""
    return [replace(wrapper, inner=None) for wrapper in wrappers(den)]


def calibrate(run, den, count=512, seed=0, points=POINTS, estimate="residual") -> Statistics:
    """Measure statistics of a run's network under levers, `den`, on the first `count` training images at half log-SNRs
    evenly between the finite ends of the process, and keep them in the run."""
    check_predicts_mean(run)
    check_data_size(run, den)
    images = run.data.train[: min(count, len(run.data.train))]
    cond = Cond(images.label.astype(np.int32) if den.classes else None)
    lam = np.linspace(*(float(den.process.lam(t)) for t in den.process.snr_ends), points)
    with progress(len(images.image), unit="images") as show:
        found = measure(den, images.image, lam, seed, cond, show=show, eight_bit=len(run.shape) == 3)
    record = _belongs(run, den) | {"estimate": estimate, "count": len(images.image), "seed": seed}
    at = path(run, den)  # a digest, for which all processes must ask
    if first():
        npz.write(at, told=json.dumps(record), **found._asdict())
    meet("the statistics are kept")
    return found


def ready(run, den, table):
    """The denoiser for a table: with the run's statistics where the table needs a variance that it does not tell."""
    if not table.spread.any():
        return den
    cond = Cond(np.zeros(1, np.int32)) if den.classes else Cond()
    image = np.zeros((1, *enlarged(run.shape, den)), np.float32)
    if predict_shape(den, image, np.float32(0.5), None, cond).var is not None:
        return den
    return calibrated(den, *_load(run, den), bound=1.0 if len(run.shape) == 3 else None)


def check_predicts_mean(run):
    """RunError for a run that learned nothing of a variance."""
    if INSTANT not in run.model.capabilities:
        raise RunError(f"{run.folder} learned to jump to the data alone: what x0 is on average it does not tell")


def check_data_size(run, den):
    """RunError for levers under which images are larger than those of the data."""
    if enlarged(run.shape, den) != run.shape:
        raise RunError(
            f"{run.folder} has no data of the size of images under these levers: leave upsample_guidance out"
        )


def grid_on(run, den, grid):
    """The grid, with the run's statistics where it is laid out by them (`dp`)."""
    if "known" not in inspect.signature(grid).parameters:
        return grid
    return partial(grid, known=_load(run, den)[0])


def _load(run, den) -> tuple[Statistics, str]:
    """The statistics of a run under levers, and the estimate that is to be used; measured now where they are not there
    and the run calibrates."""
    if run.calibrates and anywhere(_missing(run, den)):
        calibrate(run, den)
    return _kept(run, den)


def _missing(run, den):
    try:
        _kept(run, den)
    except RunError:
        return True
    return False


def _kept(run, den):
    check_predicts_mean(run)
    check_data_size(run, den)
    file, belongs = path(run, den), _belongs(run, den)
    same = " and the same levers" if around(den) else ""
    at = f" --step {run.step}" if file.exists() else ""
    remedy = f"measure it with `fewstep calibrate {run.folder}{at}`{same}, or by --calibrate"
    if not file.exists():
        raise RunError(f"the variance of x0 is needed here, and {run.folder} has no statistics of it: {remedy}")
    try:
        arrays = npz.read(file)
        record = json.loads(str(arrays["told"]))
        found, estimate = Statistics(*(arrays[name] for name in Statistics._fields)), record["estimate"]
    except KeyError:
        raise RunError(f"{file} is not complete, or of another version of fewstep: {remedy}") from None
    except (npz.Damaged, ValueError):
        raise RunError(f"{file} is damaged: {remedy}") from None
    for what, value in belongs.items():
        if record.get(what) != value:
            known = f" ({record.get(what)}, not {value})" if what in ("step", "process") else ""
            raise RunError(f"{file} was measured with another {what}{known}: {remedy}")
    return found, estimate


def _belongs(run, den):
    """What statistics are of; the averaged weights are those of one EMA."""
    return {
        "step": run.step,
        "process": str(den.process),
        "set of levers": digest(around(den)),
        "EMA or training": run.weights,
    }


def path(run, den):
    """Where the statistics of a run under levers are."""
    levers = around(den)
    name = f"variance-{digest(levers)[:12]}.npz" if levers else "variance.npz"
    return run.folder / "stats" / name
