"""--distributed: several processes, on one machine or many, that run the same command and work as one."""

import ctypes
import os
import signal
import socket
import sys

from scripts.errors import UserError

HEARTBEAT = 20  # seconds without a sign of life after which a process counts as dead
ARRIVAL = 300  # seconds in which all processes must have started


def start(distributed, coordinator, processes, process):
    """Join the other processes, before anything touches a device; what is None comes from the cluster's environment."""
    told = {"--coordinator": coordinator, "--processes": processes, "--process": process}
    if not distributed:
        if given := [name for name, value in told.items() if value is not None]:
            raise UserError(f"{given[0]} is for several processes: add --distributed")
        return
    if coordinator is None and processes is None and process is None:
        pass
    elif missing := [name for name, value in told.items() if value is None]:
        raise UserError(f"--distributed needs {missing[0]} as well, or none of {', '.join(told)} on a cluster")
    elif not 0 <= process < processes:
        raise UserError(f"--process {process}: the {processes} processes are numbered from 0 to {processes - 1}")
    import jax

    from train import progress

    jax.config.update("jax_enable_preemption_service", False)  # it would take SIGTERM away from scripts.signals
    _answer_abort()
    try:
        jax.distributed.initialize(
            coordinator, processes, process, initialization_timeout=ARRIVAL, heartbeat_timeout_seconds=HEARTBEAT
        )
    except (RuntimeError, ValueError) as error:
        raise UserError(f"--distributed: {str(error).splitlines()[0]}") from error
    if jax.process_index():
        progress.silence()


def _answer_abort():
    """JAX aborts a process whose coordinator is gone, by SIGABRT from a thread of its own: say what it means."""

    def answer(number):
        print(f"fewstep: {_lost('the coordinator')}", file=sys.stderr, flush=True)
        os._exit(2)

    global _answer  # as long as the process lives, or its memory would be used again
    _answer = ctypes.CFUNCTYPE(None, ctypes.c_int)(answer)
    ctypes.CDLL(None).signal(signal.SIGABRT, _answer)


def several() -> bool:
    """Whether this process is one of several."""
    jax = sys.modules.get("jax")
    return jax is not None and jax.distributed.is_initialized()


def broken(error) -> bool:
    """Whether the error is one of working together, such as that another process has ended."""
    return several() and isinstance(error, sys.modules["jax"].errors.JaxRuntimeError)


def explained(error) -> str:
    """What to tell the user of it."""
    reason = str(error).splitlines()[0].replace("Error dispatching computation: ", "")
    return _lost(f"another one ({reason[:200]})")


def _lost(whom):
    state = sys.modules["jax"]._src.distributed.global_state  # jax.process_index() may wait for the one that is lost
    return (
        f"process {state.process_id} of {state.num_processes} on {socket.gethostname()} lost {whom}, whose last line "
        f"may say why: start all of them again with the same command, and training goes on from its last checkpoint"
    )


def leave(status):
    """End the process.  After an error one of several does not wait for the others, who may be waiting for it."""
    if status and several():
        sys.stdout.flush()
        os._exit(status)
    sys.exit(status)
