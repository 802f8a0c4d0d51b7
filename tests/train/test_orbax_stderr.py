"""Threads of a failed write are not heard beside its error; all else that nobody catches is."""

import logging
import sys
from types import SimpleNamespace

import pytest

from fewstep.train.checkpoints.orbax_stderr import OrbaxStderrFilter

FUTURE = "Future exception was never retrieved\nfuture: <Future exception=ValueError('a in OCDBT database')>"
TASK = "Task exception was never retrieved\nfuture: <Task coro=<write() done, defined at orbax/checkpoint/a.py>>"


@pytest.fixture
def heard(monkeypatch, caplog):
    """What was printed or logged, in a list."""
    told = []
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: told.append(str(unraisable.exc_value)))
    monkeypatch.setattr(caplog.handler, "emit", lambda record: told.append(record.getMessage()))
    monkeypatch.setattr(logging.getLogger("asyncio"), "filters", [])
    return told


def unraisable(text):
    sys.unraisablehook(SimpleNamespace(exc_value=RuntimeError(text), object=None))


def everything():
    unraisable("Event loop is closed")
    unraisable("something else")
    logging.getLogger("asyncio").error(TASK)
    logging.getLogger("asyncio").error(FUTURE)
    logging.getLogger("asyncio").error("another thing")


def test_without_a_failure_all_is_told_in_the_end(heard):
    echoes = OrbaxStderrFilter()
    everything()
    assert heard == ["something else", "another thing"]
    echoes.close()
    assert heard == ["something else", "another thing", "Event loop is closed", TASK, FUTURE]
    unraisable("Event loop is closed")
    assert heard[-1] == "Event loop is closed"


def test_with_a_failure_its_echoes_are_not(heard):
    echoes = OrbaxStderrFilter()
    everything()
    echoes.drop()
    echoes.close()
    everything()
    assert heard == ["something else", "another thing"] * 2
