"""Tables that `fewstep fit` found for a run, RUN/tables/NAME.json: chosen as the sampler fitted:NAME."""

import re
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from etils import epath

from fewstep.diffusion.denoiser import Lever
from fewstep.diffusion.process import Process
from fewstep.errors import UsageError
from fewstep.samplers.amed import FORMS, mean_direction
from fewstep.samplers.predictor import Predictor, untrained
from fewstep.samplers.registry import FITTED, SAMPLERS, Sampler, as_sampler, find
from fewstep.samplers.steps import NoTable
from fewstep.samplers.tableau import Row, Tableau, tabulate
from fewstep.train.run.calibration import levers_around, sampler_with_statistics
from fewstep.train.utils import npz
from fewstep.train.utils.errors import Damaged, RunError
from fewstep.train.utils.files import write_atomic
from fewstep.train.utils.hashing import digest
from fewstep.train.utils.messages import say
from fewstep.train.utils.sealed import read_json, sealed_json

PREFIX = "fitted:"
COLUMNS = ("t", "x", "x0", "past")  # those of a table without noise whose memory is of clean images
JUMPS = ("t", "s", "x", "x0", "eps", "past")  # those of AMED, whose jumps its predictor makes
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True)
class FittedTable:
    """A table with what it was fitted on."""

    table: Tableau
    last: float  # the time at which it ends
    process: str  # its repr, which tells its settings
    prediction: str  # likewise
    weights: str  # digest of the parameters of the network
    step: int  # of the run
    levers: tuple[str, ...]  # as given, innermost first
    around: str  # digest of the levers
    labels: tuple[int, ...] | None  # the classes of the trajectories in turn; None: all, or there are none
    seeds: tuple[int, int]  # the first, and how many
    method: str
    errors: dict[str, float]  # on trajectories that were not fitted on
    form: str = ""  # of AMED
    predictor: Predictor | None = None  # of AMED

    @property
    def levers_of_rows(self) -> tuple[Lever, ...]:
        """What makes the jumps of the rows, none of a table without."""
        return () if self.predictor is None else (mean_direction(self.predictor, self.form),)

    def rows(self, process: Process, grid: Any = None) -> Iterator[Row]:
        """The rows of the table, on its own times instead of those of a grid; UsageError for another process."""
        if repr(process) != self.process:
            raise UsageError(f"this table was fitted on {self.process}, and this model has {process}: fit another one")
        yield from _rows(self.table._asdict(), self.table.start)


def folder(run: Any) -> epath.Path:
    """The folder of the tables of a run."""
    return run.folder / "tables"


def checked_name(name: str) -> str:
    """The name of a table; UsageError for names of samplers, and for others that cannot be files."""
    if name in SAMPLERS:
        raise UsageError(f"{name} is a sampler: choose another name for the table")
    if not NAME.fullmatch(name) or name.endswith(".json"):
        raise UsageError(f"{name!r} is not the name of a table: take letters, digits, dots, dashes and underscores")
    return name


def is_fitted(name: Any) -> bool:
    """Whether the name of a sampler is one of a fitted table."""
    return isinstance(name, str) and name.startswith(PREFIX)


def _rows(columns: Mapping[str, Any], start: Any) -> Iterator[Row]:
    for i, t in enumerate(columns["t"]):
        own = {name: columns[name][i] for name in ("x", "x0", "eps") if name in columns}
        s = columns["s"][i] if "s" in columns and np.isfinite(columns["s"][i]) else None
        first = None if i or start is None or np.isnan(start) else float(start)
        yield Row(t, s=s, past=tuple(columns["past"][i]), start=first, **own)


def save(run: Any, name: str, found: FittedTable) -> epath.Path:
    """Store a table in a run; returns its file."""
    plain = {field: value for field, value in vars(found).items() if field not in ("table", "form", "predictor")}
    names, more = COLUMNS, {}
    if found.predictor is not None:
        names, weights = JUMPS, npz.encode(**found.predictor._asdict())
        start = None if np.isnan(found.table.start) else float(found.table.start)
        more = {"form": found.form, "start": start, "predictor": b64encode(weights).decode()}
    columns = {column: getattr(found.table, column).tolist() for column in names}
    file = folder(run) / f"{checked_name(name)}.json"
    write_atomic(file, sealed_json({"table": columns} | plain | more, indent=1))
    return file


def load(file: epath.Path) -> FittedTable:
    """The table of a file; RunError if there is none, or if it is damaged."""
    if not file.exists():
        raise RunError(f"there is no table {file}: make it with fewstep fit")
    try:
        plain = dict(read_json(file))
        columns = {name: np.asarray(column, np.float64) for name, column in plain.pop("table").items()}
        start, n = plain.pop("start", None), len(columns["t"])
        jumps = "predictor" in plain
        columns["past"] = columns["past"].reshape(n, -1)
        if {column.shape[0] for column in columns.values()} != {n} or {*columns} != {*(JUMPS if jumps else COLUMNS)}:
            raise ValueError("columns of different lengths")
        times = np.diff(np.append(columns["t"], plain["last"]))
        if not n or not (times <= 0 if jumps else times < 0).all():
            raise ValueError("times that do not decrease")
        if jumps:
            predictor = Predictor(**npz.decode(b64decode(plain["predictor"], validate=True), file))
            forms = [[(a.shape, a.dtype) for a in one] for one in (predictor, untrained(len(predictor.hidden)))]
            if forms[0] != forms[1] or plain["form"] not in FORMS:
                raise ValueError("no predictor of AMED")
            plain["predictor"] = predictor
        plain |= {"levers": tuple(plain["levers"]), "seeds": tuple(plain["seeds"])}
        plain["labels"] = None if plain["labels"] is None else tuple(plain["labels"])
        return FittedTable(tabulate(_rows(columns, start)), **plain)
    except (ValueError, TypeError, KeyError) as error:
        raise RunError(f"{error if isinstance(error, Damaged) else f'{file} is damaged'}: fit it again") from None


@dataclass(frozen=True)
class Fitted(Sampler):
    """A fitted table in the place of a sampler."""

    checked: bool = False  # against a run
    labels: tuple[int, ...] | None = None  # the classes that it was fitted on; None: all


def of_file(file: epath.Path, name: str, checked: bool = False) -> Fitted:
    """The sampler of the table in a file."""
    found = load(file)
    return Fitted(
        found.rows, None, FITTED, found.method, nfe=found.table.nfe, title=name, levers=found.levers_of_rows,
        checked=checked, labels=found.labels,
    )  # fmt: skip


def named(name: Any, known: Mapping[str, Sampler] = SAMPLERS) -> Sampler:
    """The sampler of a name among `known`, of a splice, of a function, or "fitted:FILE.json"; "fitted:NAME" waits for a
    run.

    UsageError for an unknown name, RunError for a file that is not such a table.
    """
    if not is_fitted(name):
        return find(name, known) if isinstance(name, str) else as_sampler(name)
    text = name.removeprefix(PREFIX)
    if text.endswith(".json"):
        return of_file(epath.Path(text), name)
    return Fitted(partial(_of_no_run, checked_name(text)), None, FITTED, "", title=name)


def _of_no_run(name, process, grid=None):
    raise UsageError(f"{PREFIX}{name} is a table of a run: give its file, {PREFIX}RUN/tables/{name}.json")


def sampler(run: Any, one: Any, levers: Iterable[Any] = ()) -> Sampler:
    """The sampler of a name, of a function, or of a fitted table for its use with a run under levers.

    A table that was fitted on other weights, or under other levers, is used with a warning.  Raises NoTable if the run
    has no such table, UsageError for one of another process or prediction.
    """
    name = one.name if isinstance(one, Fitted) else one
    if not is_fitted(name):
        return sampler_with_statistics(run, as_sampler(one), levers)
    if isinstance(one, Fitted) and one.checked:
        return one
    text = name.removeprefix(PREFIX)
    file = epath.Path(text) if text.endswith(".json") else folder(run) / f"{checked_name(text)}.json"
    if not file.exists():
        known = sorted(path.stem for path in folder(run).glob("*.json")) if folder(run).exists() else []
        has = f"has {', '.join(known)}" if known else f"has none: fit one with `fewstep fit {run.folder} --nfe 8`"
        raise NoTable(f"there is no table {name.removeprefix(PREFIX)}; {run.folder} {has}")
    found = load(file)
    prediction = repr(getattr(run.model, "prediction", None))
    if (found.process, found.prediction) != (repr(run.model.process), prediction):
        raise UsageError(
            f"{name} was fitted on {found.process} with {found.prediction}, and {run.folder} has {run.model.process} "
            f"with {prediction}: fit a table to it"
        )
    if found.weights != run.weights:
        say(f"warning: {name} was fitted on other weights than those of {run.folder} at step {run.step}")
    if found.around != digest(levers_around(run.under(levers))):
        before = f"under {', '.join(found.levers)}" if found.levers else "without levers"
        say(f"warning: {name} was fitted {before}: fit another table for these")
    return of_file(file, name, checked=True)


def check_labels(sampler: Sampler, labels: Any) -> None:
    """Warns of classes that a fitted table was not fitted on."""
    fitted = sampler.labels if isinstance(sampler, Fitted) else None
    if fitted is not None and labels is not None and (other := {*map(int, labels)} - {*fitted}):
        say(f"warning: {sampler.name} was fitted on the classes {fitted}, not on {sorted(other)}")
