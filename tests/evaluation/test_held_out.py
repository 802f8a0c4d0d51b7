"""How many held-out images samples are compared with."""

import numpy as np

from evaluation import compare as module
from train.data import Arrays, Dataset, Split


def test_all_of_them_or_as_many_as_fit_spread_evenly(monkeypatch):
    images = np.linspace(-1, 1, 101, dtype=np.float32)[:, None]
    data = Dataset("line", Split(Arrays(images)), Split(Arrays(images)), 0)
    np.testing.assert_array_equal(module.held_out(data), images)
    monkeypatch.setattr(module, "HELD_OUT", 11)
    np.testing.assert_array_equal(module.held_out(data), images[::10])
    monkeypatch.setattr(module, "NUMBERS", 6)
    np.testing.assert_array_equal(module.held_out(data), images[::20])
    monkeypatch.setattr(module, "NUMBERS", 0)
    np.testing.assert_array_equal(module.held_out(data), images[[0, 100]])
