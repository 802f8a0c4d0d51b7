"""Error against network calls on data whose denoiser is known, ours beside diffusers and k-diffusion.

    .venv/bin/python benchmarks/oracle_curve.py

The data are a mixture of two Gaussians in one dimension; both sides get the same denoiser, states, grid and noise, in
float64.  States begin with the exact law of the grid's first time, so that all error is the sampler's.  Deterministic
samplers: the largest distance of 256 ends from the exact flow map.  Stochastic ones: the Wasserstein-1 distance of 2^16
ends from the exact law.  Writes benchmarks/results/oracle_curve.md.  Needs what tests/parity needs.
"""

import platform
import subprocess
import sys
import warnings
from functools import cache
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "parity")]
warnings.simplefilter("ignore")

import numpy as np
from peers import STABLE, Nested, Scheduler, Tape, epsilon, load_k_diffusion, mixture, run, sampled
from scipy.integrate import solve_ivp
from scipy.stats import norm

from fewstep.diffusion import VE, Discrete
from fewstep.samplers import GRIDS, SAMPLERS, tabulate

CALLS = (5, 10, 20, 50)
HEAD = """\
Sampling errors on data whose exact denoiser is known, a mixture of two Gaussians in one dimension (details at the
top of `benchmarks/oracle_curve.py`). For deterministic samplers, the error is the largest distance of 256 final
states from the exact flow map. For stochastic samplers, it is the Wasserstein-1 distance of 2^16 final states from
the exact distribution; as many exact samples have {by_chance} by chance. The column "difference" is the largest
difference between our final states and theirs. In parentheses: the calls made, if they are fewer.

Each row uses the grid of its peer, so compare the two numbers of a row, not rows with each other. DDIM, DDPM, PNDM,
DEIS, SA-Solver and singlestep use the timesteps of diffusers (all but the first two end at the cleanest level),
Euler ancestral of diffusers uses its own noise levels, and all others use Karras noise levels.
"""
PATHS, LAW = 256, 2**16
INDICES, SIGMAS, LEVELS = Discrete("scaled_linear"), VE(), VE(0.029167, 14.6146)  # LEVELS: Stable Diffusion's
LAST = 1 / INDICES.count
DATA, K = mixture(SIGMAS), load_k_diffusion()


def timesteps(name, end=0.0, **config):
    """A scheduler of diffusers: number of steps -> (our process, our times, its loop)."""

    def plan(steps):
        peer = Scheduler(name, steps, **STABLE, **config)
        return INDICES, peer.indices(INDICES, end), _loop(peer)

    return plan


def levels(name, **config):
    """The same for one whose state is x0 + sigma eps."""

    def plan(steps):
        peer = Scheduler(name, steps, **STABLE, **config)
        return SIGMAS, peer.levels / SIGMAS.sigma_max, _loop(peer)

    return plan


def karras(name, **config):
    """The same for one whose state is alpha x0 + sigma eps, on karras levels."""

    def plan(steps):
        peer = Scheduler(name, steps, **STABLE, use_karras_sigmas=True, **config)
        return INDICES, np.append(INDICES.time(-np.log(peer.levels[:-1])), 0.0), _loop(peer)

    return plan


def _loop(peer):
    def loop(table, den, x, tape):
        peer.tape = tape
        return peer.run(table, epsilon(den), x)

    return loop


def pndm(skip):
    """Each of our steps begins at one of its timesteps."""

    def plan(steps):
        peer = Scheduler("PNDM", steps, **STABLE, skip_prk_steps=skip, steps_offset=1)
        n = 1 + np.arange(steps)[::-1] * (INDICES.count // steps)
        return INDICES, np.append((n + 1) / INDICES.count, LAST), _loop(peer)

    return plan


def sampling(name, noise=False, **given):
    """A sampler of k-diffusion, on its karras grid."""

    def plan(steps):
        sigmas = LEVELS.sigma_max * GRIDS["karras"](LEVELS, steps)

        def loop(table, den, x, tape):
            options = given | ({"noise_sampler": tape.draw} if noise else {})
            return sampled(K, name, table, den, x, sigmas, tape, **options)

        return SIGMAS, sigmas / SIGMAS.sigma_max, loop

    return plan


SDE = {"algorithm_type": "sde-dpmsolver++"}
KARRAS = {"use_karras_sigmas": True}
HEUN = {"solver_type": "heun"}
CLEAN = {"clip_sample": False}
UNI, SA = {"lower_final": True}, {"few_steps": False, "lower_final": True}
WHOLE = {"final_sigmas_type": "sigma_min", "lower_order_final": True}
TAU = {"tau_func": lambda t: 1.0}
# Ours, its options, the peer
SAME = [
    ("ddim", {}, "diffusers DDIM", timesteps("DDIM", **CLEAN)),
    ("euler", {}, "diffusers Euler", levels("EulerDiscrete", **KARRAS)),
    ("euler", {}, "k-diffusion euler", sampling("euler")),
    ("heun", {}, "diffusers Heun", levels("HeunDiscrete", **KARRAS)),
    ("heun", {}, "k-diffusion heun", sampling("heun")),
    ("dpm2", {}, "diffusers KDPM2", levels("KDPM2Discrete", **KARRAS)),
    ("dpm2", {}, "k-diffusion dpm_2", sampling("dpm_2")),
    ("lms", {"denoise": False}, "diffusers LMS", levels("LMSDiscrete", **KARRAS)),
    ("lms", {"denoise": False}, "k-diffusion lms", sampling("lms")),
    ("plms", {}, "diffusers PNDM, skip_prk_steps", pndm(True)),
    ("pndm", {}, "diffusers PNDM", pndm(False)),
    ("deis", {"points": 2, "basis": "lambda"}, "diffusers DEIS", timesteps("DEISMultistep", LAST)),
    ("deis", {"points": 3, "basis": "lambda"}, "diffusers DEIS 3", timesteps("DEISMultistep", LAST, solver_order=3)),
    ("dpmpp_2m", {}, "diffusers DPM++ 2M", karras("DPMSolverMultistep")),
    ("dpmpp_2m", {"lower_final": False}, "k-diffusion dpmpp_2m", sampling("dpmpp_2m")),
    ("dpmpp_3m", {"kappa": 1.0}, "diffusers DPM++ 3M", karras("DPMSolverMultistep", solver_order=3)),
    ("dpm_fast", {"form": "data", "taylor": True}, "diffusers DPM++ singlestep 3",
     timesteps("DPMSolverSinglestep", LAST, solver_order=3, **HEUN, **WHOLE)),
    ("unipc", UNI, "diffusers UniPC", karras("UniPCMultistep")),
    ("unipc", {"order": 3, **UNI}, "diffusers UniPC 3", karras("UniPCMultistep", solver_order=3)),
    ("ddpm", {}, "diffusers DDPM", timesteps("DDPM", **CLEAN)),
    ("euler_ancestral", {}, "diffusers Euler ancestral", levels("EulerAncestralDiscrete")),
    ("dpm2_ancestral", {}, "diffusers KDPM2 ancestral", levels("KDPM2AncestralDiscrete", **KARRAS)),
    ("euler_ancestral", {}, "k-diffusion euler_ancestral", sampling("euler_ancestral", True)),
    ("dpm2_ancestral", {}, "k-diffusion dpm_2_ancestral", sampling("dpm_2_ancestral", True)),
    ("dpmpp_2s_ancestral", {}, "k-diffusion dpmpp_2s_ancestral", sampling("dpmpp_2s_ancestral", True)),
    ("dpmpp_sde", {}, "k-diffusion dpmpp_sde", sampling("dpmpp_sde", True)),
    ("dpmpp_2m_sde", {}, "diffusers DPM++ 2M SDE", karras("DPMSolverMultistep", **SDE)),
    ("dpmpp_2m_sde", {"lower_final": False}, "k-diffusion dpmpp_2m_sde", sampling("dpmpp_2m_sde", True)),
    ("dpmpp_3m_sde", {"kappa": 1.0, "lower_final": False}, "k-diffusion dpmpp_3m_sde", sampling("dpmpp_3m_sde", True)),
    ("sa_solver", {"predictor": 2, "corrector": 2, "tau": 1.0, "slope": "published", **SA}, "diffusers SA-Solver",
     timesteps("SASolver", LAST, **TAU)),
]  # fmt: skip
OWN = [  # ours where it is another method: as the registry has it, or the paper
    ("dpmpp_3m", {}, "diffusers DPM++ 3M", karras("DPMSolverMultistep", solver_order=3)),
    ("lms", {}, "diffusers LMS", levels("LMSDiscrete", **KARRAS)),
    ("lms", {}, "k-diffusion lms", sampling("lms")),
    ("dpmpp_3m_sde", {"lower_final": False}, "k-diffusion dpmpp_3m_sde", sampling("dpmpp_3m_sde", True)),
    ("dpmpp_3m_sde", {}, "diffusers DPM++ 3M SDE", karras("DPMSolverMultistep", solver_order=3, **SDE, **HEUN)),
    ("sa_solver", {"predictor": 2, "corrector": 2, "tau": 1.0, **SA}, "diffusers SA-Solver",
     timesteps("SASolver", LAST, **TAU)),
]  # fmt: skip


def states(process, t, count):
    """Exact samples of the law at t."""
    random, (means, stds, weights) = np.random.default_rng(0), (DATA.means, DATA.stds, DATA.weights)
    k = random.choice(len(weights), count, p=weights)
    data = means[k] + stds[k] * random.standard_normal(count)
    return (process.alpha(t) * data + process.sigma(t) * random.standard_normal(count))[:, None]


@cache
def flow(process, t, s):
    """Where the exact flow takes the states of t."""
    begin, end = ((process.sigma(u) / process.alpha(u)) for u in (t, s))

    def slope(sigma, x):
        return DATA(x[:, None], sigma / SIGMAS.sigma_max).eps[:, 0]

    span, x = (begin, max(end, 1e-8)), states(process, t, PATHS)[:, 0] / process.alpha(t)
    return process.alpha(s) * solve_ivp(slope, span, x, method="DOP853", rtol=1e-11, atol=1e-11).y[:, -1:]


@cache
def quantiles(process, s):
    """Of the law at s, at the middles of LAW equal parts."""
    means, stds = process.alpha(s) * DATA.means, np.hypot(process.alpha(s) * DATA.stds, process.sigma(s))
    x = np.linspace(-5, 5, 2**16)
    return np.interp((np.arange(LAW) + 0.5) / LAW, norm.cdf(x[:, None], means, stds) @ DATA.weights, x)


def distance(ends, process, s):
    return np.abs(np.sort(ends[:, 0]) - quantiles(process, s)).mean()


def errors(name, options, plan, calls):
    """(calls made, our error, the peer's, the largest difference of ends) in at most so many calls; None: too few."""
    sampler = SAMPLERS[name]
    for steps in range(calls, 1, -1):
        try:
            process, times, loop = plan(steps)
            table = tabulate(sampler(process, times, **options))
        except ValueError:
            return None
        if table.nfe <= calls:
            break
    else:
        return None
    den, x = mixture(process), states(process, times[0], LAW if sampler.stochastic else PATHS)
    tape = Nested(table, x.shape) if name == "dpmpp_sde" else Tape(x.shape)
    theirs = loop(table, den, x, tape)
    ours = run(table, den, x, tape.rows)
    if sampler.stochastic:
        found = (distance(ends, process, times[-1]) for ends in (ours, theirs))
    else:
        found = (np.abs(ends - flow(process, times[0], times[-1])).max() for ends in (ours, theirs))
    return table.nfe, *found, np.abs(ours - theirs).max()


def table(rows):
    """Lines of a table in Markdown."""
    yield f"| ours | options | peer | {' | '.join(f'{calls} calls' for calls in CALLS)} | difference |"
    yield "| --- " * (len(CALLS) + 4) + "|"
    for name, options, peer, plan in rows:
        found = [errors(name, options, plan, calls) for calls in CALLS]
        cells = [
            "-" if one is None else f"{one[1]:.2e} / {one[2]:.2e}" + (f" ({one[0]})" if one[0] != calls else "")
            for calls, one in zip(CALLS, found, strict=True)
        ]
        given = ", ".join(f"{key}={value!r}" for key, value in options.items())
        line = f"| {name} | {given} | {peer} | {' | '.join(cells)} | {max(one[3] for one in found if one):.0e} |"
        print(line, flush=True)
        yield line


def main():
    """Write the tables."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "diffusers", "k-diffusion", "numpy"))
    exact = states(SIGMAS, 0.0, LAW)
    lines = [
        "# Sampling error by network calls, ours / theirs",
        "",
        "    command   .venv/bin/python benchmarks/oracle_curve.py",
        f"    commit    {commit.stdout.strip()}",
        f"    versions  Python {platform.python_version()}, {versions}",
        "",
        *HEAD.format(by_chance=f"{distance(exact, SIGMAS, 0.0):.1e}").splitlines(),
        "",
        "## The same method",
        "",
        *table(SAME),
        "",
        "## Where our method differs",
        "",
        *table(OWN),
    ]
    (ROOT / "benchmarks" / "results" / "oracle_curve.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
