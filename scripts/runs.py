"""fewstep runs."""

import json
import re
import sys
from contextlib import suppress

from etils import epath
from rich import box
from rich.console import Console
from rich.table import Table

from evaluation.comparison import Comparison
from evaluation.report.table import number
from scripts import parse
from scripts.errors import UserError
from train.errors import RunError
from train.files import held, told
from train.metrics import read

COLUMNS = ("run", "state", "step", "loss", "FD", "best", "parameters", "wrong")


def main(folder):
    """Print a row a run; in full where the output is no terminal."""
    folder = parse.path(folder, "the folder")
    runs = list(_found(folder))
    if not runs:
        raise UserError(f"no runs in {folder}: a run is a folder with a config.gin, which `fewstep train` makes")
    rows = [_row(run, folder) for run in runs]
    table = Table(box=box.SIMPLE_HEAD)
    columns = [i for i, name in enumerate(COLUMNS) if name != "wrong" or any(row[i] for row in rows)]
    for i in columns:
        right = COLUMNS[i] in ("step", "loss", "FD", "parameters")
        table.add_column(COLUMNS[i], no_wrap=COLUMNS[i] != "wrong", justify="right" if right else "left")
    for row in rows:
        table.add_row(*(row[i] for i in columns))
    console = Console(width=None if sys.stdout.isatty() else 10_000, markup=False, highlight=False)
    console.print(table)
    console.print("FD: of the last preview while training.  best: of the samplers in the run's compare, @ network calls.")


def _found(folder):
    """The folder itself if it is a run, else those up to three levels below it, by name."""
    if (folder / "config.gin").exists():
        return [folder]
    depths = ("*/config.gin", "*/*/config.gin", "*/*/*/config.gin")
    return sorted((path.parent for depth in depths for path in folder.glob(depth)), key=str)


def _row(run, folder):
    """The texts of COLUMNS; what cannot be read is blank and said in the last."""
    values, wrong = dict.fromkeys(COLUMNS, ""), []
    values["run"] = run.name if run == folder else str(run)[len(str(folder)) :].strip("/")
    for part in (_training, _comparison, _parameters):
        try:
            values |= part(run)
        except RunError as error:
            wrong.append(str(error).split(":")[0])
        except (ValueError, TypeError, KeyError, AttributeError, OSError) as error:
            wrong.append(f"{part.__name__[1:]}: {error!r}"[:80])
    return [values[name] for name in COLUMNS[:-1]] + ["; ".join(wrong)]
