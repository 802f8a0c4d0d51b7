"""A run on disk: its averaged network, ready to sample, and what is kept beside it."""

from fewstep.train.run.run import Run, restore

__all__ = ["Run", "restore"]
