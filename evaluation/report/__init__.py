"""Files of a comparison: tables, plots, and a self-contained HTML page."""

from etils import epath

from fewstep.evaluation.comparison import Comparison
from fewstep.train.utils.files import write_atomic


def write(folder: epath.PathLike, comparison: Comparison) -> dict[str, epath.Path]:
    """Write the tables, the plots and the page into the folder; returns {name: path}.

    If no number was swept, there are no sweep.png and sweep.svg, and those of an earlier comparison are removed.
    Raises ModuleNotFoundError if the optional extra [report] is not installed.
    """
    # Imported late: they need matplotlib and jinja2, which the table does not.
    from fewstep.evaluation.report.curve import curve
    from fewstep.evaluation.report.page import page
    from fewstep.evaluation.report.sweep import sweep

    folder = epath.Path(folder)
    files = {
        "table.csv": comparison.to_csv(),
        "table.json": comparison.to_json(),
        "differences.csv": comparison.gaps_to_csv(),
        "curve.png": curve(comparison, "png"),
        "curve.svg": curve(comparison, "svg"),
        "sweep.png": sweep(comparison, "png"),
        "sweep.svg": sweep(comparison, "svg"),
        "report.html": page(comparison),
    }
    for name, data in files.items():
        if data is None:
            (folder / name).unlink(missing_ok=True)
        else:
            write_atomic(folder / name, data)
    return {name: folder / name for name, data in files.items() if data is not None}
