"""What the README shows works as shown."""

import re
import shlex
from pathlib import Path

import pytest

README = (Path(__file__).parents[2] / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_the_oracle_example(capsys):
    exec(BLOCKS[0], {})
    mean, std = map(float, capsys.readouterr().out.split())
    assert mean == pytest.approx(0.2, abs=0.02)
    assert std == pytest.approx(0.5, abs=0.02)


@pytest.mark.slow
def test_the_commands_and_the_python_example(fewstep, tmp_path, monkeypatch):
    """The real commands, but for a short training: later options win."""
    import numpy as np

    monkeypatch.chdir(tmp_path)
    np.savez("mine.npz", images=np.zeros((600, 8, 8), np.uint8))
    lines = re.findall(r"^    \.venv/bin/fewstep (.*)$", README, re.MULTILINE)
    assert len(lines) == 4
    for line in lines:
        words = shlex.split(line)
        short = {"train": ["--set", "train.steps=20"], "compare": ["--count", "20", "--nfe", "1,2,4"]}.get(words[0], [])
        status, _, err = fewstep(*words, *short)
        assert status == 0, err
    scope = {}
    exec(BLOCKS[1], scope)
    assert scope["images"].shape == (64, 8, 8, 1)
