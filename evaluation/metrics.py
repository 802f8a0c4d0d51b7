"""What is known of the metrics, by name."""

import math
from typing import NamedTuple


class MetricInfo(NamedTuple):
    """What is known of a metric."""

    better: str = "lower"  # or "higher", or "" where neither is
    least: float = 0.0
    most: float = math.inf
    reference_row: str = "floor"  # the row beside the lines: that of training images, of the model's flow, or none


REFERENCE_ROWS = {
    "floor": "up to as many training images",
    "flow": "held-out images by the probability-flow ODE of the model without levers",
}
METRIC_INFO = {
    "FD": MetricInfo(),
    "FDinf": MetricInfo(least=-math.inf),
    "KID": MetricInfo(least=-math.inf),
    "energy": MetricInfo(least=-math.inf),
    "SW": MetricInfo(),
    "precision": MetricInfo("higher", most=1.0),
    "recall": MetricInfo("higher", most=1.0),
    "density": MetricInfo("higher"),
    "coverage": MetricInfo("higher", most=1.0),
    "novelty": MetricInfo("", reference_row=""),
    "accuracy": MetricInfo("higher", most=1.0),
    "trajectory": MetricInfo(reference_row=""),
    "bpd": MetricInfo(least=-math.inf, reference_row="flow"),
}


def metric_info(metric) -> MetricInfo:
    """Of "KID-pixels" and the like."""
    return METRIC_INFO["FD" if metric == "FID" else metric.split("-")[0]]
