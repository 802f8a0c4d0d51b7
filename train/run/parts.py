"""Digests of the parts that were given in Python: a run resumes with the same ones."""

import re
from collections.abc import Iterable
from dataclasses import fields, is_dataclass
from importlib.metadata import version
from numbers import Number
from typing import Any

import jax
import numpy as np

from fewstep.train.data.kept import in_memory
from fewstep.train.objectives.objective import ADDED
from fewstep.train.utils.hashing import digest


def digests(training: Any, names: Iterable[str]) -> dict[str, str]:
    """{name: digest} of those of the parts that have one.

    The optimizer's is that of the program which it compiles to, and equal only under one version of JAX and optax; an
    object's is that of its class name and attributes.
    """
    found = {name: _digest(training, name) for name in names}
    return {name: value for name, value in found.items() if value}


def changed(known: dict, training: Any, names: Iterable[str]) -> str | None:
    """The name of a part that differs from the record in run.json (`known`), None if there is none."""
    recorded = known.get("parts", {})
    if any(known.get("versions", {}).get(name) != version(name) for name in ("jax", "optax")):
        recorded = {name: value for name, value in recorded.items() if name != "optimizer"}
    found = digests(training, [name for name in names if name in recorded])
    return next((name for name, value in found.items() if value != recorded[name]), None)


def _digest(training, name):
    experiment = training.experiment
    if name == "optimizer":
        return _program(experiment.optimizer(experiment.steps), training.fresh.eval_shape().params)
    if name == "data":
        arrays = in_memory(training.data)
        return None if arrays is None else digest(arrays)
    if name in ("objective", "process", "prediction", "variance"):
        value = getattr(experiment, name)
        return digest(type(value).__qualname__, jax.tree.map(_told, _attributes(value)))
    return None


def _attributes(value):
    """Those of an object; not those that a later version has added, at their defaults, so that older runs resume."""
    known = fields(value) if is_dataclass(value) else ()
    added = {f.name: f.default for f in known if ADDED.items() <= f.metadata.items()}
    return {name: held for name, held in vars(value).items() if name not in added or held != added[name]}


def _program(optimizer, params):
    closed = jax.make_jaxpr(lambda params: optimizer.update(params, optimizer.init(params), params))(params)
    return digest(_without_addresses(closed.jaxpr), list(closed.consts))


def _told(value):
    return value if isinstance(value, Number | np.ndarray | jax.Array) else _without_addresses(value)


def _without_addresses(value):
    return re.sub(r" at 0x[0-9a-f]+", "", str(value))
