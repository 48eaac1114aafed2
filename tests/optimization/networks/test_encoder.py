from pathlib import Path

import pytest
import torch
from torch import Tensor

from optimization.networks import encoder
from optimization.recipe.architectures import HuggingFaceModel
from optimization.tasks.classification import Classification

transformers = pytest.importorskip("transformers")

_SIZES = {"vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
_SIZES |= {"intermediate_size": 32, "max_position_embeddings": 24}
_DISTILLED = {"vocab_size": 40, "dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32}
CONFIGS = {
    "albert": transformers.AlbertConfig(**_SIZES, embedding_size=16),
    "bert": transformers.BertConfig(**_SIZES),
    "camembert": transformers.CamembertConfig(**_SIZES),
    "distilbert": transformers.DistilBertConfig(**_DISTILLED),
    "electra": transformers.ElectraConfig(**_SIZES, embedding_size=16),
    "modernbert": transformers.ModernBertConfig(**_SIZES, pad_token_id=0, cls_token_id=2, sep_token_id=3),
    "mpnet": transformers.MPNetConfig(**_SIZES),
    "roberta": transformers.RobertaConfig(**_SIZES),
    "xlm-roberta": transformers.XLMRobertaConfig(**_SIZES),
}

NEVER = ("mpnet", "sdpa")
"""Not written in transformers."""


@pytest.mark.parametrize(
    ("family", "attention"), [(name, each) for name in CONFIGS for each in ("eager", "sdpa") if (name, each) != NEVER]
)
def test_padding_and_types_count_as_in_transformers(family: str, attention: str, tmp_path: Path) -> None:
    """The reference gets the mask of shape [batch, positions], makes of it what it needs, and looks up token types."""
    torch.manual_seed(0)
    body = transformers.AutoModel.from_config(CONFIGS[family], attn_implementation=attention).eval()
    assert body.config.model_type == family
    body.save_pretrained(tmp_path)
    lengths = torch.tensor([9, 4, 1])
    mask = (torch.arange(9) < lengths[:, None]).long()
    ids = torch.randint(4, 40, (3, 9))
    model = encoder.build(
        HuggingFaceModel(kind="huggingface", name=str(tmp_path)), Classification(), ("a", "b", "c"), 3
    ).eval()
    model.body.set_attn_implementation(attention)
    with torch.inference_mode():
        states: Tensor = body(input_ids=ids, attention_mask=mask).last_hidden_state
        means = torch.stack([row[:length].mean(dim=0) for row, length in zip(states, lengths, strict=True)])
        torch.testing.assert_close(model(ids, mask), model.head(means), atol=1e-5, rtol=1e-5)
