"""Distances of drawn features (N, d) to real features (M, d), in float64, as `Estimate`s.

A distance is a class: constructed once from the real and the training features, and called with each drawn set.
"""

from typing import Any

from fewstep.evaluation.distances.frechet import Extrapolated, Frechet, expected_bias, frechet
from fewstep.evaluation.distances.kernels import Energy, Kernel
from fewstep.evaluation.distances.neighbours import Neighbours, Novelty
from fewstep.evaluation.distances.sliced import Mind, SlicedWasserstein

DISTANCES: dict[str, Any] = {
    name: distance
    for distance in (Frechet, Kernel, SlicedWasserstein, Mind, Energy, Neighbours, Novelty, Extrapolated)
    for name in distance.names
}

__all__ = ["DISTANCES", "Energy", "Extrapolated", "Frechet", "Kernel", "Mind", "Neighbours", "Novelty"]
__all__ += ["SlicedWasserstein", "expected_bias", "frechet"]
