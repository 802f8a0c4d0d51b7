"""The same formulas on the host, in float64, and on the device: which array module, how times broadcast, and the means
and repeats of pixels."""

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


def pooled(x, m):
    """(B, H, W, C) -> (B, H/m, W/m, C), means of m x m pixels."""
    b, h, w, c = x.shape
    return x.reshape(b, h // m, m, w // m, m, c).mean(axis=(2, 4))


def repeated(x, m):
    """(B, H, W, C) -> (B, mH, mW, C), each pixel m x m times; pooled(repeated(x, m), m) = x."""
    b, h, w, c = x.shape
    return namespace(x).broadcast_to(x[:, :, None, :, None], (b, h, m, w, m, c)).reshape(b, m * h, m * w, c)
