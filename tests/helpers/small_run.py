"""A small run in a process of its own, as a user starts it."""

import json
import subprocess
import sys
import time

STEPS = 400
OPTIONS = [
    "MLP.width=16", "MLP.depth=1", "points.count=600", "points.held_out=100", "train.batch_size=32",
    f"train.steps={STEPS}", "train.log_every=1", "train.save_every=20",
]  # fmt: skip


def command(folder, *extra):
    words = [word for option in (*OPTIONS, *extra) for word in ("--set", option)]
    return [sys.executable, "-m", "fewstep.cli.main", "train", "configs/points/moons.gin", "--run", str(folder), *words]


def losses(folder):
    """{step: loss}; every step at most once."""
    path = folder / "metrics.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    assert len({line["step"] for line in lines}) == len(lines)
    return {line["step"]: (line["loss"], line["grad_norm"]) for line in lines}


def logged(folder):
    path = folder / "metrics.jsonl"
    return path.read_text().count("\n") if path.exists() else 0


def interrupted(folder, number, after, *extra, **options):
    """Start training, send the signal once `after` more steps are logged; (exit status, stderr)."""
    before = logged(folder)
    process = subprocess.Popen(command(folder, *extra), stderr=subprocess.PIPE, text=True, **options)
    deadline = time.monotonic() + 120
    while logged(folder) < before + after and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    return process.returncode, err


def finish(folder, *extra, **options):
    return subprocess.run(command(folder, *extra), capture_output=True, text=True, check=False, **options)
