"""Several processes that do the same work together (jax.distributed): who writes, and what they agree on."""

import json
import re

import jax
import numpy as np
from jax.experimental import multihost_utils

from fewstep.train.utils.hashing import sha256


def first() -> bool:
    """Whether this process is the one that writes and speaks for all."""
    return jax.process_index() == 0


def meet(name):
    """Wait until every process has come here."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


def anywhere(flag: bool) -> bool:
    """Whether the flag is set in any process; all of them must ask."""
    return bool(np.any(multihost_utils.process_allgather(np.array(flag)))) if jax.process_count() > 1 else flag


def same(text) -> bool:
    """Whether every process has the same text; all of them must ask."""
    digest = np.frombuffer(bytes.fromhex(sha256(text.encode())), np.uint8)
    return bool((multihost_utils.process_allgather(digest) == digest).all())


def from_first(value):
    """What the first process gave, as JSON keeps it; all of them must ask."""
    text = json.dumps(value)
    if jax.process_count() == 1:
        return json.loads(text)
    mine = np.frombuffer(text.encode(), np.uint8)
    size = int(multihost_utils.broadcast_one_to_all(np.int32(len(mine))))
    theirs = multihost_utils.broadcast_one_to_all(np.resize(mine, size))
    return json.loads(bytes(np.asarray(theirs)).decode())


def lost(error) -> bool:
    """Whether the error, of whatever type, is that another process can no longer be reached."""
    signs = "UNAVAILABLE|DEADLINE_EXCEEDED|ABORTED|CANCELLED|Gloo|NCCL|heartbeat|Connection reset|Connection closed"
    return jax.process_count() > 1 and re.search(signs, str(error)) is not None
