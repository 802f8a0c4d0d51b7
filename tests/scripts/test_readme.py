"""What the README shows works as shown."""

import re
from pathlib import Path

import pytest

README = (Path(__file__).parents[2] / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_the_oracle_example(capsys):
    exec(BLOCKS[0], {})
    mean, std = map(float, capsys.readouterr().out.split())
    assert mean == pytest.approx(0.2, abs=0.02)
    assert std == pytest.approx(0.5, abs=0.02)
