"""report.html: one self-contained page, with its data, styles and scripts inside."""

import json
from functools import cache
from importlib.resources import files

from jinja2 import Environment

from fewstep.evaluation.comparison import Comparison
from fewstep.evaluation.report.data import page_data
from fewstep.evaluation.report.made import how_made
from fewstep.evaluation.report.table import reference_rows

LIBRARIES = {"d3.LICENSE": "d3.min.js", "plot.LICENSE": "plot.umd.min.js"}  # in vendor/
SCRIPTS = ("chart.js", "tables.js", "report.js")


def page(comparison: Comparison) -> str:
    """The HTML page."""
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    data = page_data(comparison)
    libraries = [f"/*\n{_read('vendor', terms)}*/\n{_read('vendor', code)}" for terms, code in LIBRARIES.items()]
    return environment.from_string(_read("report.html")).render(
        c=comparison,
        answer=data["groups"][0]["answers"][comparison.metrics[0]],
        made=how_made(comparison),
        reference_rows=reference_rows(comparison),
        css=_read("report.css"),
        scripts=[*libraries, *map(_read, SCRIPTS)],
        data=json.dumps(data, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c"),
    )


@cache
def _read(*path):
    return (files("fewstep.evaluation.report").joinpath(*path)).read_text(encoding="utf-8")
