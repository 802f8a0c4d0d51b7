"""Every metric of drawn images, each an `Estimate`."""

import numpy as np

from fewstep.diffusion.arrays import pooled
from fewstep.evaluation.cells import Drawn
from fewstep.evaluation.distances import DISTANCES
from fewstep.evaluation.estimate import UNDEFINED, Estimate, Interval, estimate
from fewstep.evaluation.metrics import metric_info
from fewstep.evaluation.reference import Reference, cached_features


def interval(metric, estimate: Estimate) -> Interval:
    """Within what the metric can be."""
    return estimate.interval(metric_info(metric).least, metric_info(metric).most)


def metric_name(metric, features) -> str:
    """A metric with its features; FID is the Frechet distance on the one network with the one set of weights."""
    return "FID" if (metric, features.name) == ("FD", "inception2015") else f"{metric}-{features.name}"


class MetricEvaluator:
    """Measures sets of drawn images by some metrics, on some features, against real images prepared once."""

    def __init__(self, metrics, features, classes, real: Reference, folder):
        """metrics: names of `metrics.METRIC_INFO`; features: a list of `Features`, those of real images kept in
        `folder`; classes: how many there are of images to draw.

        UsageError where a metric cannot be told.
        """
        self.metrics, self.features, self.classes, self.real = metrics, features, classes, real
        self.held_out = [cached_features(kind, real.held_out, folder) for kind in features]
        self.training = [cached_features(kind, real.training, folder) for kind in features]
        kinds = dict.fromkeys(DISTANCES[metric] for metric in metrics if metric in DISTANCES)
        self.distances = [[kind(*pair) for kind in kinds] for pair in zip(self.held_out, self.training, strict=True)]

    def __call__(self, drawn: Drawn, label=None) -> dict[str, Estimate]:
        """Of drawn images and the labels they were asked for, or None -> {"FD-pixels": ..., }; NaN where the sampler's
        own images were not finite.  Larger images than the real ones are measured by means of their pixels."""
        images = averaged(drawn.images, self.real.held_out.shape)
        found = self._measured(images, [kind(images) for kind in self.features], label)
        for name, extra in drawn.extra.items():
            if name in self.metrics:
                found[name] = EXTRA[name](extra.values)
        return found if drawn.finite else dict.fromkeys(found, UNDEFINED)

    def floor(self, count, label=None) -> dict[str, Estimate]:
        """The same of the first training images, for metrics that those have, and that so many have."""
        found = self._measured(self.real.training[:count], [array[:count] for array in self.training], label)
        return {metric: value for metric, value in found.items() if metric_info(metric).reference_row == "floor"}

    def _measured(self, images, arrays, label):
        found = {}
        for kind, array, distances in zip(self.features, arrays, self.distances, strict=True):
            enough = [distance for distance in distances if len(array) >= distance.least]
            values = {name: value for distance in enough for name, value in distance(array).items()}
            if label is not None and kind.classes == self.classes and "accuracy" in self.metrics:
                right = kind.logits(images).argmax(1) == label[: len(images)]
                values["accuracy"] = estimate(right.mean(), right)
            found |= {metric_name(name, kind): value for name, value in values.items() if name in self.metrics}
        return found


def averaged(images, shape) -> np.ndarray:
    """uint8 images (N, H, W, C) of m times the sides of those of a shape (N, h, w, C), as means of m x m pixels; others
    as they are."""
    if images.ndim != 4 or images.shape[1:] == shape[1:]:
        return images
    return np.round(pooled(images, images.shape[1] // shape[1])).astype(np.uint8)


def trajectory(error) -> Estimate:
    """The root of the mean squared distance to the reference solution, (N,) of each image."""
    value = np.sqrt(error.mean())
    return estimate(value, error / (2 * value) if value else error)


def bpd(bits) -> Estimate:
    """The mean of the bits per dimension of held-out images, (M,) of each."""
    return estimate(bits.mean(), real=bits)


EXTRA = {"trajectory": trajectory, "bpd": bpd}
