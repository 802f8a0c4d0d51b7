"""A run on disk: its EMA network, ready to sample, and the statistics stored with it."""

from fewstep.train.run.run import Run, restore

__all__ = ["Run", "restore"]
