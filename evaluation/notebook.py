"""A comparison that a notebook shows."""

from dataclasses import dataclass, fields
from html import escape

from fewstep.evaluation.comparison import Comparison
from fewstep.evaluation.report.table import render


@dataclass(frozen=True)
class ShownComparison(Comparison):
    """A comparison with its tables as text, its curve as a picture, and its page for a notebook."""

    @classmethod
    def of(cls, comparison: Comparison) -> "ShownComparison":
        """The same comparison."""
        return cls(**{f.name: getattr(comparison, f.name) for f in fields(comparison)})

    def tables(self) -> str:
        """The tables as text, as `fewstep compare` prints them."""
        return render(self)

    def curve(self, form: str = "svg") -> bytes:
        """The metrics over network calls as a picture, "svg" or "png"; requires the extra [report]."""
        from fewstep.evaluation.report.curve import curve  # matplotlib is optional

        return curve(self, form)

    def _repr_html_(self) -> str:
        """The report page, in a frame of its own; the tables where the extra [report] is not installed."""
        try:
            from fewstep.evaluation.report.page import page  # jinja2 is optional
        except ModuleNotFoundError:
            return f"<pre>{escape(self.tables())}</pre>"
        return f'<iframe srcdoc="{escape(page(self))}" style="width: 100%; height: 40em; border: 0"></iframe>'
