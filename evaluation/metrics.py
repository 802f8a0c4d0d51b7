"""The metrics by name, with their direction and range, and the defaults of a comparison."""

import math
from collections.abc import Iterable
from typing import NamedTuple

COUNT, BATCH = 500, 256  # images per cell, and per batch
METRICS = ("FD", "SW")
ALONE = "trajectory"  # the metric that needs no data
TRAINED = "†"  # marks metrics on features that a run was trained on


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
    "mind": MetricInfo(),
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
    return METRIC_INFO[name_and_features(metric)[0]]


def name_and_features(metric: str) -> tuple[str, str]:
    """("KID", "pixels") of "KID-pixels", and ("bpd", "") of "bpd"; "FID" is FD on the original network and weights."""
    name, _, features = metric.partition("-")
    return ("FD", "inception2015") if name == "FID" else (name, features)


def on_several_features(metrics: Iterable[str]) -> dict[str, list[str]]:
    """{"KID": ["KID-pixels", "KID-classifier"]}: the metrics that are there on more than one kind of features."""
    found: dict[str, list[str]] = {}
    for metric in metrics:
        found.setdefault(name_and_features(metric)[0], []).append(metric)
    return {name: same for name, same in found.items() if len(same) > 1}
