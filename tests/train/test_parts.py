"""Digests of given parts: what a later version adds does not change those of earlier runs."""

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from fewstep.train.objectives import Denoising, Objective
from fewstep.train.objectives.objective import ADDED
from fewstep.train.run.parts import changed, digests


@dataclass(frozen=True)
class Before(Objective):
    power: float = 0.5


@dataclass(frozen=True)
class After(Before):
    more: float = field(default=0.0, metadata=ADDED)


@dataclass(frozen=True)
class Unmarked(Before):
    more: float = 0.0


After.__qualname__ = Unmarked.__qualname__ = "Before"


def given(objective: Objective) -> Any:
    return SimpleNamespace(experiment=SimpleNamespace(objective=objective))


def differs(before, after):
    known = {"parts": digests(given(before), ["objective"]), "versions": {}}
    return changed(known, given(after), ["objective"]) == "objective"


def test_fields_that_are_added_later_count_when_they_are_set():
    assert not differs(Before(), After())
    assert not differs(After(), Before())
    assert not differs(After(more=1.0), After(more=1.0))
    assert differs(Before(), After(more=1.0))
    assert differs(After(more=1.0), After())
    assert differs(Before(), After(power=0.6))
    assert differs(Before(), Unmarked())


def test_every_setting_of_an_objective_counts():
    assert not differs(Denoising(), Denoising(dispersive=0.0))
    for setting in ({"dispersive": 0.5}, {"temperature": 0.2}, {"label_drop": 0.2}):
        assert differs(Denoising(), Denoising(**setting))
