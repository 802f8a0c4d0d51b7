"""Checks of a denoiser and of the arguments of `draw` against a table, without compiling anything."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from fewstep.diffusion.arrays import AnyArray
from fewstep.diffusion.denoiser import (
    INSTANT,
    JUMP,
    ZERO,
    Cond,
    DenoiserLike,
    Pred,
    Under,
    names_of,
    wrappers,
)
from fewstep.diffusion.process import Process
from fewstep.errors import UsageError
from fewstep.samplers.steps import NoTable
from fewstep.samplers.tableau import Tableau


def check_capabilities(den: DenoiserLike, table: Tableau) -> None:
    """Raises UsageError if a denoiser lacks a capability that a table requires; nothing is compiled."""
    jumps = np.isfinite(table.s)
    required = set()
    if not jumps.all():
        required.add(INSTANT)
    if jumps.any():
        required.add(ZERO if (table.s[jumps] == 0).all() and JUMP not in den.capabilities else JUMP)
    if missing := required - den.capabilities:
        raise UsageError(
            f"this sampler requires {names_of(missing)}, and the model learned only {names_of(den.capabilities)}: "
            f"choose another sampler, or a model trained for it"
        )
    check_noise(den.process, table)
    model, t = _network(den, table.t[0])
    if model and model.prediction.det(model.process, t) == 0:
        raise UsageError(
            f"the first call is at t = {t:g}, where alpha = 0 and this model's prediction does not determine x0: "
            f"start at a smaller t, as the grid log_snr does"
        )
    if not den.consistent and (table.x.any() or table.past.any()):
        raise UsageError(
            "a lever of this model (cfg_pp, clip_x0 without rebuild) breaks alpha x0 + sigma eps = x, so it requires "
            "samplers of the ddim form: ddim or ddpm"
        )


def check_noise(process: Process, table: Tableau, name: str = "this table") -> None:
    """Raises NoTable for a table that adds Gaussian noise, on a process whose noise is not Gaussian."""
    if (table.noise.any() or table.spread.any()) and not np.isinf(process.freedom):
        raise NoTable(
            f"{name} adds Gaussian noise, and that of {type(process).__name__} is not: choose a sampler without noise, "
            f"such as dpmpp_2m"
        )


def _network(den: DenoiserLike, t: float) -> tuple[Any, Any]:
    """The Model of the network inside all levers, None for an oracle, and the time that corresponds to t for it."""
    around = wrappers(den)
    for wrapper in around:
        t = wrapper.inner_time(t) if isinstance(wrapper, Under) else t
    return getattr(around[-1].inner if around else den, "model", None), t


def check_variance_known(spread: bool, stretch: bool, expected: Pred) -> None:
    """Raises UsageError if rows require Pred.var (`spread`) or Pred.range (`stretch`), and `expected` lacks it."""
    if spread and expected.var is None:
        raise UsageError(
            "this sampler needs the variance of x0 given x_t, which this model does not predict: choose another one, "
            "measure it (diffusion.calibrate, or fewstep calibrate), or apply the lever curvature after guidance"
        )
    if stretch and expected.range is None:
        raise UsageError(
            "this sampler needs a learned range of variances, which this model lacks: choose another sampler, or train "
            "one (train.variance = @LearnedRange())"
        )


def check_arguments(den: DenoiserLike, count: int, shape: Sequence[int], cond: Cond, start: AnyArray | None) -> None:
    if start is not None and jnp.shape(start) != (count, *shape):
        raise UsageError(f"start has shape {jnp.shape(start)}: {count} seeds of shape {shape} need {(count, *shape)}")
    for name, value in cond._asdict().items():
        sizes = {jnp.shape(leaf)[:1] for leaf in jax.tree.leaves(value)} - {(count,)}
        if sizes:
            raise UsageError(f"cond.{name} is for {sizes.pop()} images: there are {count} seeds")
    label = cond.label
    if label is None or isinstance(label, Tracer):
        return
    low, high = int(np.min(label)), int(np.max(label))
    most = den.classes if getattr(den, "null_class", True) else den.classes - 1
    if low < 0 or high > most or not den.classes:
        raise UsageError(f"labels {low} to {high} are not among the {den.classes} classes of this model")
