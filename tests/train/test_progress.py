"""The bar and the plain lines."""

import re
import time

import pytest
from rich.console import Console

from fewstep.train.utils import progress as module
from fewstep.train.utils.progress import progress


def test_plain_lines_tell_loss_rate_and_time_left(capsys, monkeypatch):
    monkeypatch.setattr(module, "EVERY", 0.0)
    clock = iter([0.0, 2.0, 4.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    with progress(100) as show:
        for now in (10, 30, 100):
            show(now, "loss 0.5")
    first, middle, last = capsys.readouterr().err.splitlines()
    assert first == "10/100 steps  loss 0.5"
    assert middle == "30/100 steps  loss 0.5  10.0 steps/s  7 s left"
    assert last == "100/100 steps  loss 0.5  22.5 steps/s  0 s left"


@pytest.mark.parametrize("unit", ["steps", "cells"])
def test_the_bar_tells_them_too(capsys, monkeypatch, unit):
    monkeypatch.setattr(module, "Console", lambda file: Console(file=file, force_terminal=True, width=120))
    with progress(3, unit=unit) as show:
        for now in (1, 2, 3):
            time.sleep(0.02)
            show(now, f"loss 0.{now}")
    err = capsys.readouterr().err
    assert "3/3 loss 0.3" in err
    assert re.search(rf"[\d.]+ {unit}/s", err)
