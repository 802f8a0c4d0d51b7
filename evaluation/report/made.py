"""How a comparison was made: tables of facts at the end of its page."""

from typing import Any

from fewstep.evaluation.comparison import Comparison
from fewstep.evaluation.report.table import measured_against, number
from fewstep.train.utils.progress import duration


def how_made(comparison: Comparison) -> dict[str, dict[str, str]]:
    """{title: {name: fact}}: the measurement, each model, and the software and hardware."""
    models = {f"Model {name}": _model(comparison, name) for name in comparison.runs if name in comparison.models}
    return {"Measurement": _measurement(comparison)} | models | {"Software and hardware": comparison.environment}


def _measurement(comparison):
    if not comparison.count:
        return {"data": "Gaussian, in closed form: no images are drawn"}
    last = comparison.seed + comparison.count * comparison.repeats - 1
    sets = f"{comparison.repeats} sets of " if comparison.repeats > 1 else ""
    found = {
        "images per cell": f"{sets}{comparison.count}",
        "seeds": f"{comparison.seed} to {last}, the same in every cell",
        "measured against": measured_against(comparison),
        "intervals": "95 %, by the infinitesimal jackknife over drawn and real images; differences are paired by seed",
        "levers": ", ".join(comparison.levers) or "none",
        "time per image": "median of the batches, without compilation",
    }
    return found | {"metrics": ", ".join(comparison.metrics)}


def _model(comparison: Comparison, name: str) -> dict[str, str]:
    known: dict[str, Any] = comparison.models[name]
    seconds, memory = known.get("training_seconds"), comparison.memory.get(name)
    shape = " x ".join(map(str, known["shape"]))
    classes = f"{known['classes']} classes" if known["classes"] else "no classes"
    origin = known.get("imported")
    verb, code = ("imported", "import") if origin else ("trained", "training")
    found = {
        "folder": known.get("folder"),
        "imported from": origin and origin["kind"],
        "licence": origin and origin["licence"],
        "checkpoint": f"step {known['checkpoint']}" if "checkpoint" in known else None,
        "parameters": f"{known['parameters']:,}" if known.get("parameters") else None,
        "data": _data(known),
        "images": f"{shape}, {classes}",
        "learned": ", ".join(known["learned"]) or None,
        "training time": f"{duration(seconds)}, without previews and checkpoints" if seconds else None,
        "trained on features": ", ".join(known["trained_features"]) or "none" if "trained_features" in known else None,
        "peak device memory": f"{number(memory / 2**20)} MiB" if memory else None,
        "digest of the weights": known.get("weights"),
        f"commit of the {code} code": known.get("commit"),
        f"{verb} with": ", ".join(f"{name} {version}" for name, version in known.get("versions", {}).items()) or None,
    }
    return {name: fact for name, fact in found.items() if fact}


def _data(known):
    """The data of a model's record; what an imported one was trained on is unknown."""
    if "data" not in known:
        return "unknown"
    rest, held_out = (f"{known[part]:,}" for part in ("training_images", "held_out_images"))
    if "imported" in known:
        return (
            f"{known['data']}: {held_out} to measure against, {rest} for the floor; those of its training are unknown"
        )
    return f"{known['data']}: {rest} to train on, {held_out} held out"
