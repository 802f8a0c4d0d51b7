"""The metrics by name, with their direction and range, and the defaults of a comparison."""

import math
from typing import NamedTuple

COUNT, BATCH = 500, 256  # images per cell, and per batch
METRICS = ("FD", "SW")


class MetricInfo(NamedTuple):
    """Direction and range of a metric, and its reference row."""

    better: str = "lower"  # or "higher", or "" if neither direction is better
    least: float = 0.0
    most: float = math.inf
    reference_row: str = "floor"  # a key of REFERENCE_ROWS, or "" for none


REFERENCE_ROWS = {
    "floor": "the metric of (up to) as many training images",
    "flow": "held-out images under the probability-flow ODE of the model without levers",
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


def metric_info(metric: str) -> MetricInfo:
    """The info of a metric with or without features, such as "KID-pixels"."""
    return METRIC_INFO["FD" if metric == "FID" else metric.split("-")[0]]
