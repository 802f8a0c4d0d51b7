"""How many held-out images samples are compared with."""

import numpy as np

from evaluation import compare as module
from train.data import Arrays, Split


def test_all_of_them_or_as_many_as_fit_spread_evenly(monkeypatch):
    images = np.linspace(-1, 1, 101, dtype=np.float32)[:, None]
    split = Split(Arrays(images))
    np.testing.assert_array_equal(module._held_out(split), images)
    monkeypatch.setattr(module, "HELD_OUT", 11)
    np.testing.assert_array_equal(module._held_out(split), images[::10])
