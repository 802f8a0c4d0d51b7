"""Levers that need a run beside the one that is sampled."""

from functools import cache, partial

import jax

from diffusion.denoiser import wrappers
from diffusion.levers import autoguidance as guided
from scripts.errors import UserError
from train.sharding import replicated


def autoguidance(run: str, scale: float, step: int | None = None):
    """Guidance away from a worse model of the same classes: the run in a folder, at a checkpoint; 1 is the model
    itself."""
    return partial(_beside, _opened(run, step), scale)


@cache
def _opened(folder, step):
    from scripts.config import open_run  # which knows this lever
    from scripts.parse import path

    if not isinstance(folder, str):
        raise UserError(f'autoguidance.run is the folder of a run, as in autoguidance("runs/bad", 2): got {folder!r}')
    return open_run(path(folder, "autoguidance.run"), step=step)


def _beside(bad, scale, den):
    """On the devices of the network that is guided."""
    network = wrappers(den)[-1].inner if wrappers(den) else den
    mesh = getattr(jax.tree.leaves(network.params)[0].sharding, "mesh", bad.mesh)
    params = bad.params if mesh == bad.mesh else jax.device_put(bad.params, replicated(mesh))
    return guided(bad.model.denoiser(params), scale)(den)
