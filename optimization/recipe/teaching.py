"""What a recipe may say of how a student learns from its teacher: from its outputs, and from states inside it."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from optimization.recipe.settings import Count, Index, Positive, Settings, Share


class _Transfer(Settings):
    weight: Positive = 1.0
    """Weight in the loss, beside outputs and labels, which weigh 1 together."""


class Hidden(_Transfer):
    """What enters the first layer of a transformer and leaves each layer (TinyBERT: Jiao 2020, arXiv:1909.10351).

    The loss is the squared difference, as a share of the teacher's square. Where widths differ, the student's states
    are projected to the teacher's; the projection is learned, and thrown away.
    """

    kind: Literal["hidden"]
    """Selects this transfer."""
    layers: Annotated[tuple[Index, ...], Field(min_length=1)] | None = None
    """The teacher's layer for each of the student's, counted from 0; spread evenly where left out."""


class Attention(_Transfer):
    """Where a transformer's last attention looks, and how its values relate (MiniLM: Wang 2020, arXiv:2002.10957).

    The loss is the sum of both KL divergences, averaged over relation heads and positions.
    """

    kind: Literal["attention"]
    """Selects this transfer."""
    relation_heads: Count | None = None
    """Heads that queries, keys and values are split into anew; the most that fit both models where left out."""


class Pooled(_Transfer):
    """The state that the classifier sees: what enters the last fully connected layer.

    The loss is as for `hidden`. Where nothing else is transferred and pictures stand still, the teacher is asked once.
    """

    kind: Literal["pooled"]
    """Selects this transfer."""


class Features(_Transfer):
    """What leaves each stage of a convolutional network, a stage being the layers of one picture size.

    Stages of the same size are paired (FitNets: Romero 2015, arXiv:1412.6550). The loss is as for `hidden`.
    """

    kind: Literal["features"]
    """Selects this transfer."""


Transfer = Annotated[Hidden | Attention | Pooled | Features, Field(discriminator="kind")]


def _once_each(transfers: tuple[Transfer, ...]) -> tuple[Transfer, ...]:
    kinds = [each.kind for each in transfers]
    if len(set(kinds)) < len(kinds):
        raise PydanticCustomError("rule", "must name each kind once")
    return transfers


Transfers = Annotated[tuple[Transfer, ...], AfterValidator(_once_each)]


class Teaching(Settings):
    """What a student learns from its teacher."""

    temperature: Positive = 2.0
    """Softens the teacher's and the student's outputs; 1 leaves them as they are."""
    alpha: Share = 0.7
    """Weight of the teacher's outputs in the loss, in [0, 1]; the labels weigh the rest."""
    soft_loss: Literal["kl", "mse"] = "kl"
    """How outputs are compared: softened probabilities, or logits as they are (Kim 2021, arXiv:2105.08919)."""
    transfer: Transfers = ()
    """States inside the teacher to learn as well: `hidden`, `attention`, `pooled`, `features`."""
