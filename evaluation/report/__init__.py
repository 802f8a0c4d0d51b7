"""A comparison as files: tables, a plot, and one page that needs nothing else."""

from etils import epath

from train.files import write_atomic


def write(folder, comparison) -> dict:
    """Write the tables, the curve and the page into the folder; {name: path}.

    Raises ModuleNotFoundError where the optional extra [report] is not installed.
    """
    from evaluation.report.curve import curve  # here: they need matplotlib and jinja2, which the table does not
    from evaluation.report.page import page

    folder = epath.Path(folder)
    files = {
        "table.csv": comparison.to_csv(),
        "table.json": comparison.to_json(),
        "differences.csv": comparison.gaps_to_csv(),
        "curve.png": curve(comparison, "png"),
        "curve.svg": curve(comparison, "svg"),
        "report.html": page(comparison),
    }
    for name, data in files.items():
        write_atomic(folder / name, data)
    return {name: folder / name for name in files}
