import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from optimization.artifact import store
from optimization.artifact.findings import Difference
from optimization.artifact.manifest import Provenance, Quality
from optimization.artifact.store import Artifact
from optimization.errors import CompareError
from optimization.graphs import export, graph
from optimization.identity import code, named
from optimization.measuring import evaluate
from optimization.measuring.latency import Latency
from optimization.networks import models
from optimization.readers import data
from optimization.readers.examples import Dataset
from optimization.recipe import recipe
from optimization.recipe.architectures import Mlp
from optimization.recipe.recipe import Recipe
from optimization.report import compare
from optimization.report.compare import Comparison, Side
from optimization.training import identity


def publish(
    root: Path, dataset: Dataset, wanted: Recipe | None, seed: int, width: int = 8, *, says_data: bool = True
) -> Artifact:
    root.mkdir(exist_ok=True)
    path = root / f"{seed}-{width}.onnx"
    model = models.build(Mlp(kind="mlp", hidden=(width,)), dataset, seed).eval()
    export.export(model, path, dataset.train, task=dataset.task)
    served = graph.read(path)
    return store.publish(
        root,
        {store.MODEL: path},
        name="toy",
        recipe=wanted.model_dump(mode="json") if wanted else None,
        provenance=provenance(dataset, wanted) if wanted and says_data else None,
        inputs=graph.inputs(served),
        outputs=graph.outputs(served),
    )


def provenance(dataset: Dataset, wanted: Recipe) -> Provenance:
    return Provenance(
        named=named.digests(wanted), held_out_sha256=identity.of_split(dataset.held_out), code_sha256=code.own()
    )


def with_seed(wanted: Recipe, seed: int) -> Recipe:
    return recipe.parse(wanted.model_dump(mode="json") | {"seed": seed})


def test_both_are_measured_on_the_same_held_out_examples(tmp_path: Path, seed_recipe: Recipe, tumours: Dataset) -> None:
    first, second = (publish(tmp_path, tumours, seed_recipe, seed=seed) for seed in (0, 1))
    found = compare.compare(first, second)
    held_out = tumours.held_out
    one, other = (
        tumours.task.answers(evaluate.predict(each.model_path, held_out, tumours.task, "probabilities"))
        for each in (first, second)
    )
    assert found.agreement == np.mean(one == other)
    assert found.first.quality.value == np.mean(one == held_out.labels)
    assert found.difference.drop == pytest.approx(np.mean(one == held_out.labels) - np.mean(other == held_out.labels))
    console = Console(file=io.StringIO(), width=100)
    compare.show(console, found)
    shown: str = console.file.getvalue()  # type: ignore[attr-defined]
    assert "toy 1" in shown
    assert "toy 2" in shown
    assert "95 % interval" in shown


def test_every_number_is_whole_at_eighty_columns() -> None:
    surely = Quality(metric="agreement", value=1.0, low=1.0, high=1.0, num_samples=9999)
    slow, fast = (Latency(turns_s=np.full((1, 4), seconds)) for seconds in (0.9994, 0.8e-3))
    one, other = (
        Side(name=f"toy {size}", quality=surely, size_bytes=size, timed={1: timed, 32: timed})
        for size, timed in ((9_990_000_000, slow), (9_994, fast))
    )
    lost = Difference(
        reference="toy 1", other="toy 2", num_lost=9999, num_won=0, num_samples=9999, drop=1.0, low=1.0, high=1.0
    )
    console = Console(file=io.StringIO(), width=80)
    compare.show(console, Comparison(first=one, second=other, difference=lost, agreement=0.0))
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    table = text[: text.index("quality:")]
    assert "…" not in table
    assert all(len(line) <= 80 for line in table.splitlines())
    words = " ".join(table.split())
    numbers = ("100.0 (100.0-100.0)", "-100.00 points", "9.99 GB", "9.99 kB", "999599.76 x smaller")
    for number in (*numbers, "999 ms", "(999-999)", "800 µs", "(800-800)", "1249 x faster", "(1249-1249)"):
        assert number in words, number


def test_a_wider_model_is_larger_and_slower(tmp_path: Path, seed_recipe: Recipe, tumours: Dataset) -> None:
    small = publish(tmp_path, tumours, seed_recipe, seed=0)
    large = publish(tmp_path, tumours, None, seed=0, width=3000)
    found = compare.compare(small, large)
    assert found.second.size_bytes > 10 * found.first.size_bytes
    assert found.second.timed[32].speedup(found.first.timed[32]).low > 1
    with pytest.raises(CompareError, match="twice"):
        compare.compare(small, small)


@pytest.mark.parametrize("case", ["other split", "other tensors", "no recipe"])
def test_what_has_nothing_in_common_is_refused(
    tmp_path: Path, seed_recipe: Recipe, digits_recipe: Recipe, tumours: Dataset, digits: Dataset, case: str
) -> None:
    made: dict[str, tuple[tuple[Any, Any], tuple[Any, Any], str]] = {
        "other split": ((tumours, seed_recipe), (tumours, with_seed(seed_recipe, 5)), "the same data and seed"),
        "other tensors": ((tumours, seed_recipe), (digits, digits_recipe), "take and give the same tensors"),
        "no recipe": ((tumours, None), (tumours, None), "must come from a recipe"),
    }
    one, other, message = made[case]
    first, second = (publish(tmp_path, dataset, wanted, seed=0) for dataset, wanted in (one, other))
    with pytest.raises(CompareError, match=message):
        compare.compare(first, second)


def write_pictures(path: Path, brighter: int) -> Path:
    pictures = np.random.default_rng(0).integers(0, 255, (40, 2, 2), dtype=np.uint8)
    pictures[brighter] += 1
    np.savez(path, x=pictures, y=np.arange(40) % 2)
    return path


def test_artifacts_are_not_compared_on_data_that_changed_since(tmp_path: Path, seed_recipe: Recipe) -> None:
    path = write_pictures(tmp_path / "train.npz", brighter=0)
    settings = {"kind": "pictures", "train": str(path), "height": 2, "width": 2, "held_out": 0.5}
    wanted = recipe.parse(seed_recipe.model_dump(mode="json") | {"data": settings})
    dataset = data.load(wanted.data, wanted.seed)
    first, second = (publish(tmp_path, dataset, wanted, seed=seed) for seed in (0, 1))
    silent = publish(tmp_path, dataset, wanted, seed=2, says_data=False)
    assert compare.compare(first, second).notes == ()
    assert "toy 3 does not say what data it was made of" in compare.compare(first, silent).notes[0]
    for number in range(1, 40):  # one of them is held out
        if identity.of_split(data.load(wanted.data, wanted.seed).held_out) == identity.of_split(dataset.held_out):
            write_pictures(path, brighter=number)
    with pytest.raises(CompareError, match=r"those that toy 1 was measured on, got others: .* \(data\.train\)"):
        compare.compare(first, second)
