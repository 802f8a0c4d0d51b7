"""Where AMED calls the model the second time: the noise level of each image, in each step.

    .venv/bin/python benchmarks/amed.py runs/digits fitted:amed-6 docs/samplers/amed.png

Prints the range of levels over 512 seeds, and draws them with the ends of the steps and their middles in log-SNR.
"""

import sys

import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

from fewstep import open_run
from fewstep.samplers import draw
from fewstep.train.run.tables import sampler

SEEDS = range(1_000_000, 1_000_512)


def levels(run, name):
    """[(rho_t, rho_s, rho_m (B,))] of the steps with two calls."""
    found, cond = sampler(run, name), run.labels(None, len(SEEDS))
    den, table = found.levers[0](run.denoiser), run.table(found, found.nfe)
    _, seen = draw(den, table, SEEDS, run.shape, cond=cond, trajectory=True)
    for i in np.flatnonzero(table.s < table.t):
        t, s = table.t[i], table.s[i]
        features = run.denoiser(seen.x[i - 1], t, None, cond).features
        known = features if i and table.t[i - 1] == t else jnp.zeros_like(features)
        lam_t, lam_s = (jnp.full(len(SEEDS), run.model.process.lam(at)) for at in (t, s))
        r, _, _ = den.predictor(known, lam_t, lam_s)
        yield np.exp(-lam_t[0]), np.exp(-lam_s[0]), np.asarray(jnp.exp(-((1 - r) * lam_t + r * lam_s)))


def main(folder, name, out):
    """Print a line a step, and write the picture."""
    rng, (_, axes) = np.random.default_rng(0), plt.subplots(figsize=(7, 3), layout="constrained")
    for k, (first, last, chosen) in enumerate(levels(open_run(folder), name)):
        low, middle, high = np.quantile(chosen, [0.05, 0.5, 0.95])
        print(f"{first:.3f} to {last:.3f}: middle {np.sqrt(first * last):.3f}, {low:.3f} {middle:.3f} {high:.3f}")
        axes.scatter(chosen, k + rng.uniform(-0.25, 0.25, len(chosen)), s=3, color="C0")
        axes.plot([np.sqrt(first * last)] * 2, [k - 0.35, k + 0.35], "k--", lw=1)
        for end in (first, last):
            axes.plot([end, end], [k - 0.4, k + 0.4], "k", lw=1)
    axes.set(xscale="log", xlabel="noise level sigma / alpha of the second call", ylabel="step", yticks=range(k + 1))
    axes.invert_xaxis()
    axes.invert_yaxis()
    plt.savefig(out, dpi=120)


if __name__ == "__main__":
    main(*sys.argv[1:])
