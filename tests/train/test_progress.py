"""The bar, the plain lines, and where messages go."""

import logging
import re
import sys
import time

import pytest
from rich.console import Console

from fewstep.train.utils import messages
from fewstep.train.utils import progress as module
from fewstep.train.utils.messages import LOGGER, say
from fewstep.train.utils.progress import duration, progress


def test_plain_lines_tell_loss_rate_and_time_left(capsys, monkeypatch):
    unconfigured(monkeypatch)
    monkeypatch.setattr(module, "EVERY", 0.0)
    clock = iter([0.0, 0.0, 2.0, 4.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    with progress(100, note="compiling", after=0) as show:
        for now in (10, 30, 100):
            show(now, "loss 0.5")
    begin, first, middle, last = capsys.readouterr().err.splitlines()
    assert begin == "0/100 steps  compiling"
    assert first == "10/100 steps  loss 0.5"
    assert middle == "30/100 steps  loss 0.5  10.0 steps/s  7 s left"
    assert last == "100/100 steps  loss 0.5  22.5 steps/s  0 s left"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59.4, "59 s"), (60, "1 min 0 s"), (200, "3 min 20 s"), (7500, "2 h 5 min"), (430259, "4 d 23 h")],
)
def test_times_are_in_their_two_largest_units(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize("unit", ["steps", "cells"])
def test_the_bar_tells_them_too(capsys, monkeypatch, unit):
    unconfigured(monkeypatch)
    monkeypatch.setattr(module, "Console", lambda file: Console(file=file, force_terminal=True, width=120))
    with progress(3, unit=unit, after=0) as show:
        for now in (1, 2, 3):
            time.sleep(0.02)
            show(now, f"loss 0.{now}")
    err = capsys.readouterr().err
    assert "3/3 loss 0.3" in err
    assert re.search(rf"[\d.]+ {unit}/s", err)


def test_it_appears_when_something_takes_long_and_within_another_not_at_all(capsys, monkeypatch):
    unconfigured(monkeypatch)
    with progress(3, unit="images", after=3600) as show:
        show(3)
    with progress(3, unit="images", note="compiling", after=0.01):
        end = time.monotonic() + 60
        while not (line := capsys.readouterr().err) and time.monotonic() < end:
            with progress(7, after=0) as inner:
                inner(7)
            time.sleep(0.01)
    assert line == "0/3 images  compiling\n"


def unconfigured(monkeypatch):
    """Logging as a library user finds it; called in a test, because pytest configures the root logger before it."""
    monkeypatch.setattr(LOGGER, "handlers", [])
    monkeypatch.setattr(LOGGER, "propagate", True)
    monkeypatch.setattr(logging.root, "handlers", [])


@pytest.fixture(autouse=True)
def levels():
    """Set and restored by setLevel, which clears the caches of loggers."""
    before = LOGGER.level, logging.root.level
    LOGGER.setLevel(logging.NOTSET)
    yield
    LOGGER.setLevel(before[0])
    logging.root.setLevel(before[1])


def test_without_a_configuration_a_line_goes_to_stderr(monkeypatch, capsys):
    unconfigured(monkeypatch)
    say("50 % done")
    assert capsys.readouterr().err == "50 % done\n"
    assert LOGGER.handlers == []


def test_a_user_silences_or_redirects_the_logger(monkeypatch, capsys):
    unconfigured(monkeypatch)
    LOGGER.setLevel(logging.WARNING)
    say("silenced")
    LOGGER.setLevel(logging.INFO)
    records = []
    handler = logging.Handler()
    handler.emit = lambda record: records.append(record.getMessage())
    LOGGER.addHandler(handler)
    say("redirected")
    assert records == ["redirected"]
    LOGGER.handlers.clear()
    LOGGER.setLevel(logging.NOTSET)
    logging.root.addHandler(handler)
    for level in (logging.INFO, logging.ERROR):
        logging.root.setLevel(level)
        say("to the root")
        assert records == ["redirected", "to the root"]
    assert capsys.readouterr().err == ""


def test_handlers_that_libraries_add_to_the_root_do_not_silence_it(monkeypatch, capsys):
    unconfigured(monkeypatch)
    logging.root.addHandler(logging.NullHandler())  # absl does, when Orbax is imported
    say("still shown")
    assert capsys.readouterr().err == "still shown\n"


def test_the_command_line_prints_whatever_is_configured(monkeypatch, capsys):
    unconfigured(monkeypatch)
    logging.root.addHandler(logging.NullHandler())
    messages.log_to_stderr()
    messages.log_to_stderr()
    say("once")
    assert capsys.readouterr().err == "once\n"


def test_a_closed_pipe_is_no_error(monkeypatch, capsys):
    unconfigured(monkeypatch)

    class Closed:
        def write(self, text):
            raise BrokenPipeError

        flush = write

    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", Closed())
        say("lost")
    assert capsys.readouterr().err == ""
