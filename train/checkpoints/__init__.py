"""Checkpoints: saved by Orbax, sealed with digests, and read as the first weights of another run."""

from fewstep.train.checkpoints.checkpoints import Checkpoints

__all__ = ["Checkpoints"]
