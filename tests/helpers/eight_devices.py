"""The process with eight devices that test_meshes.py starts: python eight_devices.py NETWORK FOLDER."""

import sys
from functools import partial
from pathlib import Path

import jax

jax.config.update("jax_num_cpu_devices", 8)

import numpy as np
import optax
from optimizers_on_devices import same_optimizers

from fewstep.diffusion.networks import MLP, DiT, UNet, UNet2D
from fewstep.diffusion.variance import NPR
from fewstep.train.checkpoints.checkpoints import Checkpoints
from fewstep.train.checkpoints.warm_start import with_weights
from fewstep.train.data import digits, points
from fewstep.train.experiment import Experiment
from fewstep.train.loop import prepare
from fewstep.train.objectives import (
    CTM,
    DMD,
    IMM,
    LSD,
    PSD,
    AlphaFlow,
    ContinuousConsistency,
    Denoising,
    DiscreteConsistency,
    Frechet,
    ImprovedMeanFlow,
    MeanFlow,
    SecondMoment,
    Shortcut,
    SiD,
)  # fmt: skip
from fewstep.train.objectives.frechet import Measured
from fewstep.train.run.run import Run
from fewstep.train.sharding import device_share, gathered

MESHES = {  # every way to divide one network, and all axes at once for the others
    "UNet": ((2, 2, 2),),
    "UNet2D": ((2, 2, 2),),
    "DiT": ((2, 2, 2), (1, 1, 8)),
    "MLP": ((8, 1, 1), (1, 8, 1), (2, 2, 2), (1, 1, 8)),
}
NETWORKS = {
    "UNet": (digits, partial(UNet, base=16, mult=(1, 2), blocks=1, dropout=0.1)),
    "UNet2D": (
        digits,
        partial(UNet2D, channels=(16, 32), blocks=1, attention=(4,), groups=8, head_size=8, dropout=0.1),
    ),
    "DiT": (digits, partial(DiT, width=32, depth=2, heads=8)),
    "MLP": (partial(points, count=1000, held_out=100), partial(MLP, width=32, depth=2)),
}
DIVIDED = {  # a kernel (..., embed, hidden) of a block, and its size
    "UNet": (("down", 0, 0, "conv", "kernel"), (16, 16)),
    "UNet2D": (("down", 0, 0, "conv", "kernel"), (16, 16)),
    "DiT": (("blocks", 1, "wide", "kernel"), (32, 128)),
    "MLP": (("blocks", 1, "first", "kernel"), (32, 32)),
}
# The share of the parameters that some axis leaves whole: the embeddings of these small networks, and with tensor alone
# the modulations of the DiT.
WHOLE = {"UNet": 0.2, "UNet2D": 0.2, "DiT": 0.4, "MLP": 0.3}
STEPS, BATCH = 3, 16


def sgd(steps):
    """Not adam, which would divide the rounding of gradients that are nearly zero by themselves."""
    return optax.sgd(0.1, 0.9)


def slow(steps):
    return optax.sgd(0.01, 0.9)


class SmallSiD(SiD):
    """Of small gradients, or sgd leads random weights to where rounding counts."""

    def weight(self, *asked):
        return 0.1 * super().weight(*asked)


class SmallDMD(DMD):
    """The same."""

    def weight(self, *asked):
        return 0.1 * super().weight(*asked)


def training_of(name, mesh, objective=Denoising(), **options):
    data, network = NETWORKS[name]
    settings = {"optimizer": sgd, "batch_size": BATCH, "steps": STEPS, "ema": (0.9,), "mesh": mesh} | options
    return prepare(Experiment(data, network, objective, **settings), data())


def stepped(training, state):
    """The state after STEPS steps and the losses on the way."""
    losses = []
    for k in range(STEPS):
        state, metrics = training.step(state, training.batches.batch(k))
        losses.append([float(metrics["loss"]), float(metrics["grad_norm"])])
    return state, losses


def assert_close(a, b, what):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-6, err_msg=what), a, b)


def assert_equal(a, b, what):
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a, b, err_msg=what), a, b)


def assert_divided(name, training, state):
    """Kernels, their averages and moments are divided along both axes, and little is whole."""
    fsdp, tensor = training.mesh.shape["fsdp"], training.mesh.shape["tensor"]
    path, (rows, columns) = DIVIDED[name]
    trees = state.params, state.ema["0.9"], optax.tree.get(state.opt_state, "trace")
    for tree in trees:
        leaf = tree["net"]
        for key in path:
            leaf = leaf[key]
        (*others, first, second) = leaf.shape
        assert (first, second) == (rows, columns)
        assert leaf.addressable_shards[0].data.shape == (*others, rows // fsdp, columns // tensor)
        assert len(leaf.addressable_shards) == 8
    held = device_share(jax.eval_shape(lambda p: p, state.params), training.placed.params)
    assert 1 / (fsdp * tensor) <= held <= WHOLE[name] + 1 / (fsdp * tensor), (training.mesh.shape, held)


def same_steps(name):
    """Every mesh trains as one device does, and divides what it should.  The state of each mesh."""
    one = training_of(name, (1, 1, 1))
    expected, losses = stepped(one, one.fresh())
    states = {one.mesh: (one, expected)}
    for mesh in MESHES[name]:
        training = training_of(name, mesh)
        fresh = training.fresh()
        assert_equal(fresh.params, one.fresh().params, f"initialised on {mesh}")
        assert_divided(name, training, fresh)
        state, found = stepped(training, fresh)
        np.testing.assert_allclose(found, losses, rtol=2e-5, err_msg=str(mesh))
        assert_close(state.params, expected.params, f"parameters on {mesh}")
        assert_close(state.ema, expected.ema, f"averages on {mesh}")
        for a, b in zip(jax.tree.leaves(state), jax.tree.leaves(training.placed), strict=True):
            assert a.sharding.is_equivalent_to(b, a.ndim)
        states[training.mesh] = training, state
    return states


def same_checkpoints(states, folder):
    """What is written on one mesh opens on every other, bit for bit."""
    for writer, (_, state) in states.items():
        where = folder / "x".join(map(str, writer.shape.values()))
        with Checkpoints(where) as checkpoints:
            checkpoints.save(STEPS, state)
        for reader, (training, _) in states.items():
            shapes = jax.eval_shape(lambda s: s, state)
            like = jax.tree.map(
                lambda a, s: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=s), shapes, training.placed
            )
            with Checkpoints(where, create=False) as checkpoints:
                read = checkpoints.restore(STEPS, like)
            assert_equal(read, state, f"written on {writer}, read on {reader}")
            for a, b in zip(jax.tree.leaves(read.params), jax.tree.leaves(training.placed.params), strict=True):
                assert a.sharding.is_equivalent_to(b, a.ndim)


def same_images(states):
    """Images of a seed are those of one device, and seven images are drawn where eight devices are."""
    drawn = []
    for mesh, (training, state) in states.items():
        params = jax.device_put(state.ema["0.9"]["net"], jax.tree.map(gathered, training.placed.params["net"]))
        run = Run(Path("run"), training.model, params, STEPS, training.data.shape, None, mesh)
        drawn.append(run.draw("ddpm", 5, range(7), batch=4))
    assert drawn[0].shape == (7, *next(iter(states.values()))[0].data.shape)
    assert drawn[0].std() > 0.1
    for images in drawn[1:]:
        np.testing.assert_allclose(images, drawn[0], atol=1e-5)


def same_second_outputs(name, weights):
    """A second output beside weights of another run trains on every mesh as on one device, and nothing else moves."""
    found = []
    for mesh in ((1, 1, 1), (2, 2, 2)):
        training = training_of(name, mesh, SecondMoment(), variance=NPR())
        state, losses = stepped(training, with_weights(training.fresh(), weights))
        assert_equal({part: state.params["net"][part] for part in weights}, weights, f"what stays on {mesh}")
        assert_equal({part: state.ema["0.9"]["net"][part] for part in weights}, weights, f"its average on {mesh}")
        found.append((losses, state.params["net"]["variance"]))
    for losses, second in found[1:]:
        np.testing.assert_allclose(losses, found[0][0], rtol=2e-5)
        assert_close(second, found[0][1], "a second output")


def same_teachers(name):
    """Averages and weights of the start that teach are divided like parameters, and teach the same on every mesh."""
    rng = np.random.default_rng(0)
    weights = training_of(name, (1, 1, 1)).fresh().params["net"]  # their head is zero, and would hide all else
    weights = jax.tree.map(lambda a: np.float32(0.2 * rng.standard_normal(a.shape)), weights)
    # huber: the direction of a small difference of two outputs is rounding.
    distilled = DiscreteConsistency(teacher=True, huber=1.0)
    # power and floor: small gradients, or sgd leads random weights to where rounding counts.
    distilled_maps = (kind(same=0.5, power=1.0, floor=100.0) for kind in (LSD, PSD, CTM))
    maps = (MeanFlow(), ImprovedMeanFlow(), AlphaFlow(same=0.5), IMM(), *distilled_maps)
    matched = (SmallSiD(score_optimizer=slow), SmallDMD(calls=2, ratio=2, adversarial=1.0, score_optimizer=slow))
    for objective in (Shortcut(label_drop=0.0), distilled, ContinuousConsistency(), *maps, *matched):
        same_training(name, objective, weights)


def same_training(name, objective, weights):
    path, (rows, columns) = DIVIDED[name]
    found = []
    for mesh in ((1, 1, 1), (2, 2, 2)):
        training = training_of(name, mesh, objective)
        begun = with_weights(training.fresh(), weights)
        frozen = jax.device_get(begun.frozen)
        state, losses = stepped(training, begun)
        found.append((losses, state.params))
        assert_equal(state.frozen, frozen, f"a teacher on {mesh}")
        copies = [state.params[group] for group in objective.copies]
        for leaf in [*(teacher["net"] for teacher in state.frozen.values()), *copies]:
            for key in path:
                leaf = leaf[key]
            assert leaf.addressable_shards[0].data.shape == (rows // mesh[1], columns // mesh[2])
        for a, b in zip(jax.tree.leaves(state), jax.tree.leaves(training.placed), strict=True):
            assert a.sharding.is_equivalent_to(b, a.ndim)
    for losses, params in found[1:]:
        np.testing.assert_allclose(losses, found[0][0], rtol=2e-5)
        assert_close(params, found[0][1], f"{objective}")


def same_populations(name):
    """The moments of what is drawn are those of all devices."""
    kind = Measured("points", "", lambda params, x: params * x, np.float32(2.0), np.ones(2), np.diag([1.0, 0.1]))
    for options in ({"decay": 0.5}, {"queue": 2 * BATCH}):
        found = []
        for mesh in ((1, 1, 1), (2, 2, 2)):
            training = training_of(name, mesh, Frechet(learned="instant", nfe=2, known=(kind,), **options))
            found.append(stepped(training, training.fresh()))
        (one, losses), (other, others) = found
        np.testing.assert_allclose(others, losses, rtol=2e-5)
        assert_close(other.params, one.params, "after draws")
        assert_close(other.memory, one.memory, "moments")


def same_parts(name):
    """A batch worked off in parts has the gradients of the whole, on one device and on eight."""
    one = training_of(name, (1, 1, 1))
    expected, losses = stepped(one, one.fresh())
    for mesh, parts in (((1, 1, 1), 4), ((2, 2, 2), 2)):
        training = training_of(name, mesh, accumulate=parts)
        state, found = stepped(training, training.fresh())
        np.testing.assert_allclose(found, losses, rtol=2e-5)
        assert_close(state.params, expected.params, f"{parts} parts on {mesh}")


def main(name, folder):
    states = same_steps(name)
    same_images(states)
    if name == "MLP":  # what does not depend on the network
        same_checkpoints(states, Path(folder))
        same_parts(name)
        same_optimizers(STEPS, assert_close)
        same_teachers(name)
        same_populations(name)
    if name in ("MLP", "UNet"):
        same_second_outputs(name, jax.device_get(next(iter(states.values()))[1].params["net"]))
    print(name, "on", jax.device_count(), "devices")


if __name__ == "__main__":
    main(*sys.argv[1:])
