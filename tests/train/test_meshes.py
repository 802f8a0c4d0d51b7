"""Training, checkpoints and images on eight devices are those on one; meshes that cannot be."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest
from refused import message

from fewstep.train.sharding import local_rows, make_mesh

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.slow
@pytest.mark.parametrize("network", ["UNet", "UNet2D", "DiT", "MLP"])
def test_eight_devices_do_what_one_does(network, tmp_path):
    environment = os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    script = ROOT / "tests" / "helpers" / "eight_devices.py"
    done = subprocess.run(
        [sys.executable, script, network, tmp_path],
        env=environment, cwd=ROOT, capture_output=True, text=True, timeout=900, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split() == [network, "on", "8", "devices"]
    assert "rematerialization" not in done.stderr  # XLA's word for a copy that it could not divide


def test_what_is_left_of_the_devices():
    assert dict(make_mesh((-1, 1, 1)).shape) == {"data": jax.device_count(), "fsdp": 1, "tensor": 1}
    assert dict(make_mesh((1, 1, 1)).shape) == {"data": 1, "fsdp": 1, "tensor": 1}
    assert local_rows(make_mesh((1, 1, 1)), 6).tolist() == list(range(6))


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((1, 1), "give three numbers"),
        ((-1, -1, 1), "one may be -1"),
        ((0, 1, 1), "give three numbers"),
        ((1.5, 1, 1), "give three numbers"),
        ((True, 1, 1), "give three numbers"),
        ((64, 1, 1), "needs 64 devices, but there are 1"),
        ((-1, 3, 1), "needs a multiple of 3 devices, but there are 1"),
    ],
)
def test_meshes_that_cannot_be(shape, words):
    assert words in message(lambda: make_mesh(shape))
