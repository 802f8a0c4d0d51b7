"""What a training step costs each device as devices are added, by XLA's own account of the compiled program.

    .venv/bin/python benchmarks/scaling.py

Compiles, and does not run, a step of DiT-S/2 at 32x32 with 256 images for 1, 2, 4 and 8 devices of each kind of mesh
(forced host devices: on two cores a clock would say nothing about scale).  Per device and step:

    GFLOP      arithmetic                              state    MB of parameters, averages and moments that stay
    GB         memory read and written                 temp     MB in use beside them while the step runs
    moved      MB of the results of its collectives, by kind

Ideal: data halves GFLOP with every doubling and leaves the state, moving each gradient once; fsdp halves the state too,
for one gathering of the parameters more; tensor halves both, and moves activations in every block.
"""

import os
import re
from collections import Counter

os.environ["JAX_PLATFORMS"] = "cpu"

import jax

jax.config.update("jax_num_cpu_devices", 8)

import numpy as np

from fewstep.cli.config.load import experiment, find, load
from fewstep.train.data import Arrays, Batch, Dataset, Split
from fewstep.train.loop import prepare

BATCH, SHAPE, CLASSES = 256, (32, 32, 3), 10
OVERRIDES = (
    "train.network=@DiT", "DiT.width=384", "DiT.depth=12", "DiT.heads=6", "DiT.patch=2", f"train.batch_size={BATCH}",
)  # fmt: skip
COLLECTIVE = r"= (\(?[^=]*?\)?) (all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute)(?:-start)?\("


def moved(program) -> Counter:
    """Bytes of the results of the collectives of a compiled program, by kind; there are no loops in this one."""
    found = Counter()
    for shapes, kind in re.findall(COLLECTIVE, re.sub(r"/\*.*?\*/", "", program)):
        for bits, sizes in re.findall(r"[a-z]+(\d+)\[([\d,]*)\]", shapes):
            found[kind] += int(bits) // 8 * int(np.prod([int(size) for size in sizes.split(",") if size]))
    return found


def bytes_on_one(shapes, placed):
    """What one device holds of a tree of shapes that lie as `placed`."""
    parts = jax.tree.map(lambda a, s: a.dtype.itemsize * int(np.prod(s.shard_shape(a.shape))), shapes, placed)
    return sum(jax.tree.leaves(parts))


def main():
    """Print a line a mesh."""
    blank = Split(Arrays(np.zeros((BATCH, *SHAPE), np.uint8), np.zeros(BATCH, np.int32)))
    print(f"{'mesh':8} {'GFLOP':>8} {'GB':>7} {'state':>7} {'temp':>7}   moved")
    for devices in (1, 2, 4, 8):
        for axis in range(1 if devices == 1 else 3):
            mesh = tuple(devices if i == axis else 1 for i in range(3))
            load(find("configs/digits/flow.gin"), [*OVERRIDES, f"train.mesh={mesh}"])
            training = prepare(experiment(), Dataset("blank", blank, blank, CLASSES))
            state = training.fresh.eval_shape()
            batch = Batch(jax.ShapeDtypeStruct((BATCH, *SHAPE), np.float32), jax.ShapeDtypeStruct((BATCH,), np.int32))
            compiled = training.step.lower(state, batch).compile()
            cost, memory = compiled.cost_analysis(), compiled.memory_analysis()
            kinds = ", ".join(f"{kind} {size / 1e6:.0f}" for kind, size in sorted(moved(compiled.as_text()).items()))
            print(
                f"{'x'.join(map(str, mesh)):8} {cost['flops'] / 1e9:8.1f} {cost['bytes accessed'] / 1e9:7.1f} "
                f"{bytes_on_one(state, training.placed) / 1e6:7.1f} {memory.temp_size_in_bytes / 1e6:7.0f}   "
                f"{kinds or '-'}",
                flush=True,
            )


if __name__ == "__main__":
    main()
