import numpy as np
import pytest
import torch
from torch import nn

from optimization.networks import compact
from optimization.networks.encoder import Encoder

transformers = pytest.importorskip("transformers")


@pytest.fixture
def bert() -> Encoder:
    """A BERT of three small layers, with ReLU, so that the compact form should compute the same."""
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=60,
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=48,
        max_position_embeddings=16,
        hidden_act="relu",
    )
    encoder = Encoder(transformers.BertModel(config, add_pooling_layer=False), "mean", 0.0, 1)
    for parameter in encoder.parameters():
        nn.init.normal_(parameter, std=0.3)
    return encoder.eval()


def test_all_layers_and_tokens_of_a_relu_bert_compute_what_bert_computes(bert: Encoder) -> None:
    student = compact.from_bert(bert, keep=(0, 1, 2), tokens=range(60), unknown=1, positions=16).eval()
    ids = torch.randint(0, 60, (4, 9))
    mask = (torch.arange(9) < torch.tensor([[9], [4], [1], [7]])).long()
    with torch.inference_mode():
        torch.testing.assert_close(student(ids, mask), bert(ids, mask), atol=1e-4, rtol=1e-4)


def test_tokens_that_were_left_out_are_read_as_unknown(bert: Encoder) -> None:
    student = compact.from_bert(bert, keep=(0,), tokens=(1, 5, 9), unknown=1, positions=16).eval()
    mask = torch.ones(1, 3, dtype=torch.long)
    with torch.inference_mode():
        left_out, unknown = (student(torch.tensor([[5, each, 9]]), mask) for each in (7, 1))
    np.testing.assert_array_equal(left_out, unknown)
    assert student.words.num_embeddings == 3
