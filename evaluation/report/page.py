"""report.html: one self-contained page without scripts."""

import base64
import io
from importlib.resources import files

import numpy as np
from jinja2 import Environment
from matplotlib.figure import Figure

from fewstep.evaluation.comparison import Comparison
from fewstep.evaluation.report.curve import curve
from fewstep.evaluation.report.sweep import sweep
from fewstep.evaluation.report.table import number, reference_rows
from fewstep.train.logs.images import png


def page(comparison: Comparison) -> str:
    """The HTML page."""
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"number": number}
    template = environment.from_string((files("fewstep.evaluation.report") / "report.html").read_text())
    previews = {key: _preview(images) for key, images in comparison.previews.items()}
    pictures = {key: _uri(data, "png") for key, data in previews.items() if data}
    plots = {"curve": curve(comparison, "svg"), "sweep": sweep(comparison, "svg")}
    drawn = {name: _uri(data, "svg+xml") for name, data in plots.items() if data}
    return template.render(c=comparison, pictures=pictures, reference_rows=reference_rows(comparison), **drawn)


def _uri(data, kind):
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def _preview(images) -> bytes | None:
    """uint8 images stacked vertically, or points as a small scatter plot; None for other shapes."""
    if images.shape[-1] not in (1, 3) if images.ndim == 4 else images.shape[1] < 2:
        return None
    if images.ndim == 4:
        framed = np.pad(images, ((0, 0), (0, 1), (0, 0), (0, 0)), constant_values=128)
        return png(framed.reshape(-1, *framed.shape[2:])[:-1])
    figure = Figure(figsize=(1.2, 1.2), layout="constrained")
    axis = figure.subplots()
    axis.scatter(images[:, 0], images[:, 1], s=0.5, color="#0072B2")
    axis.set(xlim=(-1.1, 1.1), ylim=(-1.1, 1.1), xticks=(), yticks=(), aspect="equal")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130)
    return buffer.getvalue()
