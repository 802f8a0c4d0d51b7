"""The sets of weights in what a file holds: "model", "ema", ..., each as a flat dict of arrays."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import numpy as np

from fewstep.errors import UsageError, lookup
from fewstep.zoo.files.mapped import quoted
from fewstep.zoo.files.records import Persistent

SETS = re.compile(r"(.*_)?(ema|model|net|network|module|params|state_dict|weights|target|generator|unet)(_.*)?", re.I)
WRAPPER = re.compile(r"(train_?)?state|checkpoint|ckpt|agent", re.I)  # of several sets
OPTIMIZER = re.compile(r"(.*_)?(opt|optim|optimizers?|scaler|scheduler|schedulers)(_.*)?", re.I)

AVERAGE = re.compile(r"(?<![a-z])ema(?![a-z])", re.I)  # "model_ema", "EMA_0.999": no part of a word
DECAY = re.compile(r"0\.\d+")
Weights = TypeVar("Weights")


def weight_sets(value: Any) -> dict[str, dict[str, np.ndarray]]:
    """The sets of weights in the value of a file: {name: {name of an array: array}}.

    The name of a set is that under which the value has it, with the names above it before a "."; it is "" where the
    value itself is one.  Modules that were pickled whole have the names that `state_dict()` gives them.  What is not an
    array is left out, and so are optimizers.  {} if there are no weights.
    """
    return {name: arrays for name, arrays in _sets(value, ()) if arrays}


def chosen(sets: Mapping[str, Weights], name: str | None, what: str) -> tuple[str, Weights]:
    """The set of this name, and its name, which is "" if there is no other set.

    By default it is an average of the weights: of several, that of the largest decay in their names, or the first.
    Without one it is the first in the order of the alphabet.  Raises UsageError, which calls it `what`, for a name that
    is not there, and if there is no set.
    """
    if not sets:
        raise UsageError(f"there is no {what}")
    averages = sorted((key for key in sets if AVERAGE.search(key)), key=_decay, reverse=True)
    name = name or (averages[0] if averages else min(sets))
    found = lookup(what, name, sets)
    return (name if len(sets) > 1 else ""), found


def _decay(name):
    """The last number between 0 and 1 in it, 0 without one."""
    return float(DECAY.findall(name)[-1]) if DECAY.search(name) else 0.0


def _sets(value: Any, names: tuple[str, ...]) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    if isinstance(value, Persistent):
        yield ".".join(names), flat(value)
    elif isinstance(value, dict):
        within = bool(names) and SETS.fullmatch(names[-1]) is not None  # there, "net" is a layer
        named = not within and any(_is_named(key) and _holds(inner) for key, inner in value.items())
        if _is_tree(value) and not named:
            yield ".".join(names), flat(value)
            return
        if not named:  # beside named sets, arrays are counters and settings
            yield ".".join(names), {str(key): one for key, one in value.items() if isinstance(one, np.ndarray)}
        for key, inner in value.items():
            if not OPTIMIZER.fullmatch(str(key)):
                yield from _sets(inner, (*names, str(key)))


def _is_named(key):
    return SETS.fullmatch(str(key)) or WRAPPER.fullmatch(str(key))


def _holds(value):
    return isinstance(value, dict | Persistent)


def _is_tree(value):
    """Whether there are only arrays in it, and numbers beside them."""
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_tree(inner) for key, inner in value.items())
    return isinstance(value, np.ndarray | np.generic | int | float | None)


def flat(tree: Any, separator: str = ".") -> dict[str, np.ndarray]:
    """The arrays in nested dicts, lists and modules, by their names joined with `separator`; all else is left out.

    The names of a module (`Persistent`) are those of torch's state_dict.  Raises UsageError if two names are the same.
    """
    arrays: dict[str, np.ndarray] = {}
    for name, array in _leaves(tree, ()):
        joined = separator.join(name)
        if joined in arrays:
            raise UsageError(f"two arrays are called {quoted(joined)}: choose another separator")
        arrays[joined] = array
    return arrays


def _leaves(tree, name):
    if isinstance(tree, np.ndarray):
        yield name, tree
    elif isinstance(tree, dict):
        for key, inner in tree.items():
            yield from _leaves(inner, (*name, str(key)))
    elif isinstance(tree, list | tuple):
        for index, inner in enumerate(tree):
            yield from _leaves(inner, (*name, str(index)))
    elif isinstance(tree, Persistent):
        passing = tree.state.get("_non_persistent_buffers_set", ())
        for group in ("_parameters", "_buffers", "_modules"):
            for key, inner in _dict(tree.state.get(group)).items():
                if group != "_buffers" or not (isinstance(passing, set | list | tuple) and key in passing):
                    yield from _leaves(inner, (*name, str(key)))


def _dict(value):
    return value if isinstance(value, dict) else {}
