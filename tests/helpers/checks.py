"""What the contract demands of a table, as functions: test_contract.py applies them to every registered sampler, and
test_wrong.py to samplers that must not pass.
"""

from dataclasses import dataclass, field, replace
from functools import partial, wraps
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import register_dataclass

from fewstep.diffusion import VE, VP, Cond, Cosine, Discrete, Linear, Pred, Shifted, oracles
from fewstep.diffusion.denoiser import INSTANT, JUMP
from fewstep.diffusion.ems import EMS
from fewstep.samplers import GRIDS, SAMPLERS, draw, exact, reduced, table_at, tabulate
from fewstep.samplers.registry import find
from fewstep.samplers.tableau import pad

PROCESSES = {
    "linear": Linear(), "vp": VP(), "cosine": Cosine(), "ve": VE(), "ve_geometric": VE(geometric=True),
    "shifted": Shifted(), "discrete": Discrete(), "discrete_zero_snr": Discrete(zero_snr=True),
}  # fmt: skip


# Where alpha and sigma have kinks a method in t is of first order: its order is measured on equal betas, without kinks.
SMOOTH = {
    PROCESSES["discrete"]: Discrete((0.005,) * 1000),
    PROCESSES["discrete_zero_snr"]: Discrete((*[0.005] * 999, 1.0)),
}


def variant(name, **options):
    """A registered sampler with other options."""
    rows = SAMPLERS[name].rows
    return replace(SAMPLERS[name], rows=wraps(rows)(partial(rows, **options)))


DATA_FORM = EMS(np.array([-8.0, 8.0]), np.ones(2), np.zeros(2))  # dpm_solver_v3 with l = 1, s = 0

# Every sampler, and the options that make another method of it.
ALL = SAMPLERS | {
    "dpm_solver_v3": variant("dpm_solver_v3", known=DATA_FORM),
    "ddpm large": variant("ddpm", variance="large"),
    "ddim eta 0.5": replace(variant("ddim", eta=0.5), stochastic=True),
    "dpmpp_2m full": variant("dpmpp_2m", lower_final=False),
    "dpmpp_3m published": replace(variant("dpmpp_3m", kappa=1.0), order=2),
    "exponential_ab noise": variant("exponential_ab", form="noise"),
    "exponential_ab 4": replace(variant("exponential_ab", points=4), order=4),
    "unipc 1 bh1": replace(variant("unipc", order=1, b="bh1"), order=2),
    "unipc 2 bh1": variant("unipc", b="bh1"),
    "unipc 2 noise": variant("unipc", form="noise"),
    "unipc 3": replace(variant("unipc", order=3), order=4),
    "unip 2 bh1": replace(variant("unipc", corrector=False, b="bh1"), order=2),
    "unip 3": variant("unipc", order=3, corrector=False),
    "deis rho": variant("deis", basis="rho"),
    "rho_rk2 midpoint": variant("rho_rk2", node=0.5),
    "deis lambda": variant("deis", basis="lambda"),
    "dpm_solver_2 taylor": variant("dpm_solver_2", taylor=True),
    "dpm_solver_3 taylor": variant("dpm_solver_3", taylor=True),
    "dpmpp_2s taylor": variant("dpmpp_2s", taylor=True),
    "dpmpp_3s taylor": variant("dpmpp_3s", taylor=True),
    "dpm2_ancestral eta 0.5": variant("dpm2_ancestral", eta=0.5),
    "dpmpp_2s_ancestral eta 0.5": variant("dpmpp_2s_ancestral", eta=0.5),
    "dpmpp_2m_sde heun": variant("dpmpp_2m_sde", solver="heun"),
    "dpmpp_2m_sde eta 0.25": variant("dpmpp_2m_sde", eta=0.25),
    "dpmpp_3m_sde published": variant("dpmpp_3m_sde", kappa=1.0),
    "dpmpp_3m_sde eta 0.25": variant("dpmpp_3m_sde", eta=0.25),
    "dpmpp_3m_sde ode": replace(variant("dpmpp_3m_sde", eta=0.0), order=3, stochastic=False),
    "dpmpp_sde eta 0.5": variant("dpmpp_sde", eta=0.5),
    "edm heun": replace(variant("edm", churn=0.0), stochastic=False),
    "edm published": variant("edm", churn=40.0, s_min=0.05, s_max=50.0),
    "restart twice": variant("restart", intervals=((0, 1, 0.5, 2.0), (0, 2, 0.1, 0.5))),
    "sa_solver tau 1": variant("sa_solver", tau=1.0, few_steps=False),
    "sa_solver published": variant("sa_solver", predictor=2, corrector=2, tau=1.0, slope="published"),
    "sa_solver predictor": variant("sa_solver", corrector=0, tau=0.5),
    "sa_solver ode": replace(variant("sa_solver", tau=0.0), order=4, stochastic=False),
    "er_sde 2": variant("er_sde", points=2),
    "er_sde sde": variant("er_sde", phi="sde"),
    "er_sde ode": replace(variant("er_sde", phi="ode"), order=3, stochastic=False),
    "er_sde published": replace(variant("er_sde", phi="ode", corrected=False), stochastic=False),
    "interpolant_sde heun": replace(variant("interpolant_sde", method="heun"), calls=2),
    "langevin 2": replace(variant("langevin", corrections=2), calls=3),
    "res_2s early": variant("res_2s", c2=0.25),
    "res_3s early": variant("res_3s", c2=0.3, c3=0.8),
    "dpmpp_2m_sde:0.5:dpmpp_2m": find("dpmpp_2m_sde:0.5:dpmpp_2m"),
    "rho_rk2:2:unipc:0.3:res_3s": find("rho_rk2:2:unipc:0.3:res_3s"),
}
AFFINE = (Linear(), VE())  # alpha and sigma affine in t
MEAN, STD = 0.2, 0.5


def grid_of(sampler, process, steps):
    return GRIDS[sampler.grid_for(process)](process, steps)


def table_of(sampler, process, steps, **options):
    return tabulate(sampler(process, grid_of(sampler, process, steps), **options))


def common(table, history=4):
    """The table at a history that all share, and so one compilation."""
    return pad(table, table.nfe, max(history, table.history))


INSIDE = {name: GRIDS["uniform"](process, 9, 0.95, 0.05) for name, process in PROCESSES.items()}
MIXTURE = ([-1.0, 0.8], [0.3, 0.4], [0.4, 0.6])

RESEMBLING = ("cosine", "ve_geometric", "shifted", "discrete_zero_snr")  # another of the family is tested every time


def on(*names):
    """On every process; on all but those named, when slow tests are run."""
    some = [pytest.param(p, marks=[pytest.mark.slow] * (n not in names)) for n, p in PROCESSES.items()]
    return pytest.mark.parametrize("process", some, ids=PROCESSES)


each = pytest.mark.parametrize("process", PROCESSES.values(), ids=PROCESSES)
each_kind = on(*(name for name in PROCESSES if name not in RESEMBLING))
inside = pytest.mark.parametrize(("process", "grid"), [(PROCESSES[n], INSIDE[n]) for n in PROCESSES], ids=PROCESSES)


def assert_same(rows, others, process, tolerance=1e-12):
    """Two tables of one method, however each is written."""
    one, other = (reduced(tabulate(r), process) for r in (rows, others))
    for name in ("t", "start", "x0", "noise", "spread"):
        got, want = getattr(one, name), getattr(other, name)
        np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance, err_msg=name)


def check_coefficients(table, process, end, noise=False):
    """A state alpha c + sigma e whose prediction is (c, e) stays one at every row's time; of e only where `noise`.

    To 1e-12, or to the last bit of the largest coefficient: singlestep methods that begin near alpha = 0 with a step of
    its own length have some of 1e4 and more, which cancel.
    """
    rounding = np.spacing(max(abs(a).max(initial=0) for a in (table.x, table.x0, table.eps, table.past)))
    times = [*table.t[1:], end]
    x = np.array([process.alpha(table.t[0]), process.sigma(table.t[0])])
    past = np.zeros((table.history, 2))
    for i, s in enumerate(times):
        x = table.x[i] * x + [table.x0[i], table.eps[i]] + table.past[i] @ past
        past = np.concatenate([table.keep[i : i + 1], past])[: table.history]
        assert abs(x[0] - process.alpha(s)) <= max(1e-12, rounding), f"row {i}: {x[0]} of the clean image"
        if noise:
            limit = max(1e-12 * process.sigma(table.t[0]), rounding)
            assert abs(x[1] - process.sigma(s)) <= limit, f"row {i}: {x[1]} of the noise"


def check_order(sampler, process, claimed, stochastic=False, steps=None):
    """Weak errors are cheap, so they are measured where even steep processes have settled."""
    if claimed is None:
        return check_jumps(sampler, process)
    steps = steps or (640 if stochastic else 80)
    measured = exact.order(sampler, process, claimed, steps=steps, stochastic=stochastic)
    if measured == np.inf and "var" in getattr(sampler, "needs", ()):
        return  # exact on Gaussian data
    assert abs(measured - claimed) < 0.3, f"order {measured:.2f}, not {claimed}"


def check_jumps(sampler, process):
    """One call and two make the data of noise, as exactly as the exact flow map does."""
    for nfe in (1, 2):
        table = table_at(sampler, process, nfe)
        start = process.ends[0]
        begin = exact.Moments(*(np.array([a]) for a in (process.alpha(start) * MEAN, 0.0)))
        begin = begin._replace(var=np.array([(process.alpha(start) * STD) ** 2 + process.sigma(start) ** 2]))
        got, last = exact.moments(table, process, MEAN, STD**2, start=begin), process.ends[1]
        end = table.s[-1]  # a last jump to the data is left as it is, with what noise there is at t = 0
        want = process.alpha(last) ** 2 * (STD**2 + (process.sigma(end) / process.alpha(end)) ** 2)
        assert table.nfe == nfe
        np.testing.assert_allclose((got.mean[0], got.var[0]), (process.alpha(last) * MEAN, want), rtol=1e-9)


def check_moments(samples, moments):
    """Independent samples against a mean and variance, within 4 standard errors each."""
    n = samples.size
    mean, var = float(moments.mean[0]), float(moments.var[0])
    assert abs(samples.mean() - mean) < 4 * np.sqrt(var / n), f"mean {samples.mean()}, not {mean}"
    assert abs(samples.var() - var) < 4 * var * np.sqrt(2 / n), f"variance {samples.var()}, not {var}"


def check_marginal(table, process, end):
    """From the exact law at t[0], a fine table reaches the exact law at the end."""
    start, want = (
        (process.alpha(t) * MEAN, (process.alpha(t) * STD) ** 2 + process.sigma(t) ** 2) for t in (table.t[0], end)
    )
    start = exact.Moments(*(np.array([a]) for a in start))
    got = exact.moments(table, process, MEAN, STD**2, start)
    assert abs(got.mean[0] - want[0]) < 0.02 * np.sqrt(want[1])
    assert abs(np.sqrt(got.var[0] / want[1]) - 1) < 0.02


def gaussian_draw(table, process):
    """2^14 samples of the table on Gaussian data."""
    return np.asarray(draw(oracles.gaussian(process, MEAN, STD), common(table), range(2**10), (16,)), np.float64)


class Count:
    """A number that denoisers add to."""

    def __init__(self):
        self.calls, self.times = 0, []

    def add(self, t):
        self.calls += 1
        self.times.append(float(t))


@register_dataclass
@dataclass(frozen=True)
class Counting:
    """A denoiser that counts its calls: in the host's own loop, or by a callback from the compiled one."""

    inner: Any
    count: Count = field(metadata={"static": True})
    compiled: bool = field(default=False, metadata={"static": True})

    consistent = True
    process = property(lambda self: self.inner.process)
    classes = property(lambda self: self.inner.classes)
    capabilities = property(lambda self: self.inner.capabilities)

    def __call__(self, x, t, s=None, cond=Cond()):
        if self.compiled:
            jax.debug.callback(self.count.add, t)
        elif not isinstance(x, jax.core.Tracer):
            self.count.add(t)
        return self.inner(x, t, s, cond)


@register_dataclass
@dataclass(frozen=True)
class Zero:
    """Predicts nothing at all, so that only the table's own terms remain."""

    process: Any = field(metadata={"static": True})

    consistent = True
    classes = 0
    capabilities = frozenset({INSTANT, JUMP})

    def __call__(self, x, t, s=None, cond=Cond()):
        return Pred(*(jnp.zeros_like(x),) * 3)
