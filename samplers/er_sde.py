"""ER-SDE: extended reverse-time SDEs, with noise defined by a function phi (Cui et al. 2023, arXiv:2309.06169)."""

from collections.abc import Callable, Iterator
from typing import Annotated, Any

import numpy as np

from fewstep.diffusion.process import Process
from fewstep.errors import UsageError
from fewstep.ranges import Range, checked
from fewstep.samplers.brownian import Noise, along
from fewstep.samplers.integrals import weights
from fewstep.samplers.steps import multistep
from fewstep.samplers.tableau import Row

PHIS = {
    "default": lambda x: x * (np.exp(x**0.3) + 10),
    "ode": lambda x: x,
    "x^1.5": lambda x: x**1.5,
    "sde": lambda x: x**2,
    "x^2.5": lambda x: x**2.5,
}
LARGEST = 1e300  # replaces sigma/alpha = inf where alpha = 0: expressions then evaluate to their limits


@checked
def er_sde(
    process: Process,
    grid: np.ndarray,
    points: Annotated[int, Range(1, 3)] = 3,
    phi: str | Callable = "default",
    corrected: bool = True,
    noise: Noise = "fresh",
) -> Iterator[Row]:
    """With v = sigma/alpha, q = (phi(v_s) / v_s) / (phi(v_t) / v_t) and D' the slope of the predictions in v:

        x_s = (sigma_s/sigma_t) q x + alpha_s ((1 - q e^-h) D + int_{v_s}^{v_t} (phi(v_s)/phi(v) - 1) D'(v) dv)
              + sigma_s sqrt(1 - q^2) z

    phi, a name in PHIS or a function, is 'ode' (phi = v: DDIM's family), 'sde' (v^2: DDPM's) or in between; phi(v)/v
    must not decrease with v.  With one of the `points`, D' is 0; with two, the difference quotient; with three it also
    has a curvature.  Published code then uses the quotient as the slope at v_t, though it is the slope half a step
    earlier, and the method remains of second order; `corrected` accounts for that.  First order on the first step, from
    alpha = 0 and to sigma = 0.  The integrals are by Gauss-Legendre quadrature in log v.
    """
    if not callable(phi) and phi not in PHIS:
        raise UsageError(f"er_sde.phi is {', '.join(map(repr, PHIS))} or a function, not {phi!r}")
    function = phi if callable(phi) else PHIS[phi]
    for t, s, before in multistep(process, grid, points, lower_final=False):
        if process.sigma(s) == 0:
            yield Row(t, x0=process.alpha(s))
            continue
        h = process.lam(s) - process.lam(t)
        levels = np.minimum(np.exp(-process.lam(np.array([s, t, *before]))), LARGEST)
        with np.errstate(over="ignore"):
            ratio = function(levels[:2]) / levels[:2]
        q = ratio[0] / ratio[1]
        if not q < 1 + 1e-12:
            raise UsageError(
                f"er_sde.phi: phi(x) / x must not decrease, but is {ratio[0]:g} at {levels[0]:g} and "
                f"{ratio[1]:g} at {levels[1]:g}"
            )
        now, past = _slopes(function, h, levels, corrected)
        yield Row(
            t,
            x=process.sigma(s) / process.sigma(t) * q,
            x0=process.alpha(s) * (1 - q * np.exp(-h) + now),
            past=tuple(process.alpha(s) * past),
            noise=process.sigma(s) * np.sqrt(max((1 - q) * (1 + q), 0.0)),
            path=along(noise, t, s),
        )


def _slopes(phi: Callable[..., Any], h: float, levels: np.ndarray, corrected: bool) -> tuple[float, np.ndarray]:
    """The integral over D', as the weight of the new prediction and those of the previous ones."""
    v_s, v_t, *before = levels
    if not before:
        return 0.0, np.zeros(0)

    def integral(of: Callable[[np.ndarray], np.ndarray]) -> float:
        def density(u: np.ndarray) -> np.ndarray:  # dv = v du, u from the current half log-SNR
            v = v_t * np.exp(-u)
            return (phi(v_s) / phi(v) - 1) * v * of(v)

        return weights([0.0], 0.0, h, density)[0]

    last = v_t - before[0]
    slope = integral(np.ones_like) / last
    if len(before) == 1:
        return slope, np.array([-slope])
    middle = v_t - 0.5 * last if corrected else v_t  # where the newest quotient equals the slope
    bend = 2 * integral(lambda v: v - middle) / (v_t - before[1])
    slope, earlier = slope + bend / last, -bend / (before[0] - before[1])
    return slope, np.array([earlier - slope, -earlier])
