"""Helpers for several processes that run the same program (jax.distributed)."""

import json
import re
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from fewstep.train.utils.hashing import sha256


def is_main_process() -> bool:
    """Whether this is process 0, which writes files and reports for all."""
    return jax.process_index() == 0


def barrier(name: str) -> None:
    """Wait until every process has reached this point."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


def any_process(flag: bool) -> bool:
    """Whether the flag is set in any process; all processes must call this."""
    return bool(np.any(multihost_utils.process_allgather(np.array(flag)))) if jax.process_count() > 1 else flag


def all_same(text: str) -> bool:
    """Whether every process has the same text; all processes must call this."""
    digest = np.frombuffer(bytes.fromhex(sha256(text.encode())), np.uint8)
    return bool((multihost_utils.process_allgather(digest) == digest).all())


def broadcast_from_main(value: Any) -> Any:
    """The value of process 0, after a round trip through JSON; all processes must call this."""
    text = json.dumps(value)
    if jax.process_count() == 1:
        return json.loads(text)
    mine = np.frombuffer(text.encode(), np.uint8)
    size = int(multihost_utils.broadcast_one_to_all(np.int32(len(mine))))
    theirs = multihost_utils.broadcast_one_to_all(np.resize(mine, size))
    return json.loads(bytes(np.asarray(theirs)).decode())


def array_from_main(make: Callable[[], np.ndarray], like: np.ndarray) -> np.ndarray:
    """The array that make() returns in process 0, which alone calls it; all processes must call this, with an array
    `like` it in shape and dtype."""
    if jax.process_count() == 1:
        return make()
    return np.asarray(multihost_utils.broadcast_one_to_all(make() if is_main_process() else like))


def is_disconnect(error: BaseException) -> bool:
    """Whether the error, of any type, means that another process can no longer be reached."""
    signs = "UNAVAILABLE|DEADLINE_EXCEEDED|ABORTED|CANCELLED|Gloo|NCCL|heartbeat|Connection reset|Connection closed"
    return jax.process_count() > 1 and re.search(signs, str(error)) is not None
