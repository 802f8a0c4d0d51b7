"""What the draw loop costs beside its bare network calls.

    .venv/bin/python benchmarks/overhead.py

Draws 256 images of 8x8 in 16 calls with the network of configs/digits/flow.gin (untrained: the arithmetic is the same)
and makes 16 bare calls of the same jitted network, turn by turn in one process; prints the ratio of the medians.
"""

from fewstep.cli.cpu import tune

tune()

import statistics
import time

import jax
import numpy as np
import untrained

from fewstep.samplers import SAMPLERS, draw, table_at

BATCH, CALLS, TURNS = 256, 16, 15


def main():
    """Print a line a sampler."""
    den, cond = untrained.denoiser(), untrained.labels(BATCH)
    call = jax.jit(lambda den, x, t, cond: den.model.network(den.params, x, t, None, cond, None))
    x = jax.random.normal(jax.random.key(0), (BATCH, *untrained.SHAPE))

    def bare():
        for t in np.linspace(1, 0.1, CALLS, dtype=np.float32):
            out = call(den, x, t, cond)
        out.block_until_ready()

    for name in ("ddim", "dpmpp_2m", "ddpm"):
        table = table_at(SAMPLERS[name], den.process, CALLS)

        def drawn(table=table):
            draw(den, table, range(BATCH), untrained.SHAPE, cond=cond).block_until_ready()

        spent = {bare: [], drawn: []}
        for run in (bare, drawn):
            run()
        for _ in range(TURNS):
            for run, times in spent.items():
                begin = time.perf_counter()
                run()
                times.append(time.perf_counter() - begin)
        ours, theirs = (statistics.median(spent[run]) for run in (drawn, bare))
        print(f"{name:12} draw {1e3 * ours:7.1f} ms   bare calls {1e3 * theirs:7.1f} ms   ratio {ours / theirs:.3f}")


if __name__ == "__main__":
    main()
