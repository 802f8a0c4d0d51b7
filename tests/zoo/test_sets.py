"""Which of several sets of weights is taken, and that a file is read once to find out."""

import pytest
from dit_files import namespace, published, write_pt
from edm_files import edm_file, network
from refused import message

from fewstep.zoo import dit, files, sources
from fewstep.zoo.files import chosen
from fewstep.zoo.transformer import Size


@pytest.mark.parametrize(
    ("names", "taken"),
    [
        (["model", "ema"], "ema"),
        (["model", "EMA"], "EMA"),
        (["state.params", "state.ema_params"], "state.ema_params"),
        (["ema_0.99", "model", "ema_0.9999", "ema_0.999"], "ema_0.9999"),
        (["model_ema", "model_ema_2", "model"], "model_ema"),
        (["semantic_net", "model"], "model"),  # no average: "ema" is in a word
        (["ema"], ""),
        ([""], ""),
    ],
)
def test_by_default_the_longest_average(names, taken):
    sets = {name: name for name in names}
    assert chosen(sets, None, "set") == (taken, taken or names[0])


def test_by_name():
    sets = {"model": 1, "ema": 2}
    assert chosen(sets, "model", "set") == ("model", 1)
    assert (
        message(lambda: chosen(sets, "net", "set of a.pt")) == "no set of a.pt is called 'net': there are: ema, model"
    )
    assert message(lambda: chosen({}, None, "set of a.pt")) == "there is no set of a.pt"


def test_a_file_is_read_once(tmp_path, monkeypatch):
    """Also by the last of the sources that look into it."""
    read = []
    contents = files.contents
    monkeypatch.setattr(files, "contents", lambda path: read.append(path) or contents(path))
    monkeypatch.setitem(dit.PRESETS, "DiT-T/2", Size(24, 2, 3, 2))
    path = write_pt(tmp_path / "a.pt", {"ema": published(), "args": namespace(model="DiT-T/2")})
    sources.find(path)
    other = edm_file(tmp_path / "b.pkl", ema=network("vp"))
    sources.find(other)
    sources.find(other)
    assert read == [path, other, other]
