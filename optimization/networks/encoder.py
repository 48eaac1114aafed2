"""A text encoder of Hugging Face with a classifier on its pooled output."""

from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from optimization.architectures import HuggingFaceModel
from optimization.errors import RecipeError
from optimization.extras import require


class Encoder(nn.Module):
    """Token ids and their mask, of shape [batch, sequence], in; logits out."""

    ids: Tensor | None
    """Row of the embedding of each token, where the data have a vocabulary of their own."""

    def __init__(
        self, body: Any, pooling: str, dropout: float, num_outputs: int, vocabulary: NDArray[Any] | None = None
    ) -> None:
        super().__init__()
        self.body = body
        self.pooling = pooling
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(body.config.hidden_size, num_outputs)
        self.register_buffer("ids", None if vocabulary is None else torch.from_numpy(vocabulary), persistent=False)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Logits of shape [batch, outputs]."""
        input_ids = input_ids if self.ids is None else self.ids[input_ids]
        states = self.body(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        if self.pooling == "mean":
            counted = attention_mask.unsqueeze(2).to(states.dtype)
            pooled = (states * counted).sum(dim=1) / counted.sum(dim=1)
        else:
            pooled = states[:, 0]
        logits: Tensor = self.head(self.dropout(pooled))
        return logits


def own_vocabulary(model: nn.Module) -> None:
    """Leave an encoder, in place, the embeddings of its data's tokens alone."""
    if not isinstance(model, Encoder) or model.ids is None:
        return
    whole = model.body.get_input_embeddings()
    rows = whole.weight[model.ids].detach()
    model.body.set_input_embeddings(nn.Embedding(*rows.shape, _weight=rows))
    model.body.config.vocab_size = len(model.ids)
    model.ids = None


def build(config: HuggingFaceModel, num_outputs: int, vocabulary: NDArray[Any] | None = None) -> Encoder:
    """The encoder, with its published weights or at random, and a fresh classifier; its own vocabulary stays whole.

    Raises:
        RecipeError: there is no such model, or its configuration does not know a setting.
    """
    transformers = require("transformers", extra="hf")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        described = transformers.AutoConfig.from_pretrained(config.name)
        unknown = [name for name in config.overrides if not hasattr(described, name)]
        if unknown:
            raise RecipeError(f"overrides must name settings of {described.model_type}, got {unknown[0]!r}")
        described.update(config.overrides)
        # Pooling is ours: BERT's own pooler would be trained for nothing.
        extra = {"add_pooling_layer": False} if described.model_type in ("bert", "roberta", "electra") else {}
        if config.pretrained:
            body = transformers.AutoModel.from_pretrained(config.name, config=described, **extra)
        else:
            body = transformers.AutoModel.from_config(described, **extra)
    except (OSError, ValueError, TypeError) as error:
        where = "a hub name or a folder with config.json"
        raise RecipeError(f"model.name must be {where}, got {config.name!r}: {str(error).splitlines()[0]}") from error
    return Encoder(body, config.pooling, config.dropout, num_outputs, vocabulary)
