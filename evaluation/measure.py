"""All metrics of drawn images, as `Estimate`s."""

from collections.abc import Sequence

import numpy as np
from etils import epath

from fewstep.diffusion.arrays import pooled
from fewstep.evaluation.cells import Drawn
from fewstep.evaluation.distances import DISTANCES
from fewstep.evaluation.estimate import UNDEFINED, Estimate, Interval, estimate
from fewstep.evaluation.features import Classifying, Features
from fewstep.evaluation.metrics import metric_info
from fewstep.evaluation.reference import Reference, cached_features


def interval(metric: str, estimate: Estimate) -> Interval:
    """The confidence interval, clipped to the range of the metric."""
    return estimate.interval(metric_info(metric).least, metric_info(metric).most)


def metric_name(metric: str, features: Features) -> str:
    """The name of a metric on features, such as "FD-pixels": the inverse of `name_and_features`."""
    return "FID" if (metric, features.name) == ("FD", "inception2015") else f"{metric}-{features.name}"


class MetricEvaluator:
    """Computes metrics of sets of drawn images, against real images whose features are computed once."""

    def __init__(
        self,
        metrics: Sequence[str],
        features: Sequence[Features],
        classes: int,
        real: Reference,
        folder: epath.PathLike,
    ):
        """metrics: names of `metrics.METRIC_INFO`; features: those of real images are cached in `folder`; classes: the
        number of classes of the images to draw.

        Raises UsageError if a metric cannot be computed.
        """
        self.metrics, self.features, self.classes, self.real = metrics, features, classes, real
        self.held_out = [cached_features(kind, real.held_out, folder) for kind in features]
        self.training = [cached_features(kind, real.training, folder) for kind in features]
        kinds = dict.fromkeys(DISTANCES[metric] for metric in metrics if metric in DISTANCES)
        self.distances = [[kind(*pair) for kind in kinds] for pair in zip(self.held_out, self.training, strict=True)]

    def __call__(self, drawn: Drawn, label: np.ndarray | None = None) -> dict[str, Estimate]:
        """Drawn images and their labels, or None -> {"FD-pixels": ..., }; NaN if the images of the sampler were not
        finite.  Images larger than the real ones are downsampled by average pooling."""
        found = self.of_images(drawn.images, label)
        for name, extra in drawn.extra.items():
            if name in self.metrics:
                found[name] = EXTRA[name](extra.values)
        return found if drawn.finite else dict.fromkeys(found, UNDEFINED)

    def of_images(self, images: np.ndarray, label: np.ndarray | None = None) -> dict[str, Estimate]:
        """Quantized images -> {"FD-pixels": ..., }, as for drawn ones."""
        images = averaged(images, self.real.held_out.shape)
        return self._measured(images, [kind(images) for kind in self.features], label)

    def floor(self, count: int, label: np.ndarray | None = None) -> dict[str, Estimate]:
        """The metrics of the first `count` training images, where these are defined."""
        found = self._measured(self.real.training[:count], [array[:count] for array in self.training], label)
        return {metric: value for metric, value in found.items() if metric_info(metric).reference_row == "floor"}

    def _measured(self, images, arrays, label):
        found = {}
        for kind, array, distances in zip(self.features, arrays, self.distances, strict=True):
            enough = [distance for distance in distances if len(array) >= distance.least]
            values = {name: value for distance in enough for name, value in distance(array).items()}
            known = kind.classes == self.classes and "accuracy" in self.metrics
            if known and label is not None and isinstance(kind, Classifying):
                right = kind.logits(images).argmax(1) == label[: len(images)]
                values["accuracy"] = estimate(right.mean(), right)
            found |= {metric_name(name, kind): value for name, value in values.items() if name in self.metrics}
        return found


def averaged(images: np.ndarray, shape: tuple) -> np.ndarray:
    """uint8 images (N, m h, m w, C) downsampled to a shape (N, h, w, C) by means of m x m pixels; others unchanged."""
    if images.ndim != 4 or images.shape[1:] == shape[1:]:
        return images
    return np.round(pooled(images, images.shape[1] // shape[1])).astype(np.uint8)


def trajectory(error: np.ndarray) -> Estimate:
    """The root mean square distance to the reference solution, from the mean squared error of each image (N,)."""
    value = np.sqrt(error.mean())
    return estimate(value, error / (2 * value) if value else error)


def bpd(bits: np.ndarray) -> Estimate:
    """The mean of the bits per dimension of held-out images (M,)."""
    return estimate(bits.mean(), real=bits)


EXTRA = {"trajectory": trajectory, "bpd": bpd}
