"""Levers: training-free changes of a denoiser, each a function Denoiser -> Denoiser.

A lever is called with its settings and returns a function that wraps a denoiser: cfg(2.0)(den).  The wrapper is a
registered dataclass, so it passes through jax.jit with its numeric settings, floats, as leaves.  Guidance mixes x0 and
eps and drops var (a variance does not mix linearly); levers that change only x0 recompute eps.  At most one lever of a
chain has a memory (apg), and levers that make additional network calls (cfg, autoguidance, upsample_guidance) go inside
it.
"""

from collections.abc import Iterable
from typing import Any

from fewstep.diffusion.denoiser import Lever
from fewstep.diffusion.levers.apg import apg
from fewstep.diffusion.levers.attention import attention_scale
from fewstep.diffusion.levers.autoguidance import autoguidance
from fewstep.diffusion.levers.bounds import clip_x0, dynamic_threshold
from fewstep.diffusion.levers.curvature import curvature
from fewstep.diffusion.levers.guidance import cfg, cfg_pp
from fewstep.diffusion.levers.interval import interval
from fewstep.diffusion.levers.rescale import rescale
from fewstep.diffusion.levers.skips import freeu, skip_tuning
from fewstep.diffusion.levers.upsample import enlarged, upsample_guidance
from fewstep.diffusion.levers.variance import averaged_variance
from fewstep.diffusion.naming import short
from fewstep.errors import UsageError, listed

LEVERS = {
    "cfg": cfg,
    "apg": apg,
    "cfg_pp": cfg_pp,
    "autoguidance": autoguidance,
    "rescale": rescale,
    "interval": interval,
    "clip_x0": clip_x0,
    "dynamic_threshold": dynamic_threshold,
    "skip_tuning": skip_tuning,
    "freeu": freeu,
    "upsample_guidance": upsample_guidance,
    "attention_scale": attention_scale,
    "averaged_variance": averaged_variance,
    "curvature": curvature,
}


def under(den: Any, levers: Iterable[Lever]) -> Any:
    """The denoiser with levers applied in order, the first innermost; raises UsageError for what is not a lever."""
    for lever in listed(levers):
        if not callable(lever) or lever in LEVERS.values():
            raise UsageError(f"{short(lever)} is not a lever: write it with its settings, such as cfg(1.5)")
        den = lever(den)
        if not hasattr(den, "capabilities"):
            raise UsageError(f"the lever {short(lever)} returned a {short(den)}: a lever returns a denoiser")
    return den


__all__ = [
    "LEVERS",
    "apg",
    "attention_scale",
    "autoguidance",
    "averaged_variance",
    "cfg",
    "cfg_pp",
    "clip_x0",
    "curvature",
    "dynamic_threshold",
    "enlarged",
    "freeu",
    "interval",
    "rescale",
    "skip_tuning",
    "under",
    "upsample_guidance",
]
