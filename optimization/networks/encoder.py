"""A text encoder of Hugging Face with its own classifier, or with a new one on its pooled output."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from optimization.errors import RecipeError
from optimization.extras import require
from optimization.networks import fewer_tokens, own_head
from optimization.recipe.architectures import HuggingFaceModel
from optimization.tasks.task import LabelledTask

_SEE_ALL = ("albert", "bert", "camembert", "distilbert", "electra", "mpnet", "roberta", "xlm-roberta")
"""Families whose every layer sees the whole text, and takes a mask of any shape that fits."""
_WITH_POOLER = ("albert", "bert", "camembert", "mpnet", "roberta", "xlm-roberta")
"""Families with a pooler of their own, which would be trained for nothing: pooling is ours."""
_HIDDEN = -1e9
"""Added to the scores of padding, before the softmax."""
_DROPOUT = 0.1
"""Before a new classifier, unless told."""

Pooling = Literal["mean", "first", "none"]
"""What a classifier sees of a text: the mean over its tokens, the first one, or each by itself."""


class Encoder(nn.Module):
    """Token ids and their mask, of shape [batch, sequence], in; logits out."""

    rows: Tensor | None
    """Row of the embedding by token, where not every token has one of its own."""

    def __init__(
        self, body: Any, head: nn.Module | None = None, pooling: Pooling = "mean", dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.body = body
        self.pooling = pooling
        self.dropout = nn.Dropout(dropout)
        self.head = head
        """None where the body has its own, and gives logits."""
        self.register_buffer("rows", None)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Logits of shape [batch, outputs], or of each token where nothing is pooled."""
        input_ids = input_ids if self.rows is None else self.rows[input_ids]
        seen = attention_mask.to(torch.float32)
        mask = attention_mask if self.body.config.model_type not in _SEE_ALL else _added(seen)
        found = self.body(input_ids=input_ids, attention_mask=mask)
        if self.head is None:
            own: Tensor = found.logits
            return own
        states = found.last_hidden_state
        if self.pooling == "none":
            pooled = states
        elif self.pooling == "mean":
            pooled = (seen.unsqueeze(1) @ states).squeeze(1) / seen.sum(dim=1, keepdim=True)
        else:
            pooled = states[:, 0]
        logits: Tensor = self.head(self.dropout(pooled))
        return logits


def _added(seen: Tensor) -> Tensor:
    """What is added to scores of shape [batch, heads, positions, positions], of shape [batch, 1, 1, positions].

    transformers' own is exported as twenty operators in place of three, which a small student feels.
    """
    return (1 - seen[:, None, None, :]) * _HIDDEN


def keep_tokens(model: Encoder, data: NDArray[np.int64], size: int) -> None:
    """Leave the encoder, in place, embeddings of `size` tokens: the frequent ones of the data, then the first ones.

    Another token is read as the kept one whose embedding points most nearly where its own did.
    """
    whole = model.body.get_input_embeddings().weight.detach()
    kept, model.rows = fewer_tokens.choose(whole, data, size)
    model.body.set_input_embeddings(nn.Embedding(len(kept), whole.shape[1], _weight=whole[kept]))
    model.body.config.vocab_size = len(kept)


def build(config: HuggingFaceModel, task: LabelledTask, classes: Sequence[str], num_outputs: int) -> Encoder:
    """The encoder, with its published weights or at random, and its own head or a fresh one.

    Raises:
        RecipeError: there is no such model, its configuration does not know a setting, or its own classifier has other
            classes or outputs than those, or lacks weights.
    """
    transformers = require("transformers", extra="hf")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    described, own = own_head.describe(config), own_head.find(config, task)
    try:
        if own is not None:
            own_head.expect(config, own, classes, num_outputs)
            of_tokens, of_texts = (
                transformers.AutoModelForTokenClassification,
                transformers.AutoModelForSequenceClassification,
            )
            body = own_head.whole(of_tokens if task.is_by_token else of_texts, config, described)
            _take_types_in(body.base_model)
            return Encoder(body)
        extra = {"add_pooling_layer": False} if described.model_type in _WITH_POOLER else {}
        extra["trust_remote_code"] = config.code is not None
        if config.pretrained:
            body = transformers.AutoModel.from_pretrained(config.name, config=described, **extra)
        else:
            body = transformers.AutoModel.from_config(described, **extra)
    except (OSError, ValueError, TypeError, RuntimeError) as error:
        raise own_head.missing(config, error) from error
    _take_types_in(body)
    dropout = _DROPOUT if config.dropout is None else config.dropout
    if task.is_by_token and config.pooling is not None:
        raise RecipeError(f"model.pooling must be left out for data.task {task.kind}, got {config.pooling!r}")
    pooling: Pooling = "none" if task.is_by_token else config.pooling or "mean"
    width = body.config.hidden_size
    if own_head.gives_vectors(config, task, width, num_outputs):
        return Encoder(body, nn.Identity(), pooling, dropout)
    return Encoder(body, nn.Linear(width, num_outputs), pooling, dropout)


def _take_types_in(body: Any) -> None:
    """Add the first type of tokens, which is all that is ever read, to the positions, in place: one look-up less."""
    tables: Any = getattr(body, "embeddings", None)
    if body.config.model_type in _SEE_ALL and hasattr(tables, "token_type_embeddings"):
        with torch.no_grad():
            tables.position_embeddings.weight += tables.token_type_embeddings.weight[0]
        tables.token_type_embeddings = _Nothing()


class _Nothing(nn.Module):
    """Stands where something was looked up that is added."""

    def forward(self, _: Tensor) -> float:
        """Nothing to add."""
        return 0.0
