"""A small classifier trained on the images of a run, as features for distances."""

import json
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from etils import epath

from fewstep.errors import UsageError
from fewstep.evaluation.features.batched import batched
from fewstep.evaluation.features.encoders import convolve
from fewstep.train.data import Batches, Dataset
from fewstep.train.data.fingerprint import change, check_record, fingerprint
from fewstep.train.utils import npz
from fewstep.train.utils.errors import Damaged, RunError
from fewstep.train.utils.files import loads
from fewstep.train.utils.hashing import digest
from fewstep.train.utils.progress import progress

LAYERS = ((32, 1), (64, 2), (64, 1), (64, 2), (64, 1))  # channels and stride of each 3x3 convolution
BATCH, EVERY = 128, 50  # images per batch; steps between reports of the loss
NAME, PARTS = "classifier.npz", ("kernel", "bias")


@dataclass(frozen=True)
class Classifier:
    """uint8 images (N, H, W, C) -> the features before the last layer, (N, 64) float64."""

    params: dict = field(repr=False, compare=False)  # layer -> kernel, bias
    digest: str

    name = "classifier"

    @property
    def classes(self) -> int:
        return self.params["head"][1].shape[0]

    def __call__(self, images: np.ndarray) -> np.ndarray:
        return self._run(images, 0)

    def logits(self, images: np.ndarray) -> np.ndarray:
        """uint8 images (N, H, W, C) -> (N, classes) float64."""
        return self._run(images, 1)

    def apply(self, params: Any, pixels: jax.Array) -> jax.Array:
        """The features (B, 64) of pixels from 0 to 255, as JAX traces them."""
        return network(params, pixels / 127.5 - 1)[0]

    def _run(self, images, output):
        return batched(lambda part: _apply(self.params, part)[output], images, BATCH, self.name)


@jax.jit
def _apply(params, images):
    return network(params, images.astype(jnp.float32) / 127.5 - 1)


def network(params: dict, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """x (B, H, W, C) in [-1, 1] -> features (B, 64) and logits (B, classes)."""
    for i, (channels, stride) in enumerate(LAYERS):
        x = jax.nn.relu(convolve(params, f"conv{i}", x, channels, 3, stride))
    x = x.mean((1, 2))
    kernel, bias = params["head"]
    return x, jnp.dot(x, kernel, precision="highest") + bias


def fresh(channels: int, classes: int, seed: int) -> dict:
    """Randomly initialized parameters (He et al. 2015)."""
    rng, params = np.random.default_rng(seed), {}

    def layer(*shape):
        std = np.sqrt(2 / np.prod(shape[:-1]))
        return np.float32(std * rng.standard_normal(shape)), np.zeros(shape[-1], np.float32)

    for i, (out, _) in enumerate(LAYERS):
        params[f"conv{i}"] = layer(3, 3, channels, out)
        channels = out
    return params | {"head": layer(channels, classes)}


def train(data: Dataset, steps: int, seed: int = 0) -> dict:
    """Train a classifier; returns its parameters.  Raises UsageError for data without images or labels."""
    if len(data.shape) != 3 or not data.classes:
        raise UsageError(f"a classifier needs images with labels, but {data} has none")
    params = fresh(data.shape[-1], data.classes, seed)
    optimizer = optax.adamw(optax.cosine_decay_schedule(2e-3, steps), weight_decay=1e-2)
    state, size = optimizer.init(params), min(BATCH, len(data.train))

    @jax.jit
    def step(params, state, batch):
        def loss(params):
            logits = network(params, batch.image)[1]
            return optax.softmax_cross_entropy_with_integer_labels(logits, batch.label).mean()

        value, grads = jax.value_and_grad(loss)(params)
        updates, state = optimizer.update(grads, state, params)
        return optax.apply_updates(params, updates), state, value

    with progress(steps) as show:
        for k, batch in enumerate(Batches(data.train, size, seed).stream(0, steps), 1):
            params, state, value = step(params, state, batch)
            if k % EVERY == 0 or k == steps:
                show(k, f"loss {float(value):.4f}")
    return params


def save(folder: epath.Path, params: dict, data: Dataset) -> None:
    """Store the parameters in the folder of a run, with the fingerprint of the data."""
    record = {"shape": list(data.shape), "classes": data.classes, "data": fingerprint(data)}
    arrays = {f"{name}/{part}": np.asarray(pair[i]) for name, pair in params.items() for i, part in enumerate(PARTS)}
    npz.write(folder / NAME, told=json.dumps(record), **arrays)


def load(run: Any) -> Classifier:
    """The classifier of a `train.run.Run`; raises RunError if it is missing, damaged, or trained on other data."""
    path, remedy = run.folder / NAME, f"train it with `fewstep classifier {run.folder}`"
    if not path.exists():
        raise RunError(f"{run.folder} has no classifier: {remedy}")
    try:
        arrays = npz.read(path)
        record = loads(str(arrays.pop("told")))
        names = dict.fromkeys(name.split("/")[0] for name in arrays)
        params = {name: tuple(arrays[f"{name}/{part}"] for part in PARTS) for name in names}
        layers = fresh(record["shape"][-1], record["classes"], 0)
        if jax.tree.map(np.shape, params) != jax.tree.map(np.shape, layers):
            raise ValueError("shapes")
        check_record(record["data"])
    except (KeyError, ValueError, TypeError, AttributeError, IndexError) as error:
        what = error if isinstance(error, Damaged) else f"{path} is damaged"
        raise RunError(f"{what}: {remedy} again") from None
    if changed := change(record, run.data):
        raise RunError(f"{path} was trained on other data ({changed}): {remedy} again")
    return Classifier(jax.tree.map(jnp.asarray, params), digest(params))
