import numpy as np
import pytest
import torch
from torch import nn

from optimization import students
from optimization.architectures import TeacherLayers
from optimization.errors import RecipeError
from optimization.examples import Dataset, Split
from optimization.networks.encoder import Encoder

transformers = pytest.importorskip("transformers")

KEPT = np.array([0, 3, 4, 9, 20, 21])
"""Ids of the tokens that the data have."""


@pytest.fixture
def dataset() -> Dataset:
    random = np.random.default_rng(0)
    lengths = np.array([7, 3, 1, 5])
    mask = (np.arange(7) < lengths[:, None]).astype(np.int64)
    ids = random.integers(0, len(KEPT), (4, 7)) * mask
    split = Split(inputs={"input_ids": ids, "attention_mask": mask}, labels=np.array([0, 1, 0, 1]), lengths=lengths)
    return Dataset(train=split, held_out=split, labels=("no", "yes"), vocabulary=KEPT)


@pytest.fixture
def teacher() -> Encoder:
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=30,
        hidden_size=16,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=32,
        max_position_embeddings=8,
    )
    body = transformers.BertModel(config, add_pooling_layer=False)
    encoder = Encoder(body, "mean", 0.0, 1, KEPT)
    for parameter in encoder.parameters():
        nn.init.normal_(parameter, std=0.3)
    return encoder.eval()


def logits(model: nn.Module, dataset: Dataset) -> torch.Tensor:
    with torch.inference_mode():
        return model.eval()(*(torch.from_numpy(each) for each in dataset.train.inputs.values()))


def test_teacher_reads_a_small_vocabulary_as_its_own(teacher: Encoder, dataset: Dataset) -> None:
    whole = Encoder(teacher.body, "mean", 0.0, 1).eval()
    whole.head.load_state_dict(teacher.head.state_dict())
    ids, mask = dataset.train.inputs.values()
    with torch.inference_mode():
        expected = whole(torch.from_numpy(KEPT[ids]), torch.from_numpy(mask))
    torch.testing.assert_close(logits(teacher, dataset), expected)


def test_student_of_all_layers_has_fewer_embeddings_and_computes_what_the_teacher_does(
    teacher: Encoder, dataset: Dataset
) -> None:
    student = students.build(TeacherLayers(kind="teacher_layers", keep=(0, 1, 2)), teacher, dataset, seed=0)
    torch.testing.assert_close(logits(student, dataset), logits(teacher, dataset))
    assert student.body.get_input_embeddings().num_embeddings == len(KEPT)
    assert teacher.body.get_input_embeddings().num_embeddings == 30, "the teacher stays whole"
    assert all(parameter.requires_grad for parameter in student.parameters())


def test_student_of_fewer_units_and_relu_is_the_layers_with_their_weakest_units_masked(
    teacher: Encoder, dataset: Dataset
) -> None:
    config = TeacherLayers(kind="teacher_layers", keep=(0, 2), activation="relu", feed_forward=0.5)
    student = students.build(config, teacher, dataset, seed=0)
    masked = students.from_layers(teacher, (0, 2))
    for layer, narrow in zip(masked.body.encoder.layer, student.body.encoder.layer, strict=True):
        layer.intermediate.intermediate_act_fn = nn.ReLU()
        up, down = layer.intermediate.dense, layer.output.dense
        assert narrow.intermediate.dense.weight.shape == (16, 16)
        kept = (up.weight[:, None] == narrow.intermediate.dense.weight[None]).all(dim=2).any(dim=1)
        assert kept.sum() == 16, "they are the teacher's"
        with torch.no_grad():
            down.weight[:, ~kept] = 0
    torch.testing.assert_close(logits(student, dataset), logits(masked, dataset), atol=1e-5, rtol=1e-5)


def test_activation_that_is_not_there_cannot_be_replaced() -> None:
    with pytest.raises(RecipeError, match="activation must be left out: the teacher's layers have none to replace"):
        students.activate(nn.Sequential(nn.Linear(2, 2), nn.Tanh()), "relu")
