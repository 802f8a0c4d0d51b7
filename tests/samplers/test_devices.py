"""Images do not depend on the number of devices.  Run as a script, this file is the process with eight of them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.slow
def test_eight_devices_draw_what_one_draws():
    environment = os.environ | {"PYTHONPATH": str(ROOT / "tests" / "helpers"), "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, __file__], env=environment, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split() == ["8", "devices"]


def main():
    import jax

    jax.config.update("jax_num_cpu_devices", 8)
    import numpy as np
    from checks import ALL, common
    from jax.sharding import AxisType, NamedSharding, PartitionSpec

    from fewstep.diffusion import VP, oracles
    from fewstep.diffusion.denoiser import Denoiser
    from fewstep.diffusion.prediction import X0
    from fewstep.samplers import GRIDS, SAMPLERS, ddpm, draw, draw_many, supports, table_at, tabulate

    den = oracles.mixture(VP(), [-1.0, 0.8], [0.3, 0.4], [0.4, 0.6])
    seeds = np.arange(16, dtype=np.uint32)
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    sharded = jax.device_put(seeds, NamedSharding(mesh, PartitionSpec("data")))
    for sampler in (ALL[name] for name in SAMPLERS):
        if not supports(den, sampler):
            continue
        table = common(table_at(sampler, VP(), 8))
        one, eight = draw(den, table, seeds, (4, 4, 1)), draw(den, table, sharded, (4, 4, 1))
        assert len(one.sharding.device_set) == 1
        assert len(eight.sharding.device_set) == 8
        np.testing.assert_allclose(eight, one, rtol=1e-5, atol=1e-5, err_msg=sampler.name)
    table = table_at(SAMPLERS["ddpm"], VP(), 4)
    noise = [draw(den, table, s, (4, 4, 1), trajectory=True)[1].x[0] for s in (seeds, sharded)]
    np.testing.assert_array_equal(*noise)
    quiet = Denoiser.from_function(lambda params, x, *_: 0 * x, {}, VP(), X0)  # nothing is left but noise
    path = tabulate(ddpm(VP(), GRIDS["uniform"](VP(), 4), noise="path"))
    for noisy in (table, path):
        noisy = noisy._replace(x=0 * noisy.x, eps=0 * noisy.eps)
        np.testing.assert_array_equal(*(draw(quiet, noisy, s, (4, 4, 1)) for s in (seeds, sharded)))
        assert np.std(draw(quiet, noisy, seeds, (4, 4, 1))) > 0
    many = draw_many(den, table, range(11), (4, 4, 1), batch=4, sharding=sharded.sharding)
    np.testing.assert_allclose(many, draw(den, table, range(11), (4, 4, 1)), atol=1e-5)
    print(jax.device_count(), "devices")


if __name__ == "__main__":
    main()
