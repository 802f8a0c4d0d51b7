"""Distances of drawn features (N, d) to real ones (M, d), in float64, each number an `Estimate`.

A distance is a class: made once of the real set, and of the training set, and called with each drawn one.
"""

from fewstep.evaluation.distances.frechet import Extrapolated, Frechet, expected_bias, frechet
from fewstep.evaluation.distances.kernels import Energy, Kernel
from fewstep.evaluation.distances.neighbours import Neighbours, Novelty
from fewstep.evaluation.distances.sliced import SlicedWasserstein

DISTANCES = {
    name: distance
    for distance in (Frechet, Kernel, SlicedWasserstein, Energy, Neighbours, Novelty, Extrapolated)
    for name in distance.names
}

__all__ = ["DISTANCES", "Energy", "Extrapolated", "Frechet", "Kernel", "Neighbours", "Novelty", "SlicedWasserstein"]
__all__ += ["expected_bias", "frechet"]
