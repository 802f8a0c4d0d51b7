"""--distributed: several processes, on one machine or many, that run the same command and work as one."""

import ctypes
import os
import re
import signal
import socket
import sys
from typing import NoReturn

from fewstep.cli.errors import UserError
from fewstep.cli.options import Cluster

HEARTBEAT = 20  # seconds without a sign of life after which a process counts as dead
ARRIVAL = 300  # seconds in which all processes must have started


def start(cluster: Cluster) -> None:
    """Join the other processes before anything touches a device; None is filled in from the cluster's environment."""
    coordinator, processes, process = cluster.coordinator, cluster.processes, cluster.process
    options = {"--coordinator": coordinator, "--processes": processes, "--process": process}
    if not cluster.distributed:
        if given := [name for name, value in options.items() if value is not None]:
            raise UserError(f"{given[0]} is for several processes: add --distributed")
        return
    _check_arguments(options)
    import jax

    from fewstep.train.utils import messages
    from fewstep.train.utils.multihost import all_same

    jax.config.update("jax_enable_preemption_service", False)  # it would take SIGTERM away from fewstep.cli.signals
    _answer_abort()
    if coordinator and process:
        messages.say(f"process {process} of {processes}: waiting for the others at {coordinator}")
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)  # Python would not see it while JAX waits
    try:
        jax.distributed.initialize(
            coordinator, processes, process, initialization_timeout=ARRIVAL, heartbeat_timeout_seconds=HEARTBEAT
        )
    except (RuntimeError, ValueError) as error:
        remedy = "" if coordinator else f"; without a cluster that sets them, give {_words(options)}"
        raise UserError(f"--distributed: {_first(error).removesuffix('.')}{remedy}") from error
    signal.signal(signal.SIGINT, before)
    if jax.process_index():
        messages.silence()
    words = " ".join(sys.argv[1:])
    if not all_same(re.sub(r"--process[ =]\d+", "", words)):
        raise UserError(f"the processes run different commands; this one runs: fewstep {words}")


def _check_arguments(options):
    coordinator, processes, process = options.values()
    if set(options.values()) == {None}:
        return
    if missing := [name for name, value in options.items() if value is None]:
        raise UserError(f"--distributed needs {missing[0]} as well, or none of {_words(options)} on a cluster")
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 2**16:
        raise UserError(f"--coordinator {coordinator}: write the host of process 0 and a port, such as 10.0.0.1:1234")
    if processes < 1:
        raise UserError(f"--processes {processes}: give the number of processes, at least 1")
    if not 0 <= process < processes:
        raise UserError(f"--process {process}: the {processes} processes are numbered from 0 to {processes - 1}")


def _words(options):
    return ", ".join(options)


def _answer_abort():
    """JAX aborts a process whose coordinator is gone, by SIGABRT from a thread of its own: print what this means."""

    def answer(number):
        print(
            f"fewstep: {_with_process('was ended by JAX, most likely because the coordinator is gone')}",
            file=sys.stderr,
            flush=True,
        )
        os._exit(2)

    global _answer  # kept for the life of the process, or its memory would be reused
    _answer = ctypes.CFUNCTYPE(None, ctypes.c_int)(answer)
    ctypes.CDLL(None).signal(signal.SIGABRT, _answer)


def several() -> bool:
    """Whether this process is one of several."""
    jax = sys.modules.get("jax")
    return jax is not None and jax.distributed.is_initialized()


def broken(error: BaseException) -> bool:
    """Whether the error means that another process can no longer be reached."""
    if not several():
        return False
    from fewstep.train.utils.multihost import is_disconnect

    return is_disconnect(error)


def explained(error: BaseException) -> str:
    """The message for the user."""
    return _with_process(f"lost another process ({_first(error)[:200]})")


def _first(error):
    """The first line of a JAX error."""
    lines = str(error).splitlines() or [type(error).__name__]
    return lines[0].replace("Error dispatching computation: ", "")


def _with_process(what):
    state = sys.modules["jax"]._src.distributed.global_state  # jax.process_index() may wait for the one that is lost
    return (
        f"process {state.process_id} of {state.num_processes} on {socket.gethostname()} {what}; the last lines of the "
        f"others may say why. Start all of them again with the same command: training resumes from its last checkpoint"
    )


def leave(status: int | str) -> NoReturn:
    """End the process.  After an error, one of several does not wait for the others, which may be waiting for it."""
    if status and several():
        sys.stdout.flush()
        os._exit(status if isinstance(status, int) else 1)
    sys.exit(status)
