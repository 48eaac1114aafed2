import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from optimization.distillation import targets
from optimization.readers.examples import Split
from optimization.tasks import losses
from optimization.tasks.classification import Classification

T = 3.0
CLASSES = Classification()


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return torch.randn(16, 5, requires_grad=True), torch.randint(0, 5, (16,)), torch.randn(16, 5)


def test_soft_loss_is_torchs_kl_divergence_times_temperature_squared(batch: tuple[torch.Tensor, ...]) -> None:
    student, _, teacher = batch
    expected = F.kl_div(F.log_softmax(student / T, 1), F.softmax(teacher / T, 1), reduction="batchmean") * T**2
    torch.testing.assert_close(losses.softened(student, teacher, T).mean(), expected)


def test_soft_loss_is_zero_where_student_equals_teacher(batch: tuple[torch.Tensor, ...]) -> None:
    _, _, teacher = batch
    torch.testing.assert_close(losses.softened(teacher, teacher, T), torch.zeros(16), atol=1e-6, rtol=0)


def test_hot_gradient_is_the_difference_of_logits(batch: tuple[torch.Tensor, ...]) -> None:
    """Hinton 2015, eq. 4: at high temperature and zero-mean logits the gradient is (z - v) / N, whatever T."""
    student, _, teacher = batch
    student = (student - student.mean(1, keepdim=True)).detach().requires_grad_()
    teacher = teacher - teacher.mean(1, keepdim=True)
    losses.softened(student, teacher, 1e3).sum().backward()
    torch.testing.assert_close(student.grad, (student.detach() - teacher) / 5, atol=2e-3, rtol=0)


def test_one_logit_is_a_softmax_over_that_logit_and_zero() -> None:
    torch.manual_seed(0)
    student, teacher, labels = torch.randn(16, 1), torch.randn(16, 1), torch.randint(0, 2, (16,))
    both = [torch.cat([torch.zeros(16, 1), logit], dim=1) for logit in (student, teacher)]
    torch.testing.assert_close(losses.softened(student, teacher, T), losses.softened(both[0], both[1], T))
    torch.testing.assert_close(CLASSES.hard_loss(student, labels), CLASSES.hard_loss(both[0], labels))


def test_logits_loss_is_torchs_mean_squared_error(batch: tuple[torch.Tensor, ...]) -> None:
    student, labels, teacher = batch
    expected = F.mse_loss(student, teacher)
    torch.testing.assert_close(losses.squared(student, teacher).mean(), expected)
    mixed = targets.distillation_loss(CLASSES, student, labels, teacher, T, 0.25, "mse").mean()
    torch.testing.assert_close(mixed, 0.25 * expected + 0.75 * F.cross_entropy(student, labels))


def test_alpha_weighs_teacher_against_labels(batch: tuple[torch.Tensor, ...]) -> None:
    student, labels, teacher = batch
    hard, soft = CLASSES.hard_loss(student, labels), losses.softened(student, teacher, T)
    torch.testing.assert_close(hard, F.cross_entropy(student, labels, reduction="none"))
    for alpha, expected in ((0.0, hard), (1.0, soft), (0.25, 0.25 * soft + 0.75 * hard)):
        torch.testing.assert_close(targets.distillation_loss(CLASSES, student, labels, teacher, T, alpha), expected)


def test_large_logits_stay_finite() -> None:
    huge = torch.tensor([[1e4], [-1e4]])
    assert losses.softened(huge, -huge, 1.0).isfinite().all()


def test_teacher_logits_keep_the_order_of_the_data() -> None:
    inputs = np.arange(3000, dtype=np.float32).reshape(-1, 1)
    split = Split(inputs={"x": inputs}, labels=np.zeros(3000, np.int64), lengths=np.arange(3000)[::-1] % 7)
    np.testing.assert_array_equal(targets.teacher_logits(nn.Identity(), split), inputs)


def test_answers_in_bf16_come_of_rounded_inputs_and_weights() -> None:
    torch.manual_seed(0)
    model, inputs = nn.Linear(64, 3, bias=False), torch.randn(8, 64)
    with torch.inference_mode():
        got = targets.Bf16(model)(inputs)
        expected = inputs.bfloat16().float() @ model.weight.bfloat16().float().T
        assert got.dtype == torch.float32
        torch.testing.assert_close(got, expected, atol=1e-2, rtol=1e-2)
        assert not torch.allclose(got, model(inputs), atol=1e-4), "nothing was rounded"
