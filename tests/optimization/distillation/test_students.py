import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from optimization.distillation import students
from optimization.errors import RecipeError
from optimization.networks.encoder import Encoder, keep_tokens
from optimization.readers.examples import Dataset, Split
from optimization.recipe.architectures import TeacherLayers

transformers = pytest.importorskip("transformers")


@pytest.fixture
def dataset() -> Dataset:
    random = np.random.default_rng(0)
    lengths = np.array([7, 3, 1, 5])
    mask = (np.arange(7) < lengths[:, None]).astype(np.int64)
    ids = random.integers(0, 12, (4, 7)) * mask
    split = Split(inputs={"input_ids": ids, "attention_mask": mask}, labels=np.array([0, 1, 0, 1]), lengths=lengths)
    return Dataset(train=split, validation=split, held_out=split, labels=("no", "yes"))


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
    encoder = Encoder(body, nn.Linear(body.config.hidden_size, 1))
    for parameter in encoder.parameters():
        nn.init.normal_(parameter, std=0.3)
    return encoder.eval()


def logits(model: nn.Module, dataset: Dataset) -> torch.Tensor:
    with torch.inference_mode():
        return model.eval()(*(torch.from_numpy(each) for each in dataset.train.inputs.values()))


def test_student_with_the_datas_tokens_alone_computes_what_the_teacher_does(teacher: Encoder, dataset: Dataset) -> None:
    num_seen = len(np.unique(dataset.train.inputs["input_ids"]))
    config = TeacherLayers(kind="teacher_layers", keep=(0, 1, 2), vocabulary=num_seen)
    student = students.build(config, teacher, dataset, seed=0)
    torch.testing.assert_close(logits(student, dataset), logits(teacher, dataset))
    assert student.body.get_input_embeddings().num_embeddings == num_seen
    assert teacher.body.get_input_embeddings().num_embeddings == 30, "the teacher stays whole"
    assert all(parameter.requires_grad for parameter in student.parameters())


@pytest.mark.parametrize("size", [1, 3, 10, 30, 35])
def test_token_without_an_embedding_is_read_as_the_kept_one_most_alike(size: int) -> None:
    """The data's tokens are kept, the frequent ones first, then the vocabulary's first."""
    torch.manual_seed(size)
    config = transformers.BertConfig(vocab_size=30, hidden_size=8, num_hidden_layers=1, num_attention_heads=1)
    model = Encoder(transformers.BertModel(config, add_pooling_layer=False), nn.Linear(config.hidden_size, 1))
    whole = model.body.get_input_embeddings().weight.detach().clone()
    keep_tokens(model, np.array([[7, 7, 7, 29], [29, 29, 7, 3]]), size)
    kept = sorted([7, 29, 3, *(token for token in range(30) if token not in (3, 7, 29))][:size])
    likeness = F.cosine_similarity(whole[:, None], whole[None, kept], dim=2)
    for token in range(30):
        expected = token if token in kept else kept[int(likeness[token].argmax())]
        torch.testing.assert_close(model.body.get_input_embeddings()(model.rows[token]), whole[expected])


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


def test_student_of_fewer_heads_has_the_teachers(teacher: Encoder, dataset: Dataset) -> None:
    config = TeacherLayers(kind="teacher_layers", keep=(0, 2), heads=0.5)
    student = students.build(config, teacher, dataset, seed=0)
    for index, layer in zip((0, 2), student.body.encoder.layer, strict=True):
        own, whole = layer.attention.self, teacher.body.encoder.layer[index].attention.self
        size = whole.attention_head_size
        assert own.num_attention_heads == whole.num_attention_heads // 2
        heads = whole.query.weight.view(-1, size, 16)
        assert all((heads == each).all(dim=(1, 2)).any() for each in own.query.weight.view(-1, size, 16))
    assert logits(student, dataset).shape == logits(teacher, dataset).shape


def test_activation_that_is_not_there_cannot_be_replaced() -> None:
    with pytest.raises(RecipeError, match="activation must be left out: the teacher's layers have none to replace"):
        students.activate(nn.Sequential(nn.Linear(2, 2), nn.Tanh()), "relu")


def test_a_teacher_that_does_not_run_without_its_other_layers_is_refused(dataset: Dataset) -> None:
    """As XLM, whose layers lie in four lists side by side."""

    class Parallel(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = (nn.ModuleList(nn.Linear(1, 1) for _ in range(2)) for _ in range(2))

        def forward(self, input_ids: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
            states = input_ids[:, :1].float()
            for number in range(2):
                states = self.first[number](states) + self.second[number](states)
            return states

    with pytest.raises(RecipeError, match="kind must not be teacher_layers: the teacher does not run without the oth"):
        students.build(TeacherLayers(kind="teacher_layers", keep=(0,)), Parallel(), dataset, seed=0)


def test_vocabulary_of_what_is_no_text_encoder_is_refused(dataset: Dataset) -> None:
    teacher = nn.Sequential(nn.ModuleList([nn.Linear(2, 2)]))
    with pytest.raises(RecipeError, match="vocabulary must be left out: the teacher is no text encoder"):
        students.build(TeacherLayers(kind="teacher_layers", keep=(0,), vocabulary=5), teacher, dataset, seed=0)


def test_student_without_dropout_computes_the_same_in_training(teacher: Encoder, dataset: Dataset) -> None:
    def differs(dropout: float | None) -> bool:
        config = TeacherLayers(kind="teacher_layers", keep=(0, 2), dropout=dropout)
        student = students.build(config, teacher, dataset, seed=0)
        evaluated = logits(student, dataset)
        trained = student.train()(*(torch.from_numpy(each) for each in dataset.train.inputs.values()))
        return not torch.allclose(trained, evaluated)

    assert differs(None)
    assert not differs(0)
