"""What a recipe's `model` and `student` may say: architectures of ours, of Hugging Face, or by import path."""

from typing import Annotated, Any, Literal

from pydantic import Field

from optimization.recipe.settings import Count, Fraction, ImportPath, Index, Odd, Part, Settings, Widths, rule


class _Architecture(Settings):
    weights: str | None = None
    """State dict to begin with: .safetensors, or a .pt, .pth or .th that holds tensors alone; none begins at random."""


class Mlp(_Architecture):
    """Fully connected layers with ReLU between them."""

    kind: Literal["mlp"]
    """Selects this architecture."""
    hidden: Widths
    """Units of each hidden layer, from input to output."""


class Cnn(_Architecture):
    """Blocks of convolution, ReLU and max pooling over 2, then fully connected layers; for images and signals."""

    kind: Literal["cnn"]
    """Selects this architecture."""
    channels: Widths
    """Channels of each block, from input to output; each block halves the image's sides."""
    hidden: Widths
    """Units of each hidden fully connected layer."""
    kernel: Annotated[int, Field(ge=1, multiple_of=1), rule("be a whole number of at least 1")] = 3
    """Side of the convolutions' kernels, odd."""


class Resnet(_Architecture):
    """A residual network for small pictures; shortcuts subsample and pad with zeros (arXiv:1512.03385, 4.2)."""

    kind: Literal["resnet"]
    """Selects this architecture."""
    depth: Annotated[int, Field(ge=8), rule("be 6 n + 2: 8, 14, 20, 32, 44, 56, 110, ...")] = 20
    """Layers with weights: 6 n + 2."""
    width: Count = 16
    """Channels of the first stage; the next two double it."""


class TorchModel(_Architecture):
    """A torch module by import path; it takes the data's tensors in order and gives logits."""

    kind: Literal["torch"]
    """Selects this architecture."""
    name: ImportPath
    """A class or function, such as `torchvision.models:resnet18`."""
    kwargs: dict[str, Any] = Field(default={})
    """What it is called with."""


class HuggingFaceModel(_Architecture):
    """A model of Hugging Face (extra `hf`) with the classifier it was fine-tuned with, or with a new one.

    It is a text encoder, or where the data are pictures, of the size that it takes, a classifier of pictures.
    """

    kind: Literal["huggingface"]
    """Selects this architecture."""
    name: str
    """Hub name or local folder: its configuration, and its weights unless `pretrained` is false."""
    pretrained: bool = True
    """Whether to begin with its weights; else at random."""
    head: Literal["own", "new"] = "own"
    """The classifier: its own, with its classes, where it was fine-tuned with one; or a new one, to be trained."""
    labels: Annotated[tuple[str, ...], Field(min_length=2)] | None = None
    """What the data call the classes of its own classifier, in the order of its outputs; none takes its own names. Of
    one with one logit, the class below 0.5 first."""
    pooling: Literal["mean", "first"] | None = None
    """What a new classifier of texts sees: the mean over the text's tokens, or the first; none takes the mean."""
    dropout: Fraction | None = None
    """Share of values dropped before a new classifier of texts in training; none drops 0.1."""
    overrides: dict[str, Any] = Field(default={})
    """Changes to its configuration, such as `num_hidden_layers: 3`."""
    code: str | None = None
    """Of a model that comes with Python code of its own: the class that may be run, as its config.json names it in
    `auto_map`, such as `modeling_x.XForSequenceClassification`. None runs no such code."""


class TeacherLayers(Settings):
    """A student made of some of the teacher's layers, with their weights, and of all that is no layer."""

    kind: Literal["teacher_layers"]
    """Selects this architecture."""
    keep: Annotated[tuple[Index, ...], Field(min_length=1), rule("be a list of layers, counted from 0")]
    """The layers to keep, counted from 0."""
    vocabulary: Count | None = None
    """Tokens of a text encoder to keep embeddings of: the data's, frequent ones first, then the first; others are read
    as the kept one most alike; none keeps all."""
    activation: Literal["relu", "gelu"] | None = None
    """In place of theirs: ReLU is fast on CPUs, and more so in INT8; none keeps theirs."""
    feed_forward: Part = 1.0
    """Share of their feed-forward units to keep, in (0, 1], those of the largest weights."""
    heads: Part = 1.0
    """Share of their attention heads to keep, in (0, 1], those of the largest weights."""
    dropout: Fraction | None = None
    """Share of values dropped in training; a small student that learns from many examples needs none. None keeps the
    teacher's."""


class _LightText(Settings):
    """A text classifier without attention, whose embeddings are the teacher's."""

    dim: Count = 192
    """Numbers of an embedding: as many as the teacher's, or fewer, in the directions that tell most of the data."""
    vocabulary: Count | None = None
    """As for `teacher_layers`: tokens to keep embeddings of; none keeps all."""
    dropout: Fraction = 0.1
    """Share of the embeddings' and of the last values dropped in training."""


class TextCnn(_LightText):
    """Convolutions over tokens, then each channel's largest value and its mean (Kim 2014, arXiv:1408.5882).

    They are gated, and from the second on what they find is added (Dauphin 2017, arXiv:1612.08083).
    """

    kind: Literal["text_cnn"]
    """Selects this architecture."""
    channels: Count = 192
    """Channels of each convolution."""
    layers: Count = 3
    """Convolutions, one upon the other."""
    kernel: Odd = 3
    """Tokens that a convolution sees at once, odd."""


class BagOfNgrams(_LightText):
    """The mean of the embeddings of tokens and of n-grams, then one layer (Joulin 2016, arXiv:1607.01759)."""

    kind: Literal["bag_of_ngrams"]
    """Selects this architecture."""
    longest: Annotated[int, Field(ge=1, le=5, strict=True), rule("be a whole number in [1, 5]")] = 2
    """Tokens of the longest n-grams; 1 sees tokens alone, without their order."""
    buckets: Count = 65536
    """Embeddings that n-grams of two and more tokens share, by their hash; they begin at zero."""


Model = Annotated[Mlp | Cnn | Resnet | TorchModel | HuggingFaceModel, Field(discriminator="kind")]
Student = Annotated[
    Mlp | Cnn | Resnet | TorchModel | HuggingFaceModel | TeacherLayers | TextCnn | BagOfNgrams,
    Field(discriminator="kind"),
]
