"""Every command that the docs show is one that fewstep understands, whatever hardware it is for."""

import re
import shlex
from pathlib import Path

import pytest
import typer

from fewstep.cli.config.load import experiment, find, load
from fewstep.cli.config.settings import settings
from fewstep.cli.main import app
from fewstep.cli.verbs.sweep import lines
from fewstep.diffusion import LEVERS, Linear
from fewstep.evaluation.metrics import METRIC_INFO
from fewstep.samplers import GRIDS, SAMPLERS
from fewstep.samplers.registry import COMPARED_SAMPLERS, as_sampler
from fewstep.train.run.lever_texts import lever
from fewstep.train.run.tables import is_fitted

DOCS = Path(__file__).parents[2] / "docs"
VERBS = {
    "train", "sample", "samplers", "compare", "data", "classifier", "stats", "calibrate", "pairs", "tune-skips",
    "import", "export", "fit", "recommend", "play",
}  # fmt: skip
PAGES = [*sorted(DOCS.rglob("*.md")), *sorted(DOCS.parent.glob("*.md"))]
LINES = [line for path in PAGES for line in re.findall(r"^    (.*\bfewstep .*)$", path.read_text(), re.M)]
PATTERN = rf"\bfewstep ((?:{'|'.join(VERBS)}) .*)"
SHOWN = [re.search(PATTERN, line)[1] for line in LINES if not re.search(r"\bpip |git clone", line)]
COMMANDS = sorted({text if text.count('"') % 2 == 0 else text.removesuffix('"') for text in SHOWN})


def test_there_are_commands():
    assert {command.split()[0] for command in COMMANDS} == VERBS
    assert len(COMMANDS) >= 10


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_is_understood(command):
    group = typer.main.get_command(app)
    words = shlex.split(command)
    with group.make_context("fewstep", list(words), resilient_parsing=True) as context:
        name, verb, rest = group.resolve_command(context, words)
    if name == "data":
        name, verb, rest = verb.resolve_command(verb.make_context("data", list(rest), resilient_parsing=True), rest)
    parsed = verb.make_context(name, rest)  # refuses options that there are not
    for option in ("sampler", "table", "check"):
        for one in (parsed.params.get(option) or "ddim").split(","):
            assert one == "midpoint" or is_fitted(one) or as_sampler(one)  # a page's own, or known
    assert set((parsed.params.get("grid") or "uniform").split(",")) <= {*GRIDS}
    if "lever" in parsed.params:
        swept = [
            f"{sweep.partition('=')[0]}={sweep.partition('=')[2].split(',')[0]}"
            for sweep in parsed.params.get("sweep", [])
        ]
        levers = settings([*parsed.params["set"], *swept]).levers
        assert all(lever(text, levers) for text in parsed.params["lever"])
    if name == "compare":
        assert set(parsed.params["metric"].split(",")) <= {*METRIC_INFO}
        names, asked = (
            (parsed.params["sampler"] or ",".join(COMPARED_SAMPLERS)).split(","),
            [parsed.params[key] for key in ("lever", "sweep", "set")],
        )
        names = [name for name in names if name in SAMPLERS]
        assert lines(names, [], *asked, run=not parsed.params["exact"]).on([Linear()])
    if name == "train" and "runs/" not in parsed.params["config"]:
        load(find(parsed.params["config"]), parsed.params["set"])
        experiment()


@pytest.mark.parametrize("metric", METRIC_INFO)
def test_a_metric_is_told_of(metric):
    (option,) = (p for p in typer.main.get_command(app).commands["compare"].params if p.name == "metric")
    assert metric in re.findall(r"\w+", option.help)
    assert re.search(rf"^\|.*`{metric}`.*\|.*\|.*\|$", (DOCS / "compare.md").read_text(), re.M)


@pytest.mark.parametrize("name", LEVERS)
def test_a_lever_has_a_page_with_a_picture_and_a_line_in_the_list(name):
    page = (DOCS / "levers" / f"{name}.md").read_text()
    assert page.startswith(f"# {name}: ")
    assert re.search(rf"^!\[.+\]\({name}\.png\)$", page, re.M)
    assert re.search(rf"^    .*docs/levers/{name}\.png", page, re.M)  # the command that made it
    assert (DOCS / "levers" / f"{name}.png").stat().st_size < 150_000
    assert f"| [`{name}`]({name}.md) | " in (DOCS / "levers" / "README.md").read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS.parent)))
def test_what_a_page_links_to_is_there(page):
    links = re.findall(r"\]\(([^)#: ]+)(?:#[^)]*)?\)", page.read_text())
    assert not [link for link in links if not (page.parent / link).exists()]
