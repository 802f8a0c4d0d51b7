"""Distances of drawn features (N, d) to real ones (M, d), in float64, each number an `Estimate`.

A distance is a class: made once of the real set, and of the training set, and called with each drawn one.
"""

from evaluation.distances.frechet import Frechet, Unbiased, expected_bias, frechet
from evaluation.distances.kernels import Energy, Kernel
from evaluation.distances.neighbours import Neighbours, Novelty
from evaluation.distances.sliced import SlicedWasserstein

DISTANCES = {
    name: distance
    for distance in (Frechet, Kernel, SlicedWasserstein, Energy, Neighbours, Novelty, Unbiased)
    for name in distance.names
}
HIGHER = {"precision", "recall", "density", "coverage"}  # is better; of the others lower is
NEUTRAL = {"novelty"}  # neither

__all__ = ["DISTANCES", "HIGHER", "NEUTRAL", "Energy", "Frechet", "Kernel", "Neighbours", "Novelty"]
__all__ += ["SlicedWasserstein", "Unbiased", "expected_bias", "frechet"]
