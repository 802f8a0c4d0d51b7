"""The prediction of a denoiser as one traced function."""

from functools import partial
from typing import Any

import jax

from fewstep.diffusion.denoiser import Cond, DenoiserLike, Pred


@partial(jax.jit, inline=True)
def predict(den: DenoiserLike, x: Any, t: Any, s: Any = None, cond: Cond = Cond()) -> Pred:
    """den's prediction.  It is traced once for equal shapes, and programs that contain it share the trace."""
    return den(x, t, s, cond)


def predict_shape(den: DenoiserLike, x: Any, t: Any, s: Any = None, cond: Cond = Cond()) -> Pred:
    """The shapes and dtypes of den's prediction, without computing it."""
    return jax.eval_shape(predict, den, x, t, s, cond)
