"""Semidiscrete optimal transport between noise and the training images: fresh noise gets the image whose inner product
with it, plus one fitted number per image, is largest (arXiv:2509.25519)."""

import time
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import platformdirs

from fewstep.errors import UsageError
from fewstep.ranges import Count, checked
from fewstep.train.data.split import Batch, Split
from fewstep.train.utils import npz
from fewstep.train.utils.errors import Damaged
from fewstep.train.utils.hashing import arrays_sha256
from fewstep.train.utils.memory import amount, free_memory
from fewstep.train.utils.messages import say
from fewstep.train.utils.progress import progress

VERSION = 1  # of the fit: numbers of another one are fitted again
MOST_SCORES = 1 << 25  # computed at once
READ = 4096  # images read at once
BATCH = 512  # noises of a step of the fit, each with both signs


@dataclass(frozen=True, eq=False)
class Coupled:
    """Images (N, d) sorted by class, each with its dual number; image i of the split is of the class labels[i], and
    class c has the images from starts[c] to starts[c + 1]."""

    images: np.ndarray
    duals: np.ndarray  # (N,) float32
    labels: np.ndarray | None  # (N,); None: all images are of one class
    starts: np.ndarray

    def batch(self, index: np.ndarray, eps: np.ndarray) -> Batch:
        """The images paired with the noise eps (B, *shape), each of the class of the image `index` of the split."""
        label = None if self.labels is None else self.labels[index]
        chosen = self.choose(eps.reshape(len(eps), -1), np.zeros(len(eps), int) if label is None else label)
        return Batch(self.images[chosen].reshape(eps.shape), label, eps=eps)

    def choose(self, z: np.ndarray, classes: np.ndarray) -> np.ndarray:
        """The positions (B,) in `images` that are paired with the noise z (B, d), each within its class."""
        chosen = np.zeros(len(z), int)
        for c in np.unique(classes):
            rows = np.flatnonzero(classes == c)
            best = np.full(len(rows), -np.inf, np.float32)
            for part in self._parts(c, len(rows)):
                scores = z[rows] @ self.images[part].T + self.duals[part]
                at = scores.argmax(1)
                score = scores[np.arange(len(rows)), at]
                chosen[rows] = np.where(score > best, part.start + at, chosen[rows])
                best = np.maximum(score, best)
        return chosen

    def _parts(self, c, count):
        """The images of a class, in slices whose scores for `count` noises fit into memory."""
        size = max(1, MOST_SCORES // count)
        return [slice(i, min(i + size, self.starts[c + 1])) for i in range(self.starts[c], self.starts[c + 1], size)]


@checked
@dataclass(frozen=True)
class Semidiscrete:
    """What `train.coupling` sets; `draws` is the number of noises that the numbers of a class are fitted to."""

    draws: Count = 1 << 17

    def couple(self, split: Split, classes: int) -> Coupled:
        """The coupling of the images of a split with noise, within classes if there are any (0: there are none).

        The numbers are kept in the user's cache folder, under a digest of the images, and fitted if they are not there.
        Raises UsageError if the images do not fit into memory.
        """
        images, labels = _in_memory(split, classes)
        order = np.arange(len(split)) if labels is None else np.argsort(labels, kind="stable")
        counts = [len(split)] if labels is None else np.bincount(labels, minlength=classes)
        images = images if labels is None else images[order]
        coupled = Coupled(images, np.zeros(len(images), np.float32), labels, np.cumsum([0, *counts]))
        return replace(coupled, duals=self._duals(coupled))

    def _duals(self, coupled):
        from fewstep.train.utils.multihost import array_from_main  # imported late: reading data does not need JAX

        return array_from_main(lambda: self._kept(coupled), coupled.duals)

    def _kept(self, coupled):
        """The numbers in the cache; fitted ones are written there."""
        known = {"images": coupled.images, "starts": coupled.starts, "fit": np.array([VERSION, self.draws])}
        path = cache() / f"{arrays_sha256(known)}.npz"
        try:
            duals = npz.read(path)["duals"]
            if duals.shape == coupled.duals.shape and duals.dtype == np.float32 and np.isfinite(duals).all():
                return duals
        except (Damaged, KeyError):  # or there is no file
            pass
        began = time.monotonic()
        duals = fit(coupled, self.draws)
        try:
            npz.write(path, duals=duals)
            kept = f"kept in {path}"
        except OSError as error:
            kept = f"not kept, as {path} cannot be written ({error.strerror or error})"
        say(f"coupling of noise and images: fitted in {time.monotonic() - began:.1f} s, {kept}")
        return duals


def cache() -> Path:
    """The folder of fitted numbers."""
    return platformdirs.user_cache_path("fewstep") / "couplings"


def fit(coupled: Coupled, draws: int) -> np.ndarray:
    """The dual numbers (N,) with which all images of a class are chosen equally often, by averaged stochastic gradient
    ascent: a number falls by how much more often than that its image was chosen.

    Every noise is used with both signs, and for all classes.
    """
    images, classes, rng = coupled.images, [*pairwise(coupled.starts)], np.random.default_rng(0)
    wanted = np.concatenate([np.full(last - first, last - first) for first, last in classes])  # one in so many
    size = int(np.clip(MOST_SCORES // wanted.max(), 1, BATCH))
    found = [_start(images[first:last], rng) for first, last in classes]
    duals, rate = (np.concatenate(parts) for parts in zip(*found, strict=True))
    rate, average, steps = rate * np.minimum(1, 2 * size / wanted), duals.astype(float), -(-draws // (2 * size))
    with progress(steps, note="coupling") as show:
        for k in range(steps):
            counts = _counts(images, duals, classes, rng.standard_normal((size, images.shape[1]), np.float32))
            duals -= (rate * (k + 1) ** -0.6 * (wanted * counts / (2 * size) - 1)).astype(np.float32)
            average += (duals - average) * min(1, 4 / (k + 4))  # of about the last half of the steps
            show(k + 1)
    return average.astype(np.float32)


def _start(images, rng):
    """The numbers (n,) to start with, for the images of one class, and the sizes (n,) of a step.

    What wins is some gap ahead, on average the scale on which frequencies depend on a number.  An image far from the
    mean has scores that vary more, and so wins too often.
    """
    if len(images) < 2:
        return np.zeros(len(images), np.float32), np.zeros(len(images))
    duals = -0.5 * np.sqrt(2 * np.log(len(images))) * np.linalg.norm(images - images.mean(0), axis=1)
    z = rng.standard_normal((64, images.shape[1]), np.float32)
    best = np.partition(z @ images.T + duals, -2, axis=1)[:, -2:]
    return duals.astype(np.float32), np.full(len(images), np.mean(best[:, 1] - best[:, 0]))


def _counts(images, duals, classes, z):
    """How often each image (N,) is chosen for the noises z (B, d) and -z."""
    counts = np.zeros(len(images))
    for first, last in classes:
        if first < last:
            scores = z @ images[first:last].T
            for signed in (scores, -scores):
                chosen = (signed + duals[first:last]).argmax(1)
                counts[first:last] += np.bincount(chosen, minlength=last - first)
    return counts


def _in_memory(split, classes):
    """Images (N, d) float32 and labels (N,), None without classes."""
    size = 8 * len(split) * int(np.prod(split.shape))  # twice, to sort them
    if size > free_memory():
        raise UsageError(
            f"train.coupling keeps the images in memory, which takes {amount(size)} of {amount(free_memory())}: set it "
            f"to None"
        )
    parts = [split[i : i + READ] for i in range(0, len(split), READ)]
    images = np.concatenate([part.image.reshape(len(part.image), -1) for part in parts])
    return images, np.concatenate([part.label for part in parts]) if classes else None
