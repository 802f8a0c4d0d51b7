"""docs/troubleshooting.md: every message that it shows is one that the code prints."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SHOWN = re.findall(r"```text\n(.*)\n```", (ROOT / "docs/troubleshooting.md").read_text())
CODE = ("diffusion", "evaluation", "fewstep", "samplers", "scripts", "train", "zoo")
LEAST = 20  # characters of a text of the code, without what is filled in


def texts(source):
    """The parts of each text in a file that are fixed: one of a string, several of an f-string."""
    nodes = [*ast.walk(ast.parse(source))]
    inner = {id(part) for node in nodes if isinstance(node, ast.JoinedStr) for part in ast.walk(node)}
    for node in nodes:
        if isinstance(node, ast.JoinedStr):
            yield [part.value for part in node.values if isinstance(part, ast.Constant)]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inner:
            yield [node.value]


@pytest.fixture(scope="module")
def known():
    found = [text for name in CODE for path in (ROOT / name).rglob("*.py") for text in texts(path.read_text())]
    return [text for text in found if sum(map(len, text)) >= LEAST]


def holds(message, text):
    """Whether the parts of a text are in the message, in their order."""
    message, at = message.replace("--init-from ", "init_from=").replace("--step ", "step="), 0  # as cli/explain.py does
    for part in text:
        if (at := message.find(part, at)) < 0:
            return False
        at += len(part)
    return True


def test_there_are_messages():
    assert len(SHOWN) >= 20


@pytest.mark.parametrize("message", SHOWN)
def test_the_code_prints_this(message, known):
    assert any(holds(message, text) for text in known)


def test_a_message_of_no_code_is_seen(known):
    assert not any(holds("the run is broken: buy a new one", text) for text in known)
