"""Compares two artifacts: their answers to the same held-out examples, their size, their latency taking turns."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from rich.console import Console

from optimization.artifact.findings import Difference
from optimization.artifact.manifest import Manifest, Meaning, Quality, TensorSpec
from optimization.artifact.store import Artifact
from optimization.errors import CompareError
from optimization.graphs import graph, outputs
from optimization.identity import named
from optimization.measuring import evaluate, judging, latency, measures
from optimization.measuring.latency import Latency
from optimization.readers import data, labels
from optimization.readers.examples import Dataset
from optimization.recipe import recipe
from optimization.recipe.recipe import Recipe
from optimization.report import examine, terminal
from optimization.training import identity


@dataclass(frozen=True, kw_only=True)
class Side:
    """One of the two, as measured just now."""

    name: str
    quality: Quality
    size_bytes: int
    timed: dict[int, Latency]
    """By batch size."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What the second is against the first."""

    first: Side
    second: Side
    difference: Difference
    """What the second loses."""
    agreement: float
    """Fraction of examples that get the same answer from both."""
    notes: tuple[str, ...] = ()
    """What a reader has to know besides."""


def compare(first: Artifact, second: Artifact) -> Comparison:
    """Measure both on the held-out examples of the recipe that made them.

    Raises:
        CompareError: they take other inputs, or were not made from the same data, so that neither may be asked what
            the other learned from; or the data are not those any more that one was measured on.
    """
    if first.path.resolve() == second.path.resolve():
        raise CompareError(f"two artifacts must be given, got {first.path} twice")
    dataset = dataset_of(first, second)
    held_out, task = dataset.held_out, dataset.task
    names = [f"{each.manifest.name} {each.manifest.version}" for each in (first, second)]
    if names[0] == names[1]:
        names = [str(first.path), str(second.path)]
    artifacts = dict(zip(names, (first, second), strict=True))
    answers = {
        name: evaluate.predict(each.model_path, held_out, task, output(each)) for name, each in artifacts.items()
    }
    judged = {name: judging.judge(dataset.measure, task, found, held_out.labels) for name, found in answers.items()}
    timed = latency.measure({name: each.model_path for name, each in artifacts.items()}, held_out)
    one, other = (
        Side(
            name=name,
            quality=judged[name].quality(),
            size_bytes=each.manifest.model_bytes,
            timed=timed[name],
        )
        for name, each in artifacts.items()
    )
    return Comparison(
        first=one,
        second=other,
        difference=examine.difference(judged, reference=one.name, other=other.name),
        agreement=1 - float(task.changed(answers[one.name], answers[other.name]).mean()),
        notes=tuple(_unknown(name) for name, each in artifacts.items() if _is_unsure(each.manifest)),
    )


def show(console: Console, found: Comparison) -> None:
    """Print both side by side, and what is beyond chance."""
    table = terminal.columns("", "first", "second", "second against first")
    for row in _rows(found):
        table.add_row(*row)
    for place, side in (("first", found.first), ("second", found.second)):
        console.print(f"  {place}: {side.name}", highlight=False, soft_wrap=True)
    console.print(table)
    lost = found.difference
    verdict = "no difference is shown" if lost.low <= 0 <= lost.high else "beyond chance"
    console.print(
        f"  quality: {terminal.gained(lost)}, 95 % interval {terminal.between(lost)} "
        f"on the same {lost.num_samples} examples ({verdict})",
        highlight=False,
        soft_wrap=True,
    )
    console.print(f"  agreement: the same answer on {found.agreement:.2%}", highlight=False)
    for note in found.notes:
        console.print(f"  {note}", highlight=False, soft_wrap=True)


def _rows(found: Comparison) -> Iterator[tuple[str, ...]]:
    one, other = found.first, found.second
    qualities = (terminal.with_interval(each) for each in (one.quality, other.quality))
    yield terminal.heading(one.quality), *qualities, terminal.gained(found.difference)
    yield (
        "ONNX file",
        terminal.short(one.size_bytes, "B"),
        terminal.short(other.size_bytes, "B"),
        f"{one.size_bytes / other.size_bytes:.2f} x smaller",
    )
    for size, before in one.timed.items():
        after = other.timed[size]
        ratio = before.speedup(after)
        times, low, high = (terminal.three_digits(each) for each in (ratio.value, ratio.low, ratio.high))
        yield f"latency\nbatch {size}", _stacked(before), _stacked(after), f"{times} x faster\n({low}-{high})"


def _stacked(timed: Latency) -> str:
    """The median, and below it its interval: side by side the table would need 92 columns."""
    number, ends, unit = terminal.interval(timed.median_s, timed.interval_s, "s").split()
    return f"{number} {unit}\n{ends}"


def output(artifact: Artifact) -> Meaning:
    """What the artifact's first output is: as its manifest says, or for one of before, its graph.

    Raises:
        CompareError: neither tells.
    """
    said = artifact.manifest.outputs[0].meaning or outputs.meanings(graph.read(artifact.model_path))[0]
    if said is None:
        rule = "must say in its manifest whether its output is logits or probabilities, since its graph does not tell"
        raise CompareError(f"{artifact.path} {rule}: publish it again with --output")
    return said


def _shapes(specs: Sequence[TensorSpec]) -> list[tuple[object, ...]]:
    """What both must have in common; what an output is, may differ."""
    return [(each.name, each.datatype, each.shape) for each in specs]


def _is_unsure(manifest: Manifest) -> bool:
    """Whether a recipe made it, but it does not say of which data."""
    return manifest.recipe is not None and manifest.provenance is None


def _unknown(name: str) -> str:
    return f"{name} does not say what data it was made of: where they have changed, it may have learned from these"


def dataset_of(first: Artifact, second: Artifact, given: Recipe | None = None) -> Dataset:
    """The data that both were made from, or those of the recipe that is `given`, which neither may have learned from.

    Raises:
        CompareError: they take other inputs, or were not made from the same data; or the data are not those any more
            that one was measured on.
    """
    one, other = first.manifest, second.manifest
    if _shapes(one.inputs) != _shapes(other.inputs) or _shapes(one.outputs) != _shapes(other.outputs):
        raise CompareError(
            f"both must take and give the same tensors, got {terminal.describe(one)} and {terminal.describe(other)}"
        )
    if given is not None:
        return _in_order(_loaded(given), one, other)
    made = [each.recipe for each in (one, other) if each.recipe is not None]
    if not made:
        raise CompareError("one of them must come from a recipe, which names the data to compare on; got two without")
    learned_from = [(each["data"], each["seed"]) for each in made]
    if learned_from[0] != learned_from[-1]:
        raise CompareError(
            "both must be made from the same data and seed, else one would be asked what it learned from, got "
            + " and ".join(f"{settings} with seed {seed}" for settings, seed in learned_from)
        )
    parsed = recipe.parse(made[0])
    dataset = _in_order(_loaded(parsed), one, other)
    digest = identity.of_split(dataset.held_out)
    for each in (one, other):
        if each.provenance is not None and each.provenance.held_out_sha256 != digest:
            raise CompareError(
                f"the held-out examples must be those that {each.name} {each.version} was measured on, got others: the "
                f"data have changed since ({_changed(each, parsed)}); bring them back, or make both anew"
            )
    return dataset


def _loaded(given: Recipe) -> Dataset:
    """The recipe's data, with its measure of quality."""
    dataset = data.load(given.data, given.seed)
    return dataset if given.measure is None else replace(dataset, chosen=measures.find(given.measure, dataset.task))


def _in_order(dataset: Dataset, one: Manifest, other: Manifest) -> Dataset:
    """The data with the classes that the models have, in their order."""
    classes = one.labels or other.labels
    if classes is None:
        return dataset
    if (other.labels or classes) != classes:
        raise CompareError(f"both must have the same classes in the same order, got {classes} and {other.labels}")
    return labels.reordered(dataset, classes)


def _changed(manifest: Manifest, wanted: Recipe) -> str:
    """What the recipe names and is not as it was."""
    assert manifest.provenance is not None, "asked of what has one"
    settings = [each for each in named.changed(manifest.provenance.named, named.digests(wanted)) if "data." in each]
    return ", ".join(settings) or "by their reader"
