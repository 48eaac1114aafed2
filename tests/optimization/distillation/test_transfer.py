"""Losses between states equal those of the papers, written out; what is paired, and what cannot be."""

import copy
import re

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from optimization.distillation import transfer
from optimization.distillation.students import from_layers
from optimization.errors import RecipeError
from optimization.networks.resnet import Resnet
from optimization.pruning import prune
from optimization.pruning.prune import Amount
from optimization.recipe.teaching import Attention, Features, Hidden, Pooled, Transfer
from tests.optimization.architectures import Inputs, build

HIDDEN, ATTENTION, POOLED = Hidden(kind="hidden"), Attention(kind="attention"), Pooled(kind="pooled")
FEATURES = Features(kind="features")


def narrow(width: int, num_heads: int, layers: int) -> nn.Module:
    from transformers import BertConfig, BertForSequenceClassification

    from tests.optimization.architectures import Logits

    config = BertConfig(
        vocab_size=50, hidden_size=width, num_hidden_layers=layers, num_attention_heads=num_heads,
        intermediate_size=16, num_labels=5,
    )  # fmt: skip
    return Logits(BertForSequenceClassification(config)).eval()


def states_and_loss(wanted: Transfer, student: nn.Module, teacher: nn.Module, example: Inputs) -> tuple[Tensor, Tensor]:
    """The student's first state, and the losses."""
    state_pairs = transfer.pair_states([wanted], student, teacher, example, "distill")
    _, own = transfer.StudentWithStates(student, state_pairs)(*example)
    _, others = transfer.taps.read(teacher, state_pairs[0].teacher, example)
    return own[0], transfer.loss(state_pairs, own, others, example[1] if len(example) == 2 else None)


def test_distance_is_the_mean_squared_error_as_a_share_of_the_teachers_square() -> None:
    state, wanted = torch.randn(6, 5, 8), torch.randn(6, 5, 8)
    expected = [F.mse_loss(one, other) / F.mse_loss(other, 0 * other) for one, other in zip(state, wanted, strict=True)]
    torch.testing.assert_close(transfer.distance(state, wanted), torch.stack(expected))


@pytest.mark.parametrize("wanted", [HIDDEN, ATTENTION])
def test_padding_does_not_count(wanted: Transfer) -> None:
    """A text alone has the loss it has beside longer ones."""
    teacher, example = build("bert")
    student = narrow(16, 2, 1)
    state_pairs = transfer.pair_states([wanted], student, teacher, example, "distill")
    student_with_states = transfer.StudentWithStates(student, state_pairs)

    def losses(ids: Tensor, mask: Tensor) -> Tensor:
        return transfer.loss(
            state_pairs,
            student_with_states(ids, mask)[1],
            transfer.taps.read(teacher, state_pairs[0].teacher, (ids, mask))[1],
            mask,
        )

    together = losses(*example)
    for row, length in enumerate(example[1].sum(dim=1).tolist()):
        alone = losses(*(each[row : row + 1, :length] for each in example))
        torch.testing.assert_close(together[row : row + 1], alone, atol=1e-5, rtol=1e-4)


def test_attention_loss_is_minilms() -> None:
    """Wang 2020, equations 6 to 9, on what Hugging Face returns as attention and by hand for values."""
    teacher, example = build("bert, eager")
    student = copy.deepcopy(teacher)
    for parameter in student.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    _, got = states_and_loss(ATTENTION, student, teacher, example)

    mask = example[1]

    def relations(model: nn.Module) -> list[Tensor]:
        output = model.model(*example, output_attentions=True, output_hidden_states=True)
        value = model.model.bert.encoder.layer[-1].attention.self.value(output.hidden_states[-2])
        value = value.unflatten(2, (4, 8)).transpose(1, 2)
        scores = (value @ value.transpose(2, 3) / 8**0.5).masked_fill(mask[:, None, None, :] == 0, -torch.inf)
        return [output.attentions[-1], scores.softmax(dim=3)]

    for row, length in enumerate(mask.sum(dim=1).tolist()):
        expected = torch.zeros(())
        for own, wanted in zip(relations(student), relations(teacher), strict=True):
            one, other = own[row, :, :length, :length], wanted[row, :, :length, :length]
            expected = expected + (other * (other.log() - one.log())).sum() / (4 * length)
        torch.testing.assert_close(got[row], expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("wanted", [HIDDEN, ATTENTION, POOLED])
@pytest.mark.parametrize("family", ["encoder", "bert", "distilbert"])
def test_a_model_that_equals_its_teacher_has_nothing_to_learn(wanted: Transfer, family: str) -> None:
    teacher, example = build(family)
    _, got = states_and_loss(wanted, copy.deepcopy(teacher), teacher, example)
    torch.testing.assert_close(got, torch.zeros(len(got)), atol=1e-6, rtol=0)


def test_other_widths_are_projected_and_other_heads_related_anew() -> None:
    teacher, example = build("bert")  # 32 wide, 4 heads, 3 layers
    student = narrow(24, 3, 2)
    state_pairs = transfer.pair_states([HIDDEN, ATTENTION, POOLED], student, teacher, example, "distill")
    student_with_states = transfer.StudentWithStates(student, state_pairs)
    assert [type(each).__name__ for each in student_with_states.projections] == ["Linear"] * 3 + ["Identity", "Linear"]
    assert state_pairs[1].relation_heads == 4
    _, states = student_with_states(*example)
    others = [tap for each in state_pairs for tap in each.teacher]
    transfer.loss(state_pairs, states, transfer.taps.read(teacher, others, example)[1], example[1]).sum().backward()
    assert all(parameter.grad is not None for parameter in student_with_states.projections.parameters())


def test_layers_are_spread_evenly_or_as_named() -> None:
    _, example = build("bert")
    student = from_layers(narrow(32, 4, 6), (0, 5))
    (by_itself,) = transfer.pair_states([HIDDEN], student, narrow(32, 4, 6), example, "distill")
    assert [tap.modules[0].rpartition(".")[2] for tap in by_itself.teacher] == ["0", "2", "5"]
    named = Hidden(kind="hidden", layers=(4, 5))
    (as_named,) = transfer.pair_states([named], student, narrow(32, 4, 6), example, "distill")
    assert [tap.modules[0].rpartition(".")[2] for tap in as_named.teacher] == ["0", "4", "5"]


@pytest.mark.parametrize("amount", [Amount(layers=0.5), Amount(hidden=0.5), Amount(hidden=0.3, layers=0.4)])
def test_a_pruned_network_is_paired_with_the_whole_one(amount: Amount) -> None:
    teacher = Resnet(depth=20, width=4, channels=3, num_outputs=5).eval()
    example = (torch.rand(4, 3, 16, 16),)
    pruned = prune.prune(prune.prepare(teacher, example), amount, example)
    (pair,) = transfer.pair_states([FEATURES], pruned, teacher, example, "prune.recovery")
    assert [tap.sides for tap in pair.student] == [tap.sides for tap in pair.teacher] == [(16, 16), (8, 8), (4, 4)]
    _, got = states_and_loss(FEATURES, pruned, teacher, example)
    assert got.shape == (4,)
    assert (got > 0).all()


REFUSED = [
    (
        HIDDEN,
        "resnet",
        "hidden needs a stack of layers that take and give [batch, positions, width], got a student that",
    ),
    (
        ATTENTION,
        "resnet",
        "attention needs an attention with layers for query, key and value, got a student that has none",
    ),
    (FEATURES, "bert", "features needs stages of convolutions"),
    (Hidden(kind="hidden", layers=(0,)), "bert", "hidden.layers must be as many as the student has (3), got 1"),
    (Hidden(kind="hidden", layers=(0, 1, 3)), "bert", "hidden.layers must name layers in [0, 3), got 3"),
    (
        Attention(kind="attention", relation_heads=5),
        "bert",
        "attention.relation_heads must divide the widths 32 and 32, got 5",
    ),
]


@pytest.mark.parametrize(("wanted", "family", "message"), REFUSED)
def test_what_cannot_be_paired_is_refused(wanted: Transfer, family: str, message: str) -> None:
    model, example = build(family)
    with pytest.raises(RecipeError, match=re.escape(f"distill.transfer.{message}")):
        transfer.pair_states([wanted], model, model, example, "distill")


def test_stages_of_other_picture_sizes_are_refused() -> None:
    teacher, example = build("resnet")
    student = nn.Sequential(nn.Conv2d(3, 4, 3, stride=3), nn.ReLU(), nn.Flatten(), nn.Linear(100, 5))
    message = (
        "distill.transfer.features needs stages of convolutions whose pictures have the same size in both, got none"
    )
    with pytest.raises(RecipeError, match=message):
        transfer.pair_states([FEATURES], student, teacher, example, "distill")
