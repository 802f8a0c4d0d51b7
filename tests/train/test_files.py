"""Small files are whole or not there."""

import json
import math

import pytest

from fewstep.train.utils.errors import Busy
from fewstep.train.utils.files import dumps, folder_lock, write_atomic


def test_a_failed_write_leaves_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "new" / "a.txt"
    write_atomic(path, "before")
    with pytest.raises(UnicodeEncodeError):
        write_atomic(path, "after \udcff")
    assert path.read_text() == "before"
    write_atomic(path, b"\x00")
    assert path.read_bytes() == b"\x00"
    assert [p.name for p in path.parent.iterdir()] == ["a.txt"]


def test_json_has_no_nan():
    text = dumps({"a": [math.nan, 1.5, (math.inf,)], "b": None})
    assert json.loads(text, parse_constant=pytest.fail) == {"a": [None, 1.5, [None]], "b": None}


def test_a_folder_is_held_by_one(tmp_path):
    with folder_lock(tmp_path), pytest.raises(Busy, match="another process"), folder_lock(tmp_path):
        pass
    with folder_lock(tmp_path):
        pass
