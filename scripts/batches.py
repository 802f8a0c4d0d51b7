"""--batch auto: how many images at once this machine samples fastest, measured once and remembered."""

import json
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import jax
import platformdirs

from fewstep.cli.compilation_cache import machine
from fewstep.cli.errors import UserError
from fewstep.evaluation.fastest import fastest
from fewstep.ranges import MOST_IMAGES, within
from fewstep.train.run import Run
from fewstep.train.run.computation import code
from fewstep.train.sharding import batch_sharding
from fewstep.train.utils.files import read_text, write_atomic
from fewstep.train.utils.hashing import sha256
from fewstep.train.utils.messages import say

AUTO = "auto"
MOST = 4096  # images at once


def parsed(text: str) -> int | None:
    """The number of images at once; None for AUTO."""
    if text == AUTO:
        if jax.process_count() > 1:
            raise UserError(f"--batch {AUTO} is for one process: give a number of images")
        return None
    try:
        size = int(text)
    except ValueError:
        raise UserError(f"--batch {text}: write a whole number, or {AUTO}") from None
    return within(size, "--batch", 1, MOST_IMAGES)


def chosen(batch: int | None, runs: Sequence[Run], count: int) -> int:
    """`batch`; for None the fastest one of each run, the least of them, at most `count`."""
    return min(count, *map(_fastest, runs)) if batch is None else batch


def _fastest(run):
    """Of a run, as remembered or measured."""
    devices = {"machine": machine(), "cores": _cores(), "memory": _memory(), "mesh": str(run.mesh.shape)}
    about = code(run.denoiser, run.shape) | devices
    key, path = sha256(json.dumps(about, sort_keys=True).encode()), _file()
    known = _known(path)
    if key not in known:
        known[key], found = fastest(run.denoiser, run.shape, MOST, batch_sharding(run.mesh))
        rates = ", ".join(f"{float(f'{rate:.3g}'):g} at {size}" for size, rate in found.items())
        say(f"{run.name}: images per second in a network call by batch: {rates}; from now on --batch {known[key]}")
        with suppress(OSError):
            write_atomic(path, json.dumps(known))
    return known[key]


def _cores():
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def _memory():
    """Bytes of a device, if it says so."""
    return (jax.local_devices()[0].memory_stats() or {}).get("bytes_limit")


def _file() -> Path:
    return platformdirs.user_cache_path("fewstep") / "batches.json"


def _known(path) -> dict[str, int]:
    """What is remembered; {} if there is no such file, or if it is damaged."""
    try:
        found = json.loads(read_text(path))
        return {key: size for key, size in found.items() if isinstance(size, int) and 0 < size <= MOST}
    except (OSError, ValueError, AttributeError):
        return {}
