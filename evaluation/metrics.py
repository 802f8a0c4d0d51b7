"""What is known of the metrics, by name."""

import math
from typing import NamedTuple


class Trait(NamedTuple):
    """What is known of a metric."""

    better: str = "lower"  # or "higher", or "" where neither is
    least: float = 0.0
    most: float = math.inf
    beside: str = "floor"  # the row beside the lines: that of training images, of the model's flow, or none


BESIDE = {
    "floor": "up to as many training images",
    "flow": "held-out images by the probability-flow ODE of the model without levers",
}
TRAITS = {
    "FD": Trait(),
    "FDinf": Trait(least=-math.inf),
    "KID": Trait(least=-math.inf),
    "energy": Trait(least=-math.inf),
    "SW": Trait(),
    "precision": Trait("higher", most=1.0),
    "recall": Trait("higher", most=1.0),
    "density": Trait("higher"),
    "coverage": Trait("higher", most=1.0),
    "novelty": Trait("", beside=""),
    "accuracy": Trait("higher", most=1.0),
    "trajectory": Trait(beside=""),
    "bpd": Trait(least=-math.inf, beside="flow"),
}


def trait(metric) -> Trait:
    """Of "KID-pixels" and the like."""
    return TRAITS["FD" if metric == "FID" else metric.split("-")[0]]
