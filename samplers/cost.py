"""The cost of a table on a denoiser with its levers, counted by running it."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.interpreters.ad import JVPTracer
from jax.tree_util import register_dataclass

from fewstep.diffusion.denoiser import Cond, DenoiserLike, Pred
from fewstep.diffusion.levers import enlarged
from fewstep.diffusion.predict import predict_shape
from fewstep.samplers.loop import with_keys
from fewstep.samplers.tableau import Tableau


class _Counter:
    """Network input elements seen so far."""

    def __init__(self) -> None:
        self.elements = 0


@register_dataclass
@dataclass(frozen=True)
class _StandIn:
    """Replaces a network at no cost, returns zeros, and counts the elements of its inputs."""

    counter: _Counter = field(metadata={"static": True})
    process: Any = field(metadata={"static": True})
    classes: int = field(metadata={"static": True})
    capabilities: frozenset = field(metadata={"static": True})

    consistent, levels, attends, null_class = True, 0, False, True

    def __call__(self, x: Any, t: float, s: Any = None, cond: Cond = Cond()) -> Pred:
        differentiated = isinstance(x, JVPTracer)  # a derivative costs another pass
        if not isinstance(x.primal if differentiated else x, Tracer):
            self.counter.elements += (1 + differentiated) * x.size
        return Pred(jnp.zeros_like(x), jnp.zeros_like(x), jnp.zeros_like(x), jnp.zeros_like(x))


def passes(den: DenoiserLike, table: Tableau, shape: Sequence[int] = (8, 8, 1)) -> float:
    """Network passes per image: the number of input elements of the network over that of the image.

    Guidance counts 2 per row where it is on, upsampling a fraction; without levers it is the number of rows.
    """
    counter, den = _Counter(), den if table.spread.any() else _without_variance(den)
    counted, label = _replaced(den, counter), jnp.zeros(1, jnp.int32) if den.classes else None
    x, jumps, told = jnp.zeros((1, *enlarged(shape, den))), np.isfinite(table.s).any(), Cond(label)
    with jax.disable_jit():
        told = with_keys(told, jax.vmap(jax.random.key)(np.zeros(1, np.uint32)), 0) if table.spread.any() else told
        memory = predict_shape(counted, x, x.dtype.type(1), None, told).memory
        memory = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), memory)
        for t, s in zip(table.t, np.where(np.isnan(table.s), table.t, table.s), strict=True):
            t, s = jnp.asarray(t, x.dtype), jnp.asarray(s, x.dtype) if jumps else None
            memory = counted(x, t, s, told._replace(memory=memory)).memory
    return counter.elements / x.size


def _without_variance(den: Any) -> Any:
    """The denoiser without levers that only estimate a variance, which the compiled loop drops if no row needs it."""
    while getattr(den, "variance_alone", False):
        den = den.inner
    return replace(den, inner=_without_variance(den.inner)) if hasattr(den, "inner") else den


def _replaced(den: Any, counter: _Counter) -> Any:
    """The same levers around stand-ins for the network, and for a second network."""
    if not hasattr(den, "inner"):
        return _StandIn(counter, den.process, den.classes, den.capabilities)
    inside = {f.name: getattr(den, f.name) for f in fields(den)}
    return replace(den, **{n: _replaced(v, counter) for n, v in inside.items() if hasattr(v, "capabilities")})
