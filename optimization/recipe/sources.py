"""What a recipe's `data` may say: data that packages carry, tables, pictures, and whatever code can give."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from optimization.artifact.manifest import LabelledKind
from optimization.recipe.settings import Count, ImportPath, Index, Part, Ratio, Settings, misfit, rule

TABLE_ENDINGS = (".csv", ".tsv", ".jsonl", ".parquet")
Channels = Annotated[tuple[float, ...], Field(min_length=1, max_length=3), rule("be a list of one or three numbers")]


class _Source(Settings):
    @property
    def sides(self) -> tuple[int, ...] | None:
        """Height and width of an image, or the length of a signal; none where a sample is neither."""
        return None

    @property
    def is_text(self) -> bool:
        """Whether the samples are texts."""
        return getattr(self, "text", None) is not None


class Digits(_Source):
    """scikit-learn's handwritten digits: 1797 images of 8 x 8 pixels, ten classes."""

    kind: Literal["digits"]
    """Selects this data."""
    held_out: Ratio = 1 / 3
    """Fraction of the examples kept from training, in (0, 1); every quality is measured on it."""
    validation: Ratio = 0.1
    """Fraction of the other examples that decide between models and teach none, in (0, 1)."""
    shifts: bool = False
    """Whether each training image is also given shifted by one pixel up, down, left and right."""

    @property
    def sides(self) -> tuple[int, ...] | None:
        """Height and width."""
        return (8, 8)


class BreastCancer(_Source):
    """scikit-learn's breast cancer data: 569 tumours, malignant or benign."""

    kind: Literal["breast_cancer"]
    """Selects this data."""
    held_out: Ratio = 1 / 3
    """Fraction of the examples kept from training, in (0, 1); every quality is measured on it."""
    validation: Ratio = 0.1
    """Fraction of the other examples that decide between models and teach none, in (0, 1)."""
    num_features: Annotated[int, Field(ge=1, le=30, strict=True), rule("be a whole number in [1, 30]")] = 8
    """How many of the 30 features to use, counted from the first."""


class Mnist1d(_Source):
    """Digits as noisy signals of 40 values: 4000 to train on, 1000 held out (arXiv:2011.14439; extra `mnist1d`)."""

    kind: Literal["mnist1d"]
    """Selects this data."""
    validation: Ratio = 0.1
    """Fraction of the 4000 that decide between models and teach none, in (0, 1)."""
    unlabelled: Annotated[int, Field(ge=0, multiple_of=10, strict=True), rule("be a multiple of 10")] = 0
    """Further signals that nobody labelled: students learn the teacher's answers to them."""

    @property
    def sides(self) -> tuple[int, ...] | None:
        """A sample is a signal."""
        return (40,)


class _Files(_Source):
    held_out: Ratio | str = 0.2
    """Fraction of the examples kept from training, in (0, 1), or where the held-out examples lie."""
    validation: Ratio | str = 0.1
    """Fraction of the others that decide between models and teach none, in (0, 1), or where such examples lie."""
    share: Part = 1.0
    """Fraction of the training examples to use, in (0, 1]; the classes keep their proportion."""


class Phrases(Settings):
    """Further texts, made of the training texts: students learn the teacher's answers to them (arXiv:1903.12136)."""

    num: Count
    """How many."""
    joints: Annotated[tuple[str, ...], Field(min_length=1), rule("be a list of words or signs")] = (",", ".", ";")
    """What stands between the texts that one is made of."""


class _Columns(_Files):
    task: LabelledKind = "classification"
    """What a model of it is for: one class a sample, any number of labels (multi_label), a number (regression), a
    class a word (token_classification), or a vector near those of its own label (embedding),
    or a score that puts the candidates of a query in order (ranking)."""
    query: str | None = None
    """Column of what a candidate is one of, where data.task is ranking; candidates of one query stay together."""
    embedding: Count | None = None
    """Numbers of a vector, where data.task is embedding; none takes those of the teacher's states, a text encoder's."""
    label: str = "label"
    """Column of the class, or of what a vector belongs with, a name or a number; of labels, a list or one text with |
    between them; of the number, or relevance; or of the classes of the words, a list or one text with spaces in
    between."""
    features: tuple[str, ...] | None = None
    """Columns of numbers; none takes all but the label."""
    text: str | None = None
    """Column of text, instead of features; where each word has a class, a list of words or a text of them."""
    tokenizer: str | None = None
    """For text: a tokenizer.json, a folder that holds one, or a Hugging Face hub name."""
    max_length: Count = 128
    """Tokens of a text, special ones included; what is longer is cut."""
    phrases: Phrases | None = None
    """Texts without a label to learn the teacher's answers to; none makes none."""

    @model_validator(mode="after")
    def _made_for_classes(self) -> Self:
        if self.task != "classification" and self.phrases is not None:
            raise misfit("data.phrases must be left out where data.task is not classification", self.task)
        return self

    @model_validator(mode="after")
    def _known_to_the_task(self) -> Self:
        if self.task == "token_classification" and self.text is None:
            raise misfit("data.text must name a column of words where data.task is token_classification", self.text)
        if (self.task == "ranking") != (self.query is not None):
            rule = "data.query must name a column where data.task is ranking, and be left out elsewhere"
            raise misfit(rule, self.query)
        if self.task != "embedding" and self.embedding is not None:
            raise misfit("data.embedding must be left out where data.task is not embedding", self.embedding)
        return self


class _Streamed(_Files):
    stream: bool = False
    """Whether training examples stay on disk and are streamed to the workers, since memory cannot hold them all."""


class Table(_Streamed, _Columns):
    """A CSV, TSV, JSONL or Parquet file, read through Ray Data: columns of numbers, or one of text."""

    kind: Literal["table"]
    """Selects this data."""
    train: str
    """The file, or a folder of such files."""

    @model_validator(mode="after")
    def _text_or_features(self) -> Self:
        if self.task != "classification" and self.stream:
            raise misfit("data.stream must be false where data.task is not classification", self.task)
        if self.text is not None and self.features is not None:
            raise misfit("data.features must be left out where data.text is set", self.features)
        if self.text is not None and self.tokenizer is None:
            raise misfit("data.tokenizer must be set where data.text is set", self.tokenizer)
        if self.phrases is not None and (self.text is None or self.stream):
            alone = "where data.text is not set" if self.text is None else "where data.stream is true"
            raise misfit(f"data.phrases must be left out {alone}", self.phrases.num)
        return self


class Pictures(_Streamed):
    """A folder of one folder per class, or an .npz of `x` (bytes, [samples, height, width(, channels)]) and `y`."""

    kind: Literal["pictures"]
    """Selects this data."""
    train: str
    """The folder, or the .npz; `file.npz[:2500]` takes its first 2,500 pictures, `file.npz[2500:]` the others."""
    height: Count
    """Pixels of a picture; those of a folder are resized to it."""
    width: Count
    """Pixels of a picture."""
    mean: Channels = (0.5,)
    """Subtracted from pixels in [0, 1], by channel."""
    std: Channels = (0.5,)
    """Divides them then, by channel."""
    shift: Index = 0
    """Pixels a training picture is moved at most, at random in each epoch, zeros coming in."""
    flip: bool = False
    """Whether half of the training pictures are mirrored, at random in each epoch."""

    @property
    def sides(self) -> tuple[int, ...] | None:
        """Height and width."""
        return (self.height, self.width)


class TorchData(_Files):
    """A torch Dataset by import path: its items are (input, label) or (inputs by name, label).

    Where the Dataset has `classes`, they name the classes, and where it has `preprocessing`, raw input is made so.
    """

    kind: Literal["torch"]
    """Selects this data."""
    train: ImportPath
    """What gives the Dataset, such as `package.module:function`."""
    kwargs: dict[str, Any] = Field(default={})
    """What it is called with."""
    held_out_kwargs: dict[str, Any] | None = None
    """What it is called with for the held-out examples; none takes the fraction `held_out`."""
    validation_kwargs: dict[str, Any] | None = None
    """What it is called with for the examples that decide; none takes the fraction `validation`."""
    classes: tuple[str, ...] | None = None
    """Names of the classes; none takes the Dataset's own `classes`, else numbers them."""
    task: LabelledKind = "classification"
    """What a model of it is for; a label of multi_label is as many zeros and ones as there are labels. Words
    with classes, vectors and candidates are for tables and Hugging Face datasets alone."""
    quality: Literal["accuracy", "agreement"] = "accuracy"
    """What the share of equal classes is called: agreement where the labels are a model's own answers."""

    @model_validator(mode="after")
    def _labels_of_whole_samples(self) -> Self:
        if self.task in ("token_classification", "embedding", "ranking"):
            raise misfit(f"data.kind must be table or huggingface where data.task is {self.task}", self.kind)
        return self


class HuggingFaceData(_Columns):
    """A Hugging Face dataset, by hub name or local folder (extra `hf`): columns as in a table."""

    kind: Literal["huggingface"]
    """Selects this data."""
    name: str
    """Hub name, or a folder that `save_to_disk` or `load_dataset` knows."""
    config: str | None = None
    """The dataset's configuration, such as "sst2" of "glue"."""
    train: str = "train"
    """Name of the split to train on; `validation` and `held_out` may name others."""


Data = Annotated[
    Digits | BreastCancer | Mnist1d | Table | Pictures | TorchData | HuggingFaceData, Field(discriminator="kind")
]


def is_streamed(data: Data) -> bool:
    """Whether training examples stay on disk."""
    return isinstance(data, Table | Pictures) and data.stream


def is_read_by_ray(data: Data) -> bool:
    """Whether reading the data takes a cluster."""
    return isinstance(data, Table) or (isinstance(data, Pictures) and not part_of(data.train)[0].endswith(".npz"))


def files(data: Data) -> dict[str, Path]:
    """Files and folders that hold the data, by the setting that names them."""
    if not isinstance(data, Table | Pictures):
        return {}
    named = {"train": data.train, "validation": data.validation, "held_out": data.held_out}
    return {field: Path(part_of(name)[0]) for field, name in named.items() if isinstance(name, str)}


def part_of(name: str) -> tuple[str, slice]:
    """The file that `name` speaks of and which of its examples: `file.npz[:2500]`; without brackets, all of them."""
    found = re.fullmatch(r"(.+\.npz)\[(\d*):(\d*)\]", name)
    if found is None:
        return name, slice(None)
    path, *ends = found.groups()
    return path, slice(*(int(end) if end else None for end in ends))


def missing(data: Data) -> list[str]:
    """Files the settings name that are not there, as `data.train must exist, got 'x.csv'`."""
    paths = dict(files(data))
    tokenizer = getattr(data, "tokenizer", None)
    if isinstance(data, Table) and tokenizer is not None and _is_local(tokenizer):
        paths["tokenizer"] = Path(tokenizer)
    return [f"data.{field} must exist, got {str(path)!r}" for field, path in paths.items() if not path.exists()]


def _is_local(tokenizer: str) -> bool:
    """Whether a tokenizer's name is a path: else it lies on the hub, as "owner/name"."""
    return tokenizer.endswith(".json") or tokenizer.startswith((".", "/", "~")) or tokenizer.count("/") > 1
