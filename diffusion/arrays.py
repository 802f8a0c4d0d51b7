"""The same formulas on the host, in float64, and on the device: which array module, and how times broadcast."""

import numpy as np


def namespace(*arrays):
    """The array module of the first JAX or NumPy array among the arguments; NumPy where all are plain numbers."""
    for a in arrays:
        if hasattr(a, "__array_namespace__"):
            return a.__array_namespace__()
    return np


def over(t, x):
    """t, a number or (B,), shaped to broadcast against x (B, ...)."""
    xp = namespace(t, x)
    return xp.reshape(xp.asarray(t), (-1,) + (1,) * (x.ndim - 1)) if xp.ndim(t) else t
