"""One of several processes that save and restore one sharded state together.

python tests/helpers/worker.py INDEX COUNT PORT FOLDER
"""

import sys

import jax
import numpy as np
import optax
from jax.sharding import NamedSharding, PartitionSpec

from fewstep.train.checkpoints import digests
from fewstep.train.checkpoints.checkpoints import Checkpoints
from fewstep.train.state import initial_state


def state_of(step, mesh):
    """Kernels whose rows are spread over the processes, a bias that each has whole."""

    def placed(a):
        sharding = NamedSharding(mesh, PartitionSpec("data") if a.ndim == 2 else PartitionSpec())
        return jax.make_array_from_callback(a.shape, sharding, lambda index: a[index])

    kernel = np.arange(512.0, dtype=np.float32).reshape(64, 8) + step
    state = initial_state({"net": {"kernel": kernel, "bias": np.ones(8, np.float32)}}, ("0.9",), optax.adam(1e-3))
    return jax.tree.map(lambda a: placed(np.asarray(a)), state)._replace(
        step=np.int32(step), nonfinite_steps=np.int32(0)
    )


def same(a, b):
    """Whether the parts of two trees that this process holds are equal."""
    parts = [[np.asarray(s.data) for leaf in jax.tree.leaves(t) for s in leaf.addressable_shards] for t in (a, b)]
    return all(np.array_equal(x, y) for x, y in zip(*parts, strict=True))


def main(index, count, port, folder):
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(f"127.0.0.1:{port}", int(count), int(index))
    mesh = jax.make_mesh((int(count),), ("data",))
    with Checkpoints(folder, keep=3) as checkpoints:
        for step in (1, 2, 3):
            checkpoints.save(step, state_of(step, mesh))
    with Checkpoints(folder, keep=3) as checkpoints:
        assert checkpoints.latest() == 3
        found = checkpoints.restore(2, state_of(0, mesh))
        assert int(found.step) == 2
        assert all(same(getattr(found, name), getattr(state_of(2, mesh), name)) for name in ("params", "ema"))
        checkpoints.set_aside(2)
        assert checkpoints.latest() == 2
        checkpoints.save(4, state_of(4, mesh))
    assert [digests.damage(f"{folder}/{step}") for step in (1, 2, 4)] == [None] * 3


if __name__ == "__main__":
    main(*sys.argv[1:])
