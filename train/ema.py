"""Averages of the parameters: exponential ones, and power-function ones, of which any length is rebuilt afterwards.

An average with the power-function profile of length sigma (Karras et al. 2023, arXiv:2312.02696 section 3.1) weighs the
parameters after step k of T in proportion to (k / T)^gamma, so that it covers the same share of training at every T;
sigma is the standard deviation of k / T under these weights.
"""

from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np

from fewstep.ranges import Range

Length = Annotated[float, Range(0.005, 0.28)]  # that of equal weights is 0.289


def names(decays: Iterable[float], lengths: Iterable[float] = ()) -> list[str]:
    """The keys of the averages in a state: of exponential ones and of power-function ones."""
    return [*map(str, decays), *power_names(lengths)]


def power_names(lengths: Iterable[float]) -> list[str]:
    """The keys of power-function averages."""
    return [f"length_{length}" for length in lengths]


def smoothest(ema: dict) -> Any:
    """The exponential average with the largest decay."""
    return ema[max((name for name in ema if not name.startswith("length_")), key=float)]


def exponent(length: float) -> float:
    """gamma of a length: the root of sigma^2 (gamma + 2)^2 (gamma + 3) = gamma + 1."""
    square = length**-2
    return float(np.roots([1, 7, 16 - square, 12 - square]).real.max())


def update(ema: dict, params: Any, step: jax.Array) -> dict:
    """The averages after a step.  params: all groups of parameters; those without an average are left out.

    Exponential ones have the decay min(decay, (1 + step) / (10 + step)) to warm up, power-function ones
    (1 - 1 / (step + 1))^(gamma + 1), with which the first step replaces the initial parameters.
    """

    def move(name):
        if name.startswith("length_"):
            power = exponent(float(name.removeprefix("length_"))) + 1
            taken = -jnp.expm1(power * jnp.log1p(-1 / (1.0 + step)))
        else:
            taken = 1 - jnp.minimum(float(name), (1.0 + step) / (10.0 + step))
        # In this form a parameter that does not change keeps its average bit for bit.
        return lambda average, new: average + taken * (new - average)

    return {
        name: jax.tree.map(move(name), average, {group: params[group] for group in average})
        for name, average in ema.items()
    }


def coefficients(known: Sequence[tuple[int, float]], step: int, length: float) -> tuple[np.ndarray, float]:
    """The weights, which add up to 1, of averages (step, length) whose sum is nearest to that of a length at a step,
    and the relative error of its profile.

    Nearest are the profiles, in mean square over the steps (arXiv:2312.02696 appendix C.1): their inner products are
    (a + 1) (b + 1) / (a + b + 1) (m / S)^(a + 1) (m / T)^(b + 1) / m for the exponents a and b at the steps S and T, m
    the smaller of the two.
    """
    steps = np.array([at for at, _ in known], float) / step
    powers = np.array([exponent(of) for _, of in known]) + 1
    both = _inner(steps[:, None], powers[:, None], steps, powers)
    wanted = _inner(steps, powers, 1.0, exponent(length) + 1)
    # The constraint by a Lagrange multiplier.
    one = np.ones((len(known), 1))
    system = np.block([[both, one], [one.T, np.zeros((1, 1))]])
    weights = np.linalg.lstsq(system, np.append(wanted, 1.0), rcond=1e-12)[0][:-1]
    square = _inner(1.0, exponent(length) + 1, 1.0, exponent(length) + 1)
    apart = weights @ both @ weights - 2 * weights @ wanted + square
    return weights, float(np.sqrt(max(apart, 0.0) / square))


def _inner(s, a, t, b):
    least = np.minimum(s, t)
    return a * b / (a + b - 1) * (least / s) ** a * (least / t) ** b / least
