"""Guidance that the network was trained to use as an input, in one pass (Geng et al. 2025, arXiv:2512.02012)."""

from dataclasses import dataclass, replace
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import register_dataclass

from fewstep.diffusion.denoiser import Cond, wrappers
from fewstep.diffusion.levers.conditioning import ConditioningLever
from fewstep.errors import UsageError

MIDDLE = 0.5  # trained intervals of times contain it


@register_dataclass
@dataclass(frozen=True)
class TrainedGuidance(ConditioningLever):
    """Gives the network a scale of guidance, and the times t from low to high at which it applies."""

    inner: Any
    scale: float
    low: float = 0.0
    high: float = 1.0

    def conditioning(self, cond: Cond, count: int, on: bool | Array = True) -> Cond:
        guidance = jnp.asarray([self.scale, self.low, self.high], jnp.float32)
        return cond._replace(guidance=jnp.broadcast_to(guidance, (count, 3)))

    def within(self, low: float, high: float) -> "TrainedGuidance":
        """This guidance for noise levels sigma / alpha from low to high, in the times of the network."""
        own = wrappers(self)[-1].inner.process
        with np.errstate(divide="ignore"):
            first, last = (float(own.time(-np.log(np.float64(level)))) for level in (low, high))
        if not first <= MIDDLE <= last:
            raise UsageError(
                f"interval({low:g}, {high:g}) is the times {first:.3g} to {last:.3g}: this network was trained with "
                f"guidance at intervals that contain t = {MIDDLE}"
            )
        return replace(self, low=max(self.low, first), high=min(self.high, last))
