"""Checkpoints: saved by Orbax, verified by digests, and usable as initial weights of another run."""

from fewstep.train.checkpoints.checkpoints import Checkpoints

__all__ = ["Checkpoints"]
