"""What a file says about objects of classes that are never made: their names and their states."""

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Namespace:
    """An `argparse.Namespace` or `types.SimpleNamespace`: its values by name."""

    values: dict[str, Any] = field(default_factory=dict)


@dataclass
class Persistent:
    """An object that was pickled with its class: one of EDM's `torch_utils.persistence`, or a module of `torch.nn`.

    `class_name` is the class, `source` the Python text that defined it (kept as a text, never run; None for torch.nn),
    `state` the attributes by name.  `init_args` and `init_kwargs` are what EDM's classes were constructed with.
    """

    class_name: str
    source: str | None = None
    state: dict[str, Any] = field(default_factory=dict)

    @property
    def init_args(self) -> tuple:
        """The positional arguments of its constructor; () if the file does not say."""
        found = self.state.get("_init_args", ())
        return tuple(found) if isinstance(found, list | tuple) else ()

    @property
    def init_kwargs(self) -> dict[str, Any]:
        """The named arguments of its constructor; {} if the file does not say."""
        found = self.state.get("_init_kwargs", {})
        return found if isinstance(found, dict) else {}
