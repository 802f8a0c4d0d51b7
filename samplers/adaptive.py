"""Reference solutions of the probability-flow ODE with error control, by diffrax.  They are not tables, whose times are
known before anything is drawn.

With tan(theta) = sigma / alpha the ODE of y = x / sqrt(alpha^2 + sigma^2) = cos(theta) x0 + sin(theta) eps is

    dy/dtheta = cos(theta) eps - sin(theta) x0

for every process.  It has no infinite end, is of unit scale throughout, and has no kinks where a process has them in t.
"""

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fewstep.diffusion.arrays import AnyArray
from fewstep.diffusion.denoiser import Cond, DenoiserLike
from fewstep.errors import UsageError
from fewstep.ranges import Range, checked
from fewstep.samplers.checks import check_arguments, check_capabilities
from fewstep.samplers.loop import fetched
from fewstep.samplers.start import Seeds, as_seeds, initial
from fewstep.samplers.tableau import Row, tabulate

METHODS = {"bosh3": "Bosh3", "dopri5": "Dopri5", "dopri8": "Dopri8"}  # embedded pairs of orders 3(2), 5(4) and 8(7)
MOST_STEPS = 4096  # of one image
ROUNDING = 30  # of the estimate of an error, in units of the last place of y
FLOOR = 0.1  # of the tolerance, at most: with it a step still grows by 0.9 / FLOOR^(1 / order)


class Solution(NamedTuple):
    """Images with what each of them took."""

    images: np.ndarray  # (B, *shape)
    calls: np.ndarray  # (B,) network calls, with those of rejected steps
    rejected: np.ndarray  # (B,) rejected steps


@checked
def draw_adaptive(
    den: DenoiserLike,
    seeds: Seeds,
    shape: Sequence[int],
    *,
    tolerance: Annotated[float, Range(above=0, most=1)] = 1e-5,
    method: str = "dopri5",
    cond: Cond = Cond(),
    start: AnyArray | None = None,
) -> Solution:
    """The images of the seeds under this ODE, from process.ends[0] to the finite end of the process, and then, if the
    process goes on to the data, by one step of ddim.

    `tolerance` is the relative and absolute one of a step, on the root mean square over the elements of y.  Each image
    has its own steps, which rarely depend on its batch; all run until the last one is done.  `start` and `cond` as in
    `draw`.  Levers that remember earlier calls have none here: a solver that rejects steps has no previous call.

    Raises UsageError for images that take more than MOST_STEPS steps.
    """
    if method not in METHODS:
        raise UsageError(f"method is {', '.join(map(repr, METHODS))}, not {method!r}")
    seeds, shape = as_seeds(seeds), tuple(shape)
    begin = den.process.ends[0]
    check_capabilities(den, tabulate([Row(begin, x=1.0)]))
    check_arguments(den, len(seeds), shape, cond, start)
    x = jnp.asarray(initial(den.process, begin, seeds, shape) if start is None else start, jnp.zeros(()).dtype)
    images, calls, rejected, done = map(fetched, _solve(method, den, x, cond, tolerance))
    if not done.all():
        raise UsageError(
            f"the image of seed {seeds[np.argmin(done)]} takes more than {MOST_STEPS} steps at the tolerance "
            f"{tolerance:g}: give a larger one"
        )
    return Solution(images, calls, rejected)


@partial(jax.jit, static_argnums=0)
def _solve(method, den: DenoiserLike, x, cond, tolerance):
    import diffrax  # local, because the import takes a second and only this needs it

    process, solver = den.process, getattr(diffrax, METHODS[method])()
    last, end = process.snr_ends[1], process.ends[1]
    first, final = (float(np.arctan2(process.sigma(t), process.alpha(t))) for t in (process.ends[0], last))
    # Where the path is nearly straight the estimated error is rounding, which differs from batch to batch, and would
    # choose the next step; so it counts as no less than this.  In float32 FLOOR is the smaller one below 4e-5.
    least = jnp.minimum(ROUNDING * jnp.finfo(x.dtype).eps / tolerance, FLOOR)

    def norm(error):
        return jnp.maximum(jnp.sqrt(jnp.mean(error**2)), least)

    control = diffrax.PIDController(rtol=tolerance, atol=tolerance, norm=norm)

    def solution(y, cond):
        def slope(theta, y, _):
            cos, sin = jnp.maximum(jnp.cos(theta), 0.0), jnp.sin(theta)  # 0 at pi / 2, also where it is rounded up
            t = process.time(jnp.log(cos) - jnp.log(sin))
            pred = den(_size(process, t) * y[None], t, None, jax.tree.map(lambda a: a[None], cond))
            return cos * pred.eps[0] - sin * pred.x0[0]

        found = diffrax.diffeqsolve(
            diffrax.ODETerm(slope), solver, first, final, (final - first) / 10, y, stepsize_controller=control,
            max_steps=MOST_STEPS, throw=False,
        )  # fmt: skip
        ys: Any = found.ys
        return ys[0], found.stats, found.result == diffrax.RESULTS.successful

    y, stats, done = jax.vmap(solution)(x / _size(process, process.ends[0]), cond)
    x = _size(process, last) * y
    again = int(solver.tableau.fsal)  # the last call of a step is the first of the next
    calls = (solver.tableau.num_stages - again) * stats["num_steps"] + again
    if end < last:
        pred = den(x, jnp.asarray(last, x.dtype), None, cond)
        x, calls = process.alpha(end) * pred.x0 + process.sigma(end) * pred.eps, calls + 1
    return x, calls, stats["num_rejected_steps"], done


def _size(process, t):
    """sqrt(alpha^2 + sigma^2)."""
    return jnp.hypot(process.alpha(t), process.sigma(t))
