import pytest
import torch

from optimization.networks import models
from optimization.readers.examples import Dataset
from optimization.recipe.architectures import Cnn, Mlp


@pytest.mark.parametrize("config", [Mlp(kind="mlp", hidden=(8, 4)), Cnn(kind="cnn", channels=(2, 3, 4), hidden=(5,))])
def test_model_gives_one_logit_per_class(digits: Dataset, config: Mlp | Cnn) -> None:
    model = models.build(config, digits, seed=0)
    assert model(torch.from_numpy(digits.train.inputs["pixels"][:3])).shape == (3, 10)


def test_two_classes_need_one_logit(tumours: Dataset) -> None:
    model = models.build(Mlp(kind="mlp", hidden=(10,)), tumours, seed=0)
    assert models.num_parameters(model) == 8 * 10 + 10 + 10 + 1
    assert model(torch.from_numpy(tumours.train.inputs["features"][:3])).shape == (3, 1)


def test_equal_seeds_give_equal_weights_and_leave_torch_alone(digits: Dataset) -> None:
    config = Mlp(kind="mlp", hidden=(8,))
    before = torch.random.get_rng_state()
    one, same, other = (models.build(config, digits, seed) for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(one[1].weight, same[1].weight)
    assert not torch.equal(one[1].weight, other[1].weight)
