"""Several processes write one folder of checkpoints together: every step is whole, sealed, and opens in one process."""

import json
import socket
import subprocess
import sys

import jax
import numpy as np
import worker

from fewstep.train.checkpoints.checkpoints import Checkpoints


def test_two_processes_save_restore_and_set_aside(tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    # Not as tests.train.worker: torch-fidelity installs a package of its own called tests.
    commands = [[sys.executable, worker.__file__, str(index), "2", str(port), str(tmp_path)] for index in (0, 1)]
    started = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for command in commands]
    try:
        told = [process.communicate(timeout=120)[1] for process in started]
    finally:
        for process in started:
            process.kill()  # JAX answers no SIGTERM while processes wait for one another
    assert [process.returncode for process in started] == [0, 0], told
    assert ["3.aside" in text for text in told] == [True, False]  # one of them renames and says so
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "2", "3.aside", "4"]
    sealed = json.loads((tmp_path / "4" / "digests.json").read_text())
    assert any("ocdbt.process_1/" in name for name in sealed)  # what the other process wrote
    here = worker.state_of(4, jax.make_mesh((1,), ("data",)))
    with Checkpoints(tmp_path) as checkpoints:
        state = checkpoints.restore(4, here)
    jax.tree.map(np.testing.assert_array_equal, state.params, here.params)
