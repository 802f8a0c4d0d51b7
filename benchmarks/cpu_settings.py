"""What the CPU settings of scripts/cpu.py are worth on the network of configs/digits/flow.gin.

    .venv/bin/python benchmarks/cpu_settings.py

Each setting needs a process of its own, so processes with and without them take turns; prints the best time of each and
the ratios, for a forward pass of 256 images and a training step of 64.
"""

import json
import os
import subprocess
import sys

TURNS = 3
SETTINGS = {"none": "", "flag": "flag", "mallopt": "mallopt", "both": "flag mallopt"}

CHILD = """
import json, os, sys, time
from fewstep.cli import cpu
if "flag" not in sys.argv[1]: cpu._KNOWN = ("none",)
if "mallopt" not in sys.argv[1]: cpu._MALLOPT = ()
cpu.tune()
import jax, numpy as np
from fewstep.diffusion import Cond
from fewstep.cli.config.load import experiment, find, load
from fewstep.train.loop import prepare
load(find("configs/digits/flow.gin"))
e = experiment()
data = e.data()
(model, _), params = e.abstract(data.shape, data.classes), e.params(data.shape, data.classes)
call = jax.jit(lambda p, x, c: model.network(p, x, np.float32(0.5), None, c, None))
x, cond = np.zeros((256, 8, 8, 1), np.float32), Cond(np.zeros(256, np.int32))
def best(f, n):
    f()
    times = []
    for _ in range(n):
        begin = time.perf_counter(); f(); times.append(time.perf_counter() - begin)
    return 1e3 * min(times)
forward = best(lambda: call(params, x, cond).block_until_ready(), 20)
training = prepare(e, data)
state, batch = training.fresh(), training.batches.batch(0)
def train():
    global state
    state, metrics = training.step(state, batch)
    metrics["loss"].block_until_ready()
print(json.dumps([forward, best(train, 20)]))
"""


def main():
    """Print a line a setting."""
    times = {name: [] for name in SETTINGS}
    environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    for _ in range(TURNS):
        for name, setting in SETTINGS.items():
            done = subprocess.run(
                [sys.executable, "-c", CHILD, setting], env=environment, capture_output=True, text=True, check=True
            )
            times[name].append(json.loads(done.stdout.splitlines()[-1]))
    best = {name: [min(column) for column in zip(*rows, strict=True)] for name, rows in times.items()}
    for name, (forward, step) in best.items():
        ratios = [bare / spent for bare, spent in zip(best["none"], (forward, step), strict=True)]
        print(
            f"{name:8} forward 256: {forward:6.1f} ms ({ratios[0]:.2f} x)   step 64: {step:6.1f} ms ({ratios[1]:.2f} x)"
        )


if __name__ == "__main__":
    main()
