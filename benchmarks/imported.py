"""An imported UNet2DModel: how long the import takes and how much memory, and images per second against diffusers.

    .venv/bin/python benchmarks/imported.py > imported.md && mv imported.md benchmarks/results/imported.md

(With the extra `torch` installed.)  The network is that of google/ddpm-cifar10-32 with random weights.  The import is
timed in a fresh process, beside reading the file of weights and writing it with fsync, in turns; also that of the same
network three times as wide.  Drawing is DDIM in 10 steps, ours by `Run.follow`, theirs by the usual loop around
DDIMScheduler, in turns, as in speed.py.
"""

import json
import os
import subprocess
import sys
import tempfile
from copy import deepcopy
from pathlib import Path

import diffusers
import jax
import numpy as np
import torch
from machine import seconds, spread
from speed import CALLS, KINDS, LAYOUTS, heading, our_profile, their_profile

from fewstep import open_run
from fewstep.cli.verbs import import_model
from fewstep.diffusion import Cond

SHAPE, TURNS = (32, 32, 3), {1: 9, 8: 3}
WIDTHS = np.array([128, 256, 256, 256])
CONFIG = {
    "sample_size": 32, "layers_per_block": 2, "downsample_padding": 0,
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"), "freq_shift": 1,
    "up_block_types": ("UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"), "flip_sin_to_cos": False,
    "attention_head_dim": None, "norm_eps": 1e-6,
}  # fmt: skip
WEIGHTS = "unet/diffusion_pytorch_model.safetensors"
TIMED = """
import json, os, sys, time
from pathlib import Path
sys.path.insert(0, "benchmarks")
from machine import peak
from fewstep.cli.verbs import import_model
import jax
jax.devices()
source, run = sys.argv[1:]
before = peak()
begin = time.perf_counter()
import_model.main(source, run, None, None, None)
took = time.perf_counter() - begin
grown = peak() - before
begin = time.perf_counter()
with open(Path(run) / "copy", "wb") as file:
    file.write((Path(source) / "WEIGHTS").read_bytes())
    file.flush()
    os.fsync(file.fileno())
print(json.dumps([took, time.perf_counter() - begin, grown]))
""".replace("WEIGHTS", WEIGHTS)


def made(folder, times=1):
    """Write the folder of a pipeline whose network is so many times as wide, and return its model."""
    torch.manual_seed(0)
    model = diffusers.UNet2DModel(block_out_channels=(times * WIDTHS).tolist(), **CONFIG).eval()
    model.save_pretrained(folder / "unet")
    diffusers.DDPMScheduler(clip_sample=False).save_pretrained(folder / "scheduler")
    (folder / "model_index.json").write_text('{"_class_name": "DDPMPipeline"}')
    return model


def imports(source, folder, turns=5):
    """(turns, 3): seconds of the import and of a copy, and the bytes by which the process grew."""
    spent = []
    for _ in range(turns):
        with tempfile.TemporaryDirectory(dir=folder) as run:
            command = [sys.executable, "-c", TIMED, source, f"{run}/run"]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
        spent.append(json.loads(done.stdout.splitlines()[-1]))
    return np.array(spent)


def row(model, source, folder):
    """A row of the table of imports."""
    size = (source / WEIGHTS).stat().st_size
    took, copied, grown = imports(source, folder).T
    cells = (spread(took), spread(copied), spread(took / copied), spread(grown / size))
    millions = sum(p.numel() for p in model.parameters()) / 1e6
    return f"| {millions:.1f} | {size / 1e6:.0f} | {' | '.join(cells)} |"


def their_draw(unet, start, layout):
    """A function that draws images from this noise, as diffusers' pipelines do."""
    scheduler = diffusers.DDIMScheduler(clip_sample=False)
    start = torch.from_numpy(start).permute(0, 3, 1, 2).contiguous(memory_format=LAYOUTS[layout])

    @torch.inference_mode()
    def run():
        scheduler.set_timesteps(CALLS)
        x = start
        for t in scheduler.timesteps:
            x = scheduler.step(unet(x, t, return_dict=False)[0], t, x, return_dict=False)[0]
        return x

    return run


def calls_of(run, unet, start, layout):
    """Functions that call the bare networks, ours and theirs."""
    model, params = run.model, run.params
    call = jax.jit(lambda params, x, t: model.network(params, x, t, None, Cond(), None))
    ours = jax.device_put(start)
    theirs = torch.from_numpy(start).permute(0, 3, 1, 2).contiguous(memory_format=LAYOUTS[layout])

    def our_calls(calls=CALLS):
        for t in np.linspace(999, 99, calls, dtype=np.float32):
            out = call(params, ours, t)
        return out.block_until_ready()

    @torch.inference_mode()
    def their_calls(calls=CALLS):
        for t in torch.linspace(999, 99, calls):
            out = unet(theirs, t, return_dict=False)[0]
        return out

    return our_calls, their_calls


def main():
    """Print the result file."""
    torch.set_num_threads(os.cpu_count())
    print(
        heading().replace("Images per second, ours against diffusers", "An imported model").replace("speed", "imported")
    )
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        unet = made(folder / "ddpm")
        print(
            "## Import\n\nIn a process that has started. A copy reads the file and writes it once with fsync; growth "
            "is that of the\nprocess, in sizes of the file. Medians (lowest to highest) of 5 turns.\n\n"
            "| million parameters | MB | import, s | copy, s | ratio | growth |\n| --- | --- | --- | --- | --- | --- |"
        )
        print(row(unet, folder / "ddpm", folder), flush=True)
        wide = made(folder / "wide", 3)
        print(row(wide, folder / "wide", folder), end="\n\n", flush=True)
        import_model.main(str(folder / "ddpm"), str(folder / "run"), None, None, None)
        run = open_run(folder / "run")
        unets = {"NCHW": unet, "channels_last": deepcopy(unet).to(memory_format=torch.channels_last)}
        table = run.table("ddim", CALLS, "leading")
        start = np.random.default_rng(0).standard_normal((max(TURNS), *SHAPE), np.float32)
        print(
            "## Drawing\n\nDDIM in 10 steps. Each cell is the median (lowest to highest) over turns taken by both. A "
            "ratio above 1 means\nthat ours is faster; the bare calls are those of the network alone.\n\n"
            "| batch | images differ by | ours, images/s | diffusers, images/s | ratio, sampling | ratio, bare calls | "
            "layout |\n| --- | --- | --- | --- | --- | --- | --- |",
            flush=True,
        )
        for batch, turns in TURNS.items():
            noise = start[:batch]

            def ours(noise=noise):
                return run.follow(table, range(len(noise)), start=noise)

            drawn = {name: their_draw(unets[name], noise, name) for name in LAYOUTS}
            apart = np.abs(ours() - drawn["NCHW"]().permute(0, 2, 3, 1).numpy()).max()
            layout = min(drawn, key=lambda name: min(seconds(drawn[name]) for _ in range(2)))
            runs = (ours, drawn[layout], *calls_of(run, unets[layout], noise, layout))
            for each in runs:
                each()
            spent = np.array([[seconds(each) for each in runs] for _ in range(turns)]).T
            one, other = (spread(batch / took, 2) for took in spent[:2])
            whole, bare = (spread(theirs / mine) for mine, theirs in (spent[:2], spent[2:]))
            print(f"| {batch} | {apart:.0e} | {one} | {other} | {whole} | {bare} | {layout} |", flush=True)
        profiles = our_profile(runs[2], 3), their_profile(runs[3], 3)
        print(f"\nTime of a network call at batch {batch}, in ms:\n\n| | ours | diffusers |\n| --- | --- | --- |")
        for kind in [*KINDS, "other"]:
            print(f"| {kind} | {profiles[0].get(kind, 0.0):.1f} | {profiles[1].get(kind, 0.0):.1f} |")


if __name__ == "__main__":
    main()
