"""What `manifest.json` of an artifact holds: inputs and outputs, what was measured, and how raw input gets in."""

from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from optimization.artifact.cascade import Cascade
from optimization.artifact.findings import Findings
from optimization.artifact.reference.reference import Fidelity, Reference

SCHEMA_VERSION = 1

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$"

Datatype = Literal[
    "BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "BF16", "FP32", "FP64",
    "BYTES",
]  # fmt: skip
"""Tensor element types, as the Open Inference Protocol names them."""

Meaning = Literal["logits", "probabilities", "boxes", "values"]
"""What an output is: logits become probabilities by a softmax, or by a sigmoid where there is one; values are numbers
that stand for themselves."""

LabelledKind = Literal["classification", "multi_label", "regression", "token_classification", "embedding", "ranking"]
"""What a model of labelled examples is for: one class a sample, any number of labels, a number, a class a word, a
vector, or a place among candidates."""

TaskKind = LabelledKind | Literal["text_pairs"]
"""What a model is for; a text for a text is what the others are not."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class TensorSpec(_Model):
    """One input or output of the model."""

    name: str
    datatype: Datatype
    shape: tuple[int | str, ...]
    """Sizes; a name such as "batch" stands for a dynamic dimension. The first dimension is the batch."""
    meaning: Meaning | None = None
    """What an output is; none where nobody has said, and for inputs."""


class Quality(_Model):
    """A quality with its 95 % confidence interval."""

    metric: str
    """What was measured, such as "accuracy"."""
    value: float
    low: float
    high: float
    num_samples: int
    """Held-out examples it was measured on."""
    is_share: bool = True
    """Whether it lies in [0, 1] or [-1, 1]; else it is in units of its own, as an error is."""
    lower_is_better: bool = False


class Measurement(_Model):
    """What one step left behind, measured on the machine named in the manifest."""

    step: str
    """"teacher", "control", or the kind of the recipe's step: "distill", "prune", "quantize", ..."""
    precision: Literal["FP32", "INT8", "FP16"] | None = None
    """Numbers that its weights are kept in; nodes that INT8 costs too much stay in FP32. None where it is not known."""
    quality: Quality
    num_parameters: int
    """Weights in the model; zeros count."""
    sparsity: float = 0.0
    """Fraction of weights that are zero."""
    size_bytes: int
    """Bytes of the one-file ONNX model."""
    latency_s: dict[int, float]
    """Median seconds a call takes in ONNX Runtime with one thread, by batch size."""
    latency_interval_s: dict[int, tuple[float, float]] = {}
    """95 % interval of that median, by batch size."""


class Machine(_Model):
    """Where latency was measured."""

    cpu: str
    num_cpus: int
    gpu: str | None = None


class TextPreprocessing(_Model):
    """Text becomes the int64 tensors `input_ids` and `attention_mask`, padded to the longest of its batch."""

    kind: Literal["text"] = "text"
    tokenizer: str = "tokenizer.json"
    """The artifact's file for Hugging Face's `tokenizers`; it pads and adds the special tokens as it says."""
    max_length: int = Field(ge=1)
    """Tokens beyond this many, special ones among them, are cut off."""
    input: str = "text"
    """Name of the BYTES tensor that raw requests carry, of shape [batch]."""


class PicturePreprocessing(_Model):
    """A JPEG or PNG becomes one float32 tensor: resized, cropped at the centre, scaled to [0, 1], normalised."""

    kind: Literal["picture"] = "picture"
    input: str = "image"
    """Name of the BYTES tensor that raw requests carry, of shape [batch]; one encoded picture per element."""
    height: int = Field(ge=1)
    width: int = Field(ge=1)
    channels: Literal[1, 3] = 3
    """1 makes it grey, 3 RGB."""
    resize: int | None = Field(default=None, ge=1)
    """Pixels of the shorter side before the crop; without it, the picture is stretched to height and width."""
    mean: tuple[float, ...] = (0.0,)
    """Subtracted from each channel after scaling to [0, 1]; one number stands for all channels."""
    std: tuple[float, ...] = (1.0,)
    """Divides each channel after that; one number stands for all channels."""
    layout: Literal["NCHW", "NHWC"] = "NCHW"

    @model_validator(mode="after")
    def _fits(self) -> Self:
        for name, numbers in (("mean", self.mean), ("std", self.std)):
            if len(numbers) not in (1, self.channels):
                raise ValueError(f"{name} must have 1 or {self.channels} numbers, got {len(numbers)}")
        if self.resize is not None and self.resize < max(self.height, self.width):
            raise ValueError(f"resize must be at least height and width, got {self.resize}")
        return self


Preprocessing = Annotated[TextPreprocessing | PicturePreprocessing, Field(discriminator="kind")]


class FileEntry(_Model):
    """Size and digest of one file of the artifact."""

    size_bytes: int
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class Provenance(_Model):
    """What an artifact was made of, as digests: whether it is up to date, and what it may be compared on."""

    named: dict[str, str]
    """Files, folders, code and packages that the recipe names, by the setting that names them, such as `data.train`."""
    held_out_sha256: str
    """The held-out examples that the qualities were measured on: tensors and labels, in their order."""
    code_sha256: str
    """Trimtab's own sources and version."""


class Stream(_Model):
    """How a model that answers step by step is driven: outputs of one step become inputs of the next."""

    carry: dict[str, str]
    """The input that each such output becomes: the state, and what the model writes if it reads it again."""
    emit: tuple[str, ...] = Field(min_length=1)
    """Outputs that a client is given after each step."""
    until: dict[str, int] = {}
    """The value of an output, such as the token that ends a text, after which there is no further step."""
    max_steps: int = Field(default=256, ge=1)
    """Most steps of one answer."""


class SplitInput(_Model):
    """An input that is rows of a table, which was split off a graph or trained apart from it."""

    rows: str
    """The input, of shape [*ids, width]."""
    ids: TensorSpec
    """What they are looked up by."""
    num_rows: int = Field(ge=1)
    """Ids are 0 to this many - 1."""


class Part(_Model):
    """One graph of an artifact."""

    file: str = "model.onnx"
    """The artifact's ONNX file."""
    weights: tuple[str, ...] = ()
    """The artifact's files that the graph keeps weights in, beside itself: of a graph beyond 2 GB, ONNX wants that."""
    inputs: tuple[TensorSpec, ...]
    """Each is an input of the model, or an output of an earlier part."""
    outputs: tuple[TensorSpec, ...]

    @property
    def files(self) -> tuple[str, ...]:
        """The graph and its weights."""
        return (self.file, *self.weights)


class Signature(_Model):
    """That the owner of a key stands for the artifact; `optimization.artifact.signature` makes and checks it."""

    key: str
    """The public key."""
    signature: str
    """Of all of the manifest but its signatures, in base64."""


class Manifest(_Model):
    """Everything known of an artifact; `manifest.json` is this, as JSON."""

    schema_version: int = SCHEMA_VERSION
    name: str = Field(pattern=NAME_PATTERN)
    version: str = Field(pattern=r"^[1-9][0-9]*$")
    created: datetime
    recipe: dict[str, Any] | None = None
    """The recipe that made it; none for a model that came ready as ONNX."""
    recipe_sha256: str | None = None
    provenance: Provenance | None = None
    """What the recipe made it of; none for a model that came ready as ONNX."""
    parent: str | None = None
    """`name/version` of the artifact this one was made from: its teacher, where that is one."""
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    task: TaskKind | None = None
    """What it is for; none where nobody has said."""
    labels: tuple[str, ...] | None = None
    """Names of the classes, in the order of the output's last dimension."""
    measurements: tuple[Measurement, ...] = ()
    """Teacher, no-teacher control and each step, in the order they ran; the last one is what is served."""
    parity: float | None = None
    """Largest absolute difference between the outputs of the fp32 ONNX model and of the model it was exported from."""
    agreement: float | None = None
    """Fraction of held-out examples on which the served model and its fp32 form give the same class."""
    machine: Machine | None = None
    reference: Reference | None = None
    """What it was asked and what it answered on held-out examples; none where that is not known: then no drift of what
    is served can be told."""
    fidelity: Fidelity | None = None
    """How often it answers as its teacher; none where it has none."""
    preprocessing: Preprocessing | None = None
    """How raw input becomes the model's tensors; none for a model that takes tensors alone."""
    stream: Stream | None = None
    """How it is driven step by step; none for a model that answers at once."""
    cascade: Cascade | None = None
    """When it is sure enough to answer without its teacher; none where that was not measured."""
    embeddings: tuple[SplitInput, ...] = ()
    """Inputs whose rows come from tables that the artifact does not hold."""
    libraries: dict[str, str] = {}
    findings: Findings = Findings()
    """Curves, comparisons, confusions, layers and the search: what a report shows besides the measurements."""
    files: dict[str, FileEntry]
    signatures: tuple[Signature, ...] = ()
    """Who stands for it."""
    parts: tuple[Part, ...] = ()
    """Its graphs, in the order they run; where none is listed there is one, `model.onnx`, with the inputs and outputs
    of the model."""

    @property
    def graphs(self) -> tuple[Part, ...]:
        """The parts, or the one that stands for none."""
        return self.parts or (Part(inputs=self.inputs, outputs=self.outputs),)

    @property
    def model_bytes(self) -> int:
        """Size of its graphs and their weights."""
        return sum(self.files[name].size_bytes for name in {name for part in self.graphs for name in part.files})

    def of_part(self, number: int) -> "Manifest":
        """The manifest of an artifact that is that part alone, the first being 1: what it takes and gives, its files.

        What is known of the whole model's answers, such as labels, stays with the part that gives them; how raw input
        is prepared, with one that takes what the model takes.
        """
        part = self.graphs[number - 1]
        others = {name for each in self.graphs for name in each.files} - set(part.files)
        answers = self.outputs[0].name in {spec.name for spec in part.outputs}
        takes_all = {spec.name for spec in part.inputs} == {spec.name for spec in self.inputs}
        return self.model_copy(
            update={
                "inputs": part.inputs,
                "outputs": part.outputs,
                "parts": (part,),
                "files": {name: entry for name, entry in self.files.items() if name not in others},
                "preprocessing": self.preprocessing if takes_all else None,
                "labels": self.labels if answers else None,
                "reference": None,
                "fidelity": None,
                "task": self.task if answers else None,
                "measurements": (),
                "stream": None,
            }
        )

    @model_validator(mode="before")
    @classmethod
    def _without_histograms(cls, raw: Any) -> Any:
        """Manifests of before `reference` have them; nothing reads them."""
        return {key: each for key, each in raw.items() if key != "histograms"} if isinstance(raw, dict) else raw

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        known = {spec.name: spec.datatype for spec in self.inputs}
        for part in self.graphs:
            for spec in part.inputs:
                if known.get(spec.name) != spec.datatype:
                    given = f"an input of the model or an output of an earlier part, of {spec.datatype}"
                    raise ValueError(f"parts: {part.file!r} needs {spec.name!r}, which must be {given}")
            known |= {spec.name: spec.datatype for spec in part.outputs}
        made = {spec.name: spec.datatype for part in self.graphs for spec in part.outputs}
        for spec in self.outputs:
            if made.get(spec.name) != spec.datatype:
                raise ValueError(f"parts: one of them must give the output {spec.name!r}, of {spec.datatype}")
        return self

    @model_validator(mode="after")
    def _stream_fits(self) -> "Manifest":
        if self.stream is None:
            return self
        given, taken = ({spec.name: spec for spec in specs} for specs in (self.outputs, self.inputs))
        for name in (*self.stream.carry, *self.stream.emit, *self.stream.until):
            if name not in given:
                raise ValueError(f"stream: outputs are {', '.join(given)}, got {name!r}")
        for out, into in self.stream.carry.items():
            if into not in taken or given[out].datatype != taken[into].datatype:
                raise ValueError(f"stream.carry: {out!r} must become an input of its own datatype, got {into!r}")
        return self
