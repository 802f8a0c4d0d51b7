"""fewstep runs."""

import math
from typing import Any

from rich import box
from rich.table import Table

from fewstep.cli import parse
from fewstep.cli.console import console, fits
from fewstep.cli.errors import UserError
from fewstep.evaluation.comparison import Comparison
from fewstep.evaluation.metrics import TRAINED, name_and_features
from fewstep.evaluation.report.table import number
from fewstep.train.logs.best import Best, logged
from fewstep.train.logs.jsonl import read
from fewstep.train.utils.config_values import config_values, number_of, steps_of
from fewstep.train.utils.errors import Damaged, RunError
from fewstep.train.utils.files import FOREIGN, absolute, is_locked, saved_steps
from fewstep.train.utils.sealed import CHANGED, read_json

COLUMNS = ("run", "state", "step", "loss", "FD", "best", "parameters", "wrong")


def main(folder: str) -> None:
    """Print one row per run, or two lines where a row does not fit."""
    root = absolute(parse.path(folder, "the folder"))
    runs = list(_found(root))
    if not runs:
        raise UserError(f"no runs in {root}: a run is a folder with a config.gin, made by `fewstep train`")
    rows = [_row(run, root) for run in runs]
    table = Table(box=box.SIMPLE_HEAD)
    columns = [i for i, name in enumerate(COLUMNS) if name != "wrong" or any(row[i] for row in rows)]
    for i in columns:
        right = COLUMNS[i] in ("step", "loss", "FD", "parameters")
        table.add_column(COLUMNS[i], no_wrap=COLUMNS[i] != "wrong", justify="right" if right else "left")
    for row in rows:
        table.add_row(*(row[i] for i in columns))
    out = console(10_000)
    if fits(table, out):
        out.print(table)
    else:
        for name, *texts in rows:
            said = [
                text if title == "state" else f"{title} {text}"
                for title, text in zip(COLUMNS[1:], texts, strict=True)
                if text
            ]
            out.print(f"{name}\n  {', '.join(said)}")
    if any(CHANGED in row[-1] for row in rows):
        out.print("`fewstep seal RUN` accepts the changes of a file.")
    if any(row[COLUMNS.index("FD")].endswith(TRAINED) for row in rows):
        out.print(f"{TRAINED}: on features that the run was trained on, which are no evidence.")
    out.print("FD: of the last preview in training.  best: of the samplers in the run's compare, @ network calls.")


def _found(folder):
    """The folder itself if it is a run, else those up to three levels below it, by name."""
    if (folder / "config.gin").is_file():
        return [folder]
    depths = ("*/config.gin", "*/*/config.gin", "*/*/*/config.gin")
    return sorted((path.parent for depth in depths for path in folder.glob(depth) if path.is_file()), key=str)


def _row(run, folder):
    """The texts of COLUMNS; what cannot be read is blank and reported in the last one."""
    wrong: list[str] = []
    values: dict[str, Any] = dict.fromkeys(COLUMNS, "")
    values["run"] = run.name if run == folder else str(run.relative_to(folder))
    for part, file in ((_training, "metrics.jsonl"), (_comparison, "compare/table.json"), (_parameters, "run.json")):
        try:
            values |= part(run)
        except Damaged as error:
            wrong.append(f"{file} {error.reason.partition(' (')[0]}")
        except RunError as error:
            wrong.append(str(error).split(":")[0])
        except OSError as error:
            wrong.append(f"{file} cannot be read ({error.strerror or type(error).__name__})")
        except Exception:  # a damaged file affects only its own row
            wrong.append(f"{file} is damaged")
    if values["FD"] and values.get("on") in values.get("trained", ()):
        values["FD"] += TRAINED
    return [values[name] for name in COLUMNS[:-1]] + ["; ".join(wrong)]


def _training(run):
    values = config_values(run)
    if (steps := steps_of(values)) is None:
        raise RunError("config.gin has no train.steps")
    lines, checkpoints = read(run / "metrics.jsonl"), saved_steps(run / "checkpoints")
    saved = max(checkpoints, default=0)
    best = Best(logged(lines, saved), checkpoints, number_of(values, "train.patience"))
    scores = [(name, value) for line in lines for name, value in line.items() if name.startswith("FD-")]
    losses = [line["loss"] for line in lines if "loss" in line]
    if (run / FOREIGN).exists():
        return {"state": "imported"}
    return {
        "state": _state(run, saved >= steps or best.over),
        "step": f"{max(saved, lines[-1]['step'] if lines else 0)} of {steps}",
        "loss": _number(losses[-1]) if losses else "",
        "FD": _number(scores[-1][1]) if scores else "",
        "on": name_and_features(scores[-1][0])[1] if scores else "",
    }


def _state(run, finished):
    """By its lock and its checkpoints; in a bucket, which has no locks, a running one looks like a stopped one."""
    busy = is_locked(run)
    if busy:
        return "running"
    if finished:
        return "finished"
    return "unfinished" if busy is None else "stopped"


def _comparison(run):
    """The smallest FD to three digits; among equal ones that with the fewest network calls."""
    path = run / "compare" / "table.json"
    if not path.exists():
        return {}
    found = Comparison.from_plain(read_json(path))
    metric = next((name for name in found.metrics if name.startswith("FD-") or name == "FID"), None)
    if metric is None:
        return {}
    ours = [cell for cell in found.cells if len(found.runs) == 1 or cell.run in (run.name, str(run))]
    ours = [cell for cell in ours if found.is_evidence(cell.run, metric)]
    scores = [(float(f"{cell.metrics[metric].value:.3g}"), cell.nfe, cell.line) for cell in ours]
    scores = [score for score in scores if math.isfinite(score[0])]
    if not scores:
        return {}
    value, nfe, sampler = min(scores)
    return {"best": f"{number(value)} {sampler} @{nfe}"}


def _parameters(run):
    path = run / "run.json"
    known = read_json(path) if path.exists() else {}
    trained = [name for name, _ in known.get("trained_features", [])]
    return {"parameters": f"{known['parameters']:,}" if known else "", "trained": trained}


def _number(value):
    return "NaN" if value is None else number(value)
