"""Images per second of `draw` against diffusers on the CPU: one U-Net, one set of weights, one sampler.

    .venv/bin/python benchmarks/speed.py > speed.md && mv speed.md benchmarks/results/speed.md

(With the extra `torch` installed.)  Ours is `draw` with dpmpp_2m under the CPU settings of the command line.  Theirs is
benchmarks/twin.py with our weights, in diffusers' usual loop around DPMSolverMultistepScheduler on the flow path, under
inference_mode, on all cores, in the faster of torch's two layouts.  Before anything is timed both must draw the same
images from the same noise to 1e-4.  Both take turns in one process; a ratio is theirs over ours in one turn.
"""

from fewstep.cli.cpu import tune

tune()

import glob
import os
import re
import sys
import tempfile
from collections import Counter
from copy import deepcopy
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import diffusers
import jax
import numpy as np
import torch
from flax import nnx
from machine import machine, seconds, spread
from twin import transplanted

from fewstep.diffusion import VELOCITY, Cond, Linear, Model, oracles
from fewstep.diffusion.networks.graph import split
from fewstep.diffusion.networks.unet import UNet
from fewstep.samplers import dpmpp_2m, draw, tabulate

SHAPE, BASE, MULT, BLOCKS = (32, 32, 3), 64, (1, 2, 2), 2
CALLS = 10
TURNS = {1: 20, 8: 9, 64: 3}  # at each batch size
PROFILED = 8
LAYOUTS = {"NCHW": torch.contiguous_format, "channels_last": torch.channels_last}
KINDS = {  # of torch's operations and of XLA's instructions, by what their names contain; the first that fits
    "convolutions": "conv",
    "matrix products, attention, means": "ynn|dot|mm|attention|mean",
    "norms and elementwise": "norm|silu|fusion|mul|add|div|exp|sub|neg",
    "copies": "copy|cat|transpose|contiguous|upsample|broadcast|clone",
}


def our_draw(den, start, sigmas):
    """A function that draws images from this noise (B, H, W, C)."""
    start = jax.device_put(start)
    table = tabulate(dpmpp_2m(den.process, sigmas))
    return lambda: draw(den, table, range(len(start)), SHAPE, start=start).block_until_ready()


def their_draw(unet, start, layout):
    """A function that draws images from this noise, as diffusers' pipelines do.

    The network gets sigma, our t: the scheduler's own timesteps are rounded to whole numbers.
    """
    scheduler, start = their_scheduler(), theirs(start, layout)

    @torch.inference_mode()
    def run():
        scheduler.set_timesteps(CALLS)
        x = start
        for t, sigma in zip(scheduler.timesteps, scheduler.sigmas, strict=False):
            x = scheduler.step(unet(x, sigma, return_dict=False)[0], t, x, return_dict=False)[0]
        return x

    return run


def their_scheduler():
    """Its sigmas are CALLS + 1 times of our process Linear."""
    scheduler = diffusers.DPMSolverMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True)
    scheduler.set_timesteps(CALLS)
    return scheduler


def theirs(images, layout):
    """Images (B, H, W, C) as torch wants them."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(memory_format=LAYOUTS[layout])


def our_calls(den, start):
    """A function that calls the bare network CALLS times."""
    call = jax.jit(lambda den, x, t: den.model.network(den.params, x, t, None, Cond(), None))
    start = jax.device_put(start)

    def run(calls=CALLS):
        for t in np.linspace(1, 0.1, calls, dtype=np.float32):
            out = call(den, start, t)
        return out.block_until_ready()

    return run


def their_calls(unet, start, layout):
    """A function that calls the bare network CALLS times."""
    start = theirs(start, layout)

    @torch.inference_mode()
    def run(calls=CALLS):
        for t in torch.linspace(1, 0.1, calls):
            out = unet(start, t, return_dict=False)[0]
        return out

    return run


def agreement(ours, theirs):
    """The largest difference of two batches of images; AssertionError where it is more than 1e-4."""
    apart = float(np.abs(np.asarray(ours()) - theirs().permute(0, 2, 3, 1).numpy()).max())
    assert apart < 1e-4, f"not the same network and sampler: images differ by {apart}"
    return apart


def kinds(spent):
    """Milliseconds by kind, of a Counter by name."""
    sums = Counter()
    for name, ms in spent.items():
        sums[next((kind for kind, part in KINDS.items() if re.search(part, name)), "other")] += ms
    return sums


def our_profile(run, calls=5):
    """Milliseconds of one network call by kind.

    Convolutions run on threads of their own and are what the rest leaves of the call.
    """
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            run(calls)
        found = glob.glob(f"{folder}/**/*.xplane.pb", recursive=True)
        planes = list(jax.profiler.ProfileData.from_file(found[0]).planes)
    spent = Counter()
    for line in (line for plane in planes for line in plane.lines if line.name.startswith("tf_XLA")):
        for event in line.events:
            if "::" not in event.name:
                spent[event.name] += event.duration_ns / 1e6 / calls
    sums = kinds(spent)
    whole = 1e3 * min(seconds(run) for _ in range(3)) / CALLS
    return sums | {"convolutions": max(0.0, whole - sum(v for kind, v in sums.items() if kind != "convolutions"))}


def their_profile(run, calls=5):
    """Milliseconds of one network call by kind."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        run(calls)
    return kinds(Counter({e.key: e.self_cpu_time_total / 1e3 / calls for e in profile.key_averages()}))


def heading():
    """The lines that say what ran where."""
    return f"""# Images per second, ours against diffusers

    .venv/bin/python benchmarks/speed.py > speed.md && mv speed.md benchmarks/results/speed.md

{machine()},
torch {torch.__version__}, diffusers {diffusers.__version__}.  torch eager on {torch.get_num_threads()} threads;
XLA_FLAGS {os.environ["XLA_FLAGS"]}
"""


def main():
    """Print the result file."""
    torch.set_num_threads(os.cpu_count())
    print(heading())
    random = np.random.default_rng(0)
    network = UNet(SHAPE, base=BASE, mult=MULT, blocks=BLOCKS, attention=(SHAPE[0] >> len(MULT) - 1,), rngs=nnx.Rngs(0))
    network, params = split(network)
    # Layers that start at zero would hide what is behind them.
    params = jax.tree.map(lambda p: p + 0.03 * random.standard_normal(p.shape, np.float32), params)
    den = Model(network, Linear(), VELOCITY).denoiser(params)
    unets = {"NCHW": transplanted(params, SHAPE, BASE, MULT, BLOCKS)}
    unets["channels_last"] = deepcopy(unets["NCHW"]).to(memory_format=torch.channels_last)
    sigmas = their_scheduler().sigmas.numpy().astype(np.float64)
    start = random.standard_normal((max(TURNS), *SHAPE), np.float32)
    size = sum(p.size for p in jax.tree.leaves(params))

    noise = start[:4]
    apart = max(agreement(our_draw(den, noise, sigmas), their_draw(unets[name], noise, name)) for name in LAYOUTS)
    print(
        f"A U-Net of {size / 1e6:.1f} million parameters at {SHAPE}, {CALLS} calls of DPM-Solver++(2M); the images of "
        f"both differ by {apart:.0e} at\nmost. Each cell is the median (lowest to highest) over turns taken by ours "
        "and diffusers. A ratio above 1 means that\nours is faster; the bare calls are those of the network alone, "
        "without a sampler.\n\n"
        "| batch | ours, images/s | diffusers, images/s | ratio, sampling | ratio, bare calls | layout of diffusers |\n"
        "| --- | --- | --- | --- | --- | --- |",
        flush=True,
    )
    for batch, turns in TURNS.items():
        noise = start[:batch]
        drawn = {name: their_draw(unets[name], noise, name) for name in LAYOUTS}
        for run in drawn.values():
            run()
        layout = min(drawn, key=lambda name: min(seconds(drawn[name]) for _ in range(2)))
        runs = (
            our_draw(den, noise, sigmas),
            drawn[layout],
            our_calls(den, noise),
            their_calls(unets[layout], noise, layout),
        )
        for run in runs:
            run()
        spent = np.array([[seconds(run) for run in runs] for _ in range(turns)]).T
        ours_per_s, theirs_per_s = (spread(batch / row, 1) for row in spent[:2])
        whole, bare = (spread(theirs / ours) for ours, theirs in (spent[:2], spent[2:]))
        print(f"| {batch} | {ours_per_s} | {theirs_per_s} | {whole} | {bare} | {layout} |", flush=True)
        if batch == PROFILED:
            profiles = our_profile(runs[2]), their_profile(runs[3])

    print(f"\nTime of a network call at batch {PROFILED}, in ms:\n\n| | ours | diffusers |\n| --- | --- | --- |")
    for kind in [*KINDS, "other"]:
        print(f"| {kind} | {profiles[0].get(kind, 0.0):.1f} | {profiles[1].get(kind, 0.0):.1f} |")
    loops = (
        our_draw(oracles.gaussian(Linear(), 0.0, 0.5), start[:1], sigmas),
        their_draw(lambda x, t, return_dict: (x,), start[:1], "NCHW"),
    )
    ours, theirs_ = (1e3 * np.median([seconds(run) for _ in range(50)][5:]) for run in loops)
    print(
        f"\nThe sampling loop of {CALLS} calls without a network, at batch 1: ours {ours:.2f} ms, diffusers "
        f"{theirs_:.2f} ms."
    )


if __name__ == "__main__":
    main()
