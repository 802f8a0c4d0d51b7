"""Optimizers: (steps) -> optax gradient transformation."""

from fewstep.train.optimizers.adamw import adamw
from fewstep.train.optimizers.amos import amos
from fewstep.train.optimizers.chain import train_only
from fewstep.train.optimizers.lion import lion
from fewstep.train.optimizers.muon import muon
from fewstep.train.optimizers.schedules import SCHEDULES, constant_rate, cosine_decay, linear_decay
from fewstep.train.optimizers.tiger import tiger

OPTIMIZERS = {"adamw": adamw, "lion": lion, "muon": muon, "tiger": tiger, "amos": amos}

__all__ = [
    "OPTIMIZERS", "SCHEDULES", "adamw", "amos", "constant_rate", "cosine_decay", "linear_decay", "lion", "muon",
    "tiger", "train_only",
]  # fmt: skip
