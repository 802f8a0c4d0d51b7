"""The distances between two sets of images that were made anywhere: arrays, folders of image files, .npz files."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from html import escape
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from fewstep.errors import UsageError
from fewstep.evaluation.asked import features_of, some
from fewstep.evaluation.distances import DISTANCES
from fewstep.evaluation.estimate import Interval
from fewstep.evaluation.features import Features, Pixels, quantized
from fewstep.evaluation.measure import interval, metric_name
from fewstep.evaluation.metrics import METRICS, metric_info
from fewstep.evaluation.report.table import number
from fewstep.train.data.archive import open_npz, read_array
from fewstep.train.data.checks import as_images
from fewstep.train.data.decode import BadImage, whole

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")


@dataclass(frozen=True)
class Distances(Mapping):
    """{metric: Interval} between drawn and real images, as a table."""

    intervals: dict[str, Interval]
    drawn: int
    real: int
    what: str = "images"

    @property
    def caption(self) -> str:
        """What was compared."""
        return f"{self.drawn} {self.what} against {self.real}"

    def __getitem__(self, metric: str) -> Interval:
        return self.intervals[metric]

    def __iter__(self):
        return iter(self.intervals)

    def __len__(self) -> int:
        return len(self.intervals)

    def rows(self) -> list[tuple[str, str, str, str]]:
        """(metric, value, 95 % interval, which is better)."""
        better = {"lower": "lower is better", "higher": "higher is better", "": ""}
        return [
            (name, number(v.value), f"{number(v.low)} to {number(v.high)}", better[metric_info(name).better])
            for name, v in self.intervals.items()
        ]

    def __str__(self) -> str:
        rows = self.rows()
        sizes = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(t.ljust(n) for t, n in zip(row, sizes, strict=True)).rstrip() for row in rows]
        return "\n".join([f"{self.caption}, with 95 % intervals", *lines])

    def _repr_html_(self) -> str:
        cells = "".join(f"<tr>{''.join(f'<td>{escape(text)}</td>' for text in row)}</tr>" for row in self.rows())
        return f"<table><caption>{self.caption}</caption>{cells}</table>"


def distances(
    drawn: Any,
    real: Any,
    *,
    metrics: str | Iterable[str] = METRICS,
    features: Features | Iterable[Features] | None = None,
) -> Distances:
    """The distances of drawn images from real ones, {"FD-pixels": Interval, ...}, with 95 % intervals.

    drawn, real: arrays (N, H, W, C) or (N, d), uint8 or floats in [-1, 1]; or paths of folders of image files, of one
    size, or of .npz files with an array `images`.  Floats of drawn images beyond [-1, 1] are clipped.  metrics: FD,
    FDinf, KID, SW, mind, energy, precision, recall, density, coverage.  features: as of `evaluation.features`, by
    default pixels.  Raises UsageError for images of different sizes, and for fewer images than a metric needs.
    """
    sets = [read_images(drawn, drawn=True), read_images(real)]
    if sets[0].shape[1:] != sets[1].shape[1:]:
        sizes = " and ".join("x".join(map(str, images.shape[1:])) for images in sets)
        raise UsageError(f"the images are of different sizes, {sizes}: resize one of the sets")
    able = [name for name in DISTANCES if name != "novelty"]
    metrics = some(metrics, "metrics")
    for metric in metrics:
        if metric not in able:
            raise UsageError(f"{metric} is no distance of two sets of images: choose among {', '.join(able)}")
        if min(map(len, sets)) < DISTANCES[metric].least:
            raise UsageError(f"{metric} requires at least {DISTANCES[metric].least} images of each set")
    found = {}
    for kind in features_of(features) or [Pixels(sets[0].shape[1:])]:
        one, other = (kind(images) for images in sets)
        for distance in dict.fromkeys(DISTANCES[metric] for metric in metrics):
            values = distance(other, other)(one)
            found |= {
                metric_name(metric, kind): interval(metric, v) for metric, v in values.items() if metric in metrics
            }
    return Distances(found, len(sets[0]), len(sets[1]), "images" if sets[0].ndim == 4 else "points")


def read_images(images: Any, drawn: bool = False) -> np.ndarray:
    """Images as they are stored: uint8 (N, H, W, C), or points (N, d) in float32.  Floats of `drawn` images may lie
    beyond [-1, 1], where samplers may end."""
    if not _is_path(images):
        array = as_images(np.asarray(images), "images", bounded=not drawn)
        return array if array.dtype == np.uint8 else quantized(array)
    path = Path(images).expanduser()
    if path.suffix == ".npz" and path.is_file():
        with open_npz(path) as archive:
            if "images" not in archive:
                raise UsageError(f"{path} has no array images (it has {', '.join(archive.files[:8]) or 'none'})")
            return read_images(read_array(archive, "images", path), drawn)
    if not path.is_dir():
        raise UsageError(f"{path} is neither a folder of images nor an .npz file: check the path")
    return _folder(path)


def is_images(subject: Any) -> bool:
    """Whether this is an array, an .npz file or a folder of images that is not a run's."""
    if not _is_path(subject):
        return hasattr(subject, "__array__")
    path = Path(subject).expanduser()
    if path.is_dir():
        return not (path / "config.gin").exists() and any(_files(path))
    return path.suffix == ".npz" and path.is_file()


def image_sets(sets: Iterable[Any]) -> dict[str, np.ndarray]:
    """{name: images} of drawn images as arrays and paths: the last part of a path, "images" for arrays."""
    sets = list(sets)
    names = numbered(Path(images).expanduser().resolve().name if _is_path(images) else "images" for images in sets)
    return {name: read_images(images, drawn=True) for name, images in zip(names, sets, strict=True)}


def numbered(names: Iterable[str]) -> list[str]:
    """The names, those that are there already with the next free number."""
    found: list[str] = []
    for name in names:
        free = (f"{name} {i}" if i > 1 else name for i in count(1))
        found.append(next(one for one in free if one not in found))
    return found


def _is_path(value):
    return isinstance(value, str) or hasattr(value, "__fspath__")


def _files(path):
    """The image files in a folder; UsageError if it contains runs, whose previews are not meant."""
    if run := next(path.rglob("config.gin"), None):
        raise UsageError(f"{path} contains the run {run.parent}: name the run, or a folder of images alone")
    return (file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())


def _folder(path):
    files = sorted(_files(path))
    if not files:
        raise UsageError(f"{path} has no image files ({', '.join(SUFFIXES)})")
    images, size = [], None
    for file in files:
        try:
            images.append(whole(file))
        except BadImage as error:
            raise UsageError(f"{file}: {error}") from None
        size = size or images[0].shape
        if images[-1].shape != size:
            shapes = " and ".join("x".join(map(str, shape)) for shape in (size, images[-1].shape))
            raise UsageError(f"{path} has images of different sizes, {shapes} ({file.name}): resize them")
    return np.stack(images)
