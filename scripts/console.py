"""Where tables are printed: as wide as the terminal or COLUMNS says, else wide enough."""

import os
import sys

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

WIDE = 200  # characters, if the output is a file or a pipe


def console(wide: int = WIDE) -> Console:
    """The standard output."""
    known = sys.stdout.isatty() or "COLUMNS" in os.environ
    return Console(width=None if known else wide, markup=False, highlight=False)


def fits(table: Table, console: Console) -> bool:
    """Whether the table is shown without cutting its texts."""
    return Measurement.get(console, console.options.update(max_width=10_000), table).maximum <= console.width
