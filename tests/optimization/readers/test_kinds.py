"""Every kind of data, from files as users have them, through Ray Data and the libraries themselves."""

import re
from collections.abc import Callable
from pathlib import Path

import datasets
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from pydantic import TypeAdapter
from torch import Tensor, nn
from torch.utils.data import Dataset as TorchDataset
from torch.utils.data import TensorDataset

from optimization.errors import DataError
from optimization.readers import data, streaming
from optimization.readers.examples import Dataset
from optimization.recipe.sources import Data

RANDOM = np.random.default_rng(0)
FRAME = pd.DataFrame(
    {"width": RANDOM.normal(size=60).round(3), "height": RANDOM.integers(0, 9, 60), "label": ["cat", "dog"] * 30}
)
WRITE: dict[str, Callable[[pd.DataFrame, Path], None]] = {
    ".csv": lambda frame, path: frame.to_csv(path, index=False),
    ".tsv": lambda frame, path: frame.to_csv(path, index=False, sep="\t"),
    ".jsonl": lambda frame, path: frame.to_json(path, orient="records", lines=True),
    ".parquet": lambda frame, path: frame.to_parquet(path),
}
ray = pytest.mark.ray


def load(folder: Path, **settings: object) -> Dataset:
    found: Data = TypeAdapter(Data).validate_python(settings)
    return data.load(found, 0, folder / "streams")


@ray
@pytest.mark.parametrize("ending", WRITE)
def test_a_table_holds_what_was_written(ray_cluster: None, tmp_path: Path, ending: str) -> None:
    for name, rows in {"train": FRAME[:30], "validation": FRAME[30:40], "held_out": FRAME[40:]}.items():
        WRITE[ending](rows, tmp_path / (name + ending))
    files = {name: f"{tmp_path}/{name}{ending}" for name in ("train", "validation", "held_out")}
    made = load(tmp_path, kind="table", **files)
    expected = FRAME[["width", "height"]].to_numpy(np.float32)
    np.testing.assert_array_equal(made.train.inputs["features"], expected[:30])
    np.testing.assert_array_equal(made.validation.inputs["features"], expected[30:40])
    np.testing.assert_array_equal(made.held_out.inputs["features"], expected[40:])
    np.testing.assert_array_equal(made.train.labels, [0, 1] * 15)
    assert made.labels == ("cat", "dog")


@ray
def test_a_wrong_value_is_named_with_its_file_and_row(ray_cluster: None, tmp_path: Path) -> None:
    WRITE[".jsonl"](FRAME, tmp_path / "a.jsonl")
    WRITE[".jsonl"](FRAME.assign(height=[*range(10), None, *range(49)]), tmp_path / "b.jsonl")
    place = re.escape(f"row 10 of {tmp_path}/b.jsonl")
    with pytest.raises(DataError, match=f"column 'height' must have a value in every row, got none in {place}"):
        load(tmp_path, kind="table", train=str(tmp_path))
    with pytest.raises(DataError, match=f"column 'height' must have a value in every row, got none in .*{tmp_path}"):
        load(tmp_path, kind="table", train=str(tmp_path), stream=True)


@ray
def test_a_streamed_table_is_split_and_scaled_as_numpy_does(ray_cluster: None, tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": np.arange(3000.0), "b": np.arange(3000) % 7, "label": ["x", "y", "z"] * 1000})
    for number in range(2):
        WRITE[".csv"](frame[number::2], tmp_path / f"{number}.csv")
    made = load(tmp_path, kind="table", train=str(tmp_path), held_out=0.2, stream=True)
    assert made.stream is not None
    assert made.labels == ("x", "y", "z")
    trained = streaming.opened(made.stream, 0).take_batch(3000)["input.features"][:, 0]
    held_out, validation = (each.inputs["features"][:, 0] for each in (made.held_out, made.validation))
    assert sorted([*trained, *validation, *held_out]) == list(range(3000))
    assert len(trained) == len(made.stream)
    assert len(held_out) == pytest.approx(600, abs=60)
    assert len(validation) == pytest.approx(240, abs=40)
    assert set(made.train.inputs["features"][:, 0]) <= set(trained)
    np.testing.assert_array_equal(made.held_out.labels, held_out.astype(int) % 3)
    features = frame[["a", "b"]].to_numpy()
    assert made.offset is not None
    assert made.scale is not None
    np.testing.assert_allclose(made.offset, features.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(made.scale, features.std(axis=0), rtol=1e-6)
    the_teacher_answers_once(made)


def the_teacher_answers_once(made: Dataset) -> None:
    assert made.stream is not None
    teacher = nn.Linear(2, 3)
    answered, again = (streaming.answered(made.stream, made.train, teacher, num_actors=1) for _ in range(2))
    assert answered == again
    rows = streaming.opened(answered, 0).take_batch(len(made.stream))
    assert len(rows["label"]) == len(made.stream)
    expected = teacher(torch.from_numpy(np.array(rows["input.features"]))).detach().numpy()
    np.testing.assert_allclose(rows["logits"], expected, rtol=1e-4, atol=1e-4)


def draw(folder: Path, number: int) -> None:
    """Ten pictures of each class, of one grey each, larger than what the model takes."""
    for kind, grey in {"dark": 0, "light": 200}.items():
        (folder / kind).mkdir(parents=True, exist_ok=True)
        for index in range(number):
            Image.new("RGB", (12, 10), (grey + index,) * 3).save(folder / kind / f"{index}.png")


@ray
@pytest.mark.parametrize("stream", [False, True])
def test_pictures_are_resized_and_named_by_their_folder(ray_cluster: None, tmp_path: Path, stream: bool) -> None:
    draw(tmp_path / "pictures", 10)
    made = load(tmp_path, kind="pictures", train=f"{tmp_path}/pictures", height=4, width=6, stream=stream)
    for split in (made.train, made.validation, made.held_out):
        greys = split.inputs["image"]
        assert greys.shape[1:] == (3, 4, 6)
        np.testing.assert_array_equal(greys[:, 0, 0, 0] >= 200, split.labels == 1)
    assert len(made.train) + len(made.validation) + len(made.held_out) == 20
    assert made.labels == ("dark", "light")


@ray
def test_an_unreadable_picture_is_named(ray_cluster: None, tmp_path: Path) -> None:
    draw(tmp_path / "pictures", 3)
    broken = tmp_path / "pictures" / "dark" / "1.png"
    broken.write_bytes(broken.read_bytes()[:45])
    with pytest.raises(DataError, match=f"{re.escape(str(broken))} must be a picture: .*; mend or remove it"):
        load(tmp_path, kind="pictures", train=f"{tmp_path}/pictures", height=4, width=6)


def test_parts_of_one_file_decide_and_report(tmp_path: Path) -> None:
    for name, num in {"train": 40, "test": 10}.items():
        pixels = np.arange(num, dtype=np.uint8)[:, None, None].repeat(16, 1).reshape(num, 4, 4)
        np.savez(tmp_path / f"{name}.npz", x=pixels, y=np.arange(num) % 2)
    test = f"{tmp_path}/test.npz"
    size = {"height": 4, "width": 4}
    parts = {"validation": f"{test}[:4]", "held_out": f"{test}[4:]"}
    made = load(tmp_path, kind="pictures", train=f"{tmp_path}/train.npz", **parts, **size)
    assert made.validation.inputs["image"][:, 0, 0, 0].tolist() == [0, 1, 2, 3]
    assert made.held_out.inputs["image"][:, 0, 0, 0].tolist() == [4, 5, 6, 7, 8, 9]
    assert len(made.train) == 40
    with pytest.raises(DataError, match=re.escape("test.npz[10:] must hold pictures, got none")):
        load(tmp_path, kind="pictures", train=f"{tmp_path}/train.npz", held_out=f"{test}[10:]", **size)


def test_a_folder_without_pictures_is_named(tmp_path: Path) -> None:
    draw(tmp_path, 1)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty must hold pictures .*, got none"):
        load(tmp_path, kind="pictures", train=str(tmp_path), height=4, width=6)


def squares(number: int = 30, label: float = 1) -> TorchDataset[tuple[Tensor, ...]]:
    inputs = torch.arange(float(number)).repeat(4, 1).T
    return TensorDataset(inputs, (torch.arange(number) % 2) * label)


def test_a_torch_dataset_comes_by_import_path(tmp_path: Path) -> None:
    made = load(
        tmp_path,
        kind="torch",
        train=f"{__name__}:squares",
        kwargs={"number": 20},
        validation_kwargs={"number": 4},
        held_out_kwargs={"number": 10},
        classes=["even", "odd"],
    )
    np.testing.assert_array_equal(made.train.inputs["input"], np.arange(20, dtype=np.float32)[:, None].repeat(4, 1))
    np.testing.assert_array_equal(made.validation.labels, np.arange(4) % 2)
    np.testing.assert_array_equal(made.held_out.labels, np.arange(10) % 2)
    assert made.labels == ("even", "odd")


@pytest.mark.parametrize("label", [-1, 0.5])
def test_a_label_that_is_no_class_is_named_with_its_item(tmp_path: Path, label: float) -> None:
    rule = f"item 1 must have a whole number of at least 0 as its label, got {label}"
    with pytest.raises(DataError, match=re.escape(rule)):
        load(tmp_path, kind="torch", train=f"{__name__}:squares", kwargs={"label": label})


@pytest.mark.parametrize("is_dictionary", [True, False])
def test_a_huggingface_dataset_comes_from_a_folder(tmp_path: Path, is_dictionary: bool) -> None:
    rows = {"train": FRAME[:30], "validation": FRAME[30:40], "test": FRAME[40:]}
    splits = {name: datasets.Dataset.from_pandas(frame, preserve_index=False) for name, frame in rows.items()}
    if is_dictionary:
        datasets.DatasetDict(splits).save_to_disk(tmp_path)
    else:
        for name, split in splits.items():
            split.to_parquet(tmp_path / f"{name}.parquet")
    made = load(tmp_path, kind="huggingface", name=str(tmp_path), validation="validation", held_out="test")
    expected = FRAME[["width", "height"]].to_numpy(np.float32)
    np.testing.assert_array_equal(made.train.inputs["features"], expected[:30])
    np.testing.assert_array_equal(made.validation.inputs["features"], expected[30:40])
    np.testing.assert_array_equal(made.held_out.inputs["features"], expected[40:])
    with pytest.raises(DataError, match="data has no column 'kind'; known are width, height, label"):
        load(tmp_path, kind="huggingface", name=str(tmp_path), held_out="test", label="kind")
