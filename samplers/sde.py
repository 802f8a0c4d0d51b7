"""DPM-Solver++ for the reverse SDE (Lu et al. 2022, arXiv:2211.01095; k-diffusion).

All solve the family of SDEs with the marginals of the process and tau^2 = eta (0: the ODE, 1: the classical reverse
SDE).  The step that is exact for constant predictions, with D the predicted clean image, is

    x_s = (sigma_s / sigma_t) e^(-eta h) x + alpha_s (1 - e^(-(1 + eta) h)) D + sigma_s sqrt(1 - e^(-2 eta h)) z
"""

from collections.abc import Iterator
from typing import Annotated

import numpy as np

from fewstep.diffusion.process import Process
from fewstep.errors import UsageError
from fewstep.ranges import Range, Share, checked
from fewstep.samplers.brownian import Noise, along
from fewstep.samplers.ddim import ddim
from fewstep.samplers.exponential import Kappa, curved, finite_integral, nodes
from fewstep.samplers.steps import multistep, steps
from fewstep.samplers.tableau import Row

Eta = Annotated[float, Range(0, 10)]


@checked
def sde_dpmpp_1(process: Process, grid: np.ndarray, eta: Eta = 1.0, noise: Noise = "fresh") -> Iterator[Row]:
    """SDE-DPM-Solver++-1: the step above.  ddpm where eta = 1, ddim where eta = 0.

    Not k-diffusion's "DPM++ SDE", which is `dpmpp_sde` here.
    """
    for t, s in steps(grid):
        yield constant(process, t, s, eta, noise)


@checked
def dpmpp_2m_sde(
    process: Process,
    grid: np.ndarray,
    eta: Eta = 1.0,
    solver: str = "midpoint",
    lower_final: bool | None = None,
    noise: Noise = "fresh",
) -> Iterator[Row]:
    """SDE-DPM-Solver++(2M): D on the line through the last two, D + (D - D_before) u / h_before at lam_t + u.

    "heun" integrates that line exactly; "midpoint" takes its value at h / 2, and is dpmpp_2m for eta = 0.  First order
    on the same steps as dpmpp_2m.
    """
    if solver not in ("midpoint", "heun"):
        raise UsageError(f"dpmpp_2m_sde.solver is 'midpoint' or 'heun', not {solver!r}")
    for t, s, before in multistep(process, grid, 2, lower_final):
        row = constant(process, t, s, eta, noise)
        if before:
            at = nodes(process, t, (t, *before))
            if solver == "heun":
                share = finite_integral(process, t, s, power=eta).weights(at)
            else:
                lean = 0.5 * (process.lam(s) - process.lam(t)) / at[1]
                share = row.x0 * np.array([1 - lean, lean])
            row = row._replace(x0=share[0], past=(share[1],))
        yield row


@checked
def dpmpp_3m_sde(
    process: Process,
    grid: np.ndarray,
    eta: Eta = 1.0,
    kappa: Kappa = 2.0,
    lower_final: bool | None = None,
    noise: Noise = "fresh",
) -> Iterator[Row]:
    """SDE-DPM-Solver++(3M): D on the parabola through the last three, integrated exactly.

    kappa scales the curvature of the parabola: 2 is the parabola, 1 the published code (k-diffusion and its copies),
    which has half of the second derivative and, for eta = 0, order 2 instead of 3.  The order is reduced on the
    steps on which dpmpp_2m is of first order.
    """
    for t, s, before in multistep(process, grid, 3, lower_final):
        row = constant(process, t, s, eta, noise)
        if before:
            at = nodes(process, t, (t, *before))
            step = finite_integral(process, t, s, power=eta)
            share = curved(step, at, kappa) if len(at) == 3 else step.weights(at)
            row = row._replace(x0=share[0], past=tuple(share[1:]))
        yield row


@checked
def dpmpp_sde(
    process: Process,
    grid: np.ndarray,
    eta: Share = 1.0,
    r: Annotated[float, Range(above=0, below=1)] = 0.5,
    noise: Noise = "fresh",
) -> Iterator[Row]:
    """k-diffusion's "DPM++ SDE", two calls per step: ddim(eta) to lam_m = lam_t + r h, including noise, then ddim(eta)
    from t again with D + (D_m - D) / (2 r) as the clean image.

    The noise of the first stage is a part of that of the whole step, as on one path of the SDE: its remainder at s is
    kept, and only the rest is fresh.  (k-diffusion takes both from a Brownian motion in sigma, with slightly different
    correlation.)  One call on steps from alpha = 0 or to sigma = 0.
    """
    for (t, s), whole in zip(steps(grid), ddim(process, grid, eta, noise), strict=True):
        if process.alpha(t) == 0 or process.sigma(s) == 0:
            yield whole
            continue
        m = float(process.time((1 - r) * process.lam(t) + r * process.lam(s)))
        kept, fresh = process.split_noise(t, m, eta)
        yield Row(t, x0=process.alpha(m), eps=kept, noise=fresh, path=along(noise, t, m))
        ratio, half, snr = whole.eps / kept, 0.5 / r, process.alpha(t) / process.sigma(t)
        gain, undone = process.alpha(s) - whole.eps * snr, ratio * (process.alpha(m) - kept * snr)
        left = eta * process.sigma(m) * np.exp(process.lam(t) - process.lam(m)) / kept
        rest = process.sigma(s) * left * np.sqrt(-np.expm1(-2 * (process.lam(s) - process.lam(m))))
        yield Row(m, x=ratio, x0=gain * half, past=(gain * (1 - half) - undone,), noise=rest, path=along(noise, m, s))


def constant(process: Process, t: float, s: float, eta: float, noise: Noise) -> Row:
    """The step with a constant D, eta = tau^2; h is infinite from alpha = 0 and to sigma = 0."""
    h = process.lam(s) - process.lam(t)
    decay = eta * h if eta else 0.0
    return Row(
        t,
        x=process.sigma(s) / process.sigma(t) * np.exp(-decay),
        x0=process.alpha(s) * -np.expm1(-h - decay),
        noise=process.sigma(s) * np.sqrt(-np.expm1(-2 * decay)),
        path=along(noise, t, s),
    )
