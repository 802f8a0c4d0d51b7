"""A comparison that is killed again and again ends with the numbers of one that was not."""

import json
import random
import subprocess
import sys
import time

import pytest

KILLS = 2


def command(run, out):
    words = ("--nfe", "1,2,4,8", "--sampler", "ddim,ddpm,heun", "--count", "100")
    words += ("--metric", "FD,KID,SW,precision,trajectory", "--repeats", "2", "--out", out)
    return [sys.executable, "-m", "fewstep.cli.main", "compare", *map(str, (run, *words))]


def whole(folder):
    return [path for path in folder.glob("*.npz") if ".tmp" not in path.name] if folder.exists() else []


def distances(folder):
    """Every number but the times."""
    told = json.loads((folder / "table.json").read_text())
    for cell in told["cells"]:
        del cell["ms_per_image"]
    return {name: told[name] for name in ("cells", "gaps", "floors", "notes")}


@pytest.mark.slow
def test_it_goes_on_where_it_was_killed(digits_run, tmp_path):
    subprocess.run(command(digits_run, tmp_path / "whole"), check=True, capture_output=True)
    rng, out, drawn = random.Random(0), tmp_path / "killed", {}
    for _ in range(KILLS):
        before = len(whole(out / "cells"))
        process = subprocess.Popen(command(digits_run, out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wanted = before + rng.randrange(0, 4)
        while len(whole(out / "cells")) < wanted and process.poll() is None:
            time.sleep(0.002)
        time.sleep(rng.random() * 0.2)
        process.kill()
        process.wait()
        for path in whole(out / "cells"):
            drawn.setdefault(path.name, path.stat().st_mtime_ns)
    done = subprocess.run(command(digits_run, out), check=True, capture_output=True, text=True)
    assert "cells were drawn before" in done.stderr
    assert len(drawn) < len(whole(out / "cells"))  # they were killed before the end
    assert all((out / "cells" / name).stat().st_mtime_ns == at for name, at in drawn.items())  # none was drawn again
    assert {p.name for p in whole(out / "cells")} == {p.name for p in whole(tmp_path / "whole/cells")}
    assert distances(out) == distances(tmp_path / "whole")
    assert not list(out.rglob("*.tmp"))
    assert (out / "differences.csv").read_bytes() == (tmp_path / "whole/differences.csv").read_bytes()
