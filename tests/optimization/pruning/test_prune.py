import copy
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from optimization.errors import PruneError, WeightsError
from optimization.networks import models
from optimization.pruning import prune, schedule, structure, units
from optimization.pruning.heads import SlimAttention
from optimization.pruning.prune import Amount
from optimization.readers.examples import Dataset
from optimization.recipe.architectures import Cnn, Mlp
from tests.optimization import architectures
from tests.optimization.architectures import FAMILIES, HUGGING_FACE, ResNet

TRANSFORMERS = tuple(family for family in FAMILIES if "encoder" in family or family in HUGGING_FACE)
STACKED = ("resnet", "mobile", *TRANSFORMERS)


def built(family: str) -> tuple[nn.Module, tuple[Tensor, ...]]:
    if family in HUGGING_FACE:
        pytest.importorskip("transformers")
    return architectures.build(family)


def cut(family: str, **amount: object) -> tuple[nn.Module, nn.Module, tuple[Tensor, ...]]:
    model, example = built(family)
    prepared = prune.prepare(model, example)
    return prepared, prune.prune(prepared, Amount(**amount), example), example


def close(one: nn.Module, other: nn.Module, example: tuple[Tensor, ...], atol: float = 1e-5) -> None:
    with torch.inference_mode():
        torch.testing.assert_close(one(*example), other(*example), atol=atol, rtol=0)


def linears(model: nn.Module) -> list[nn.Module]:
    return [layer for layer in model.modules() if isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d)]


@pytest.mark.parametrize("family", FAMILIES)
def test_prepared_model_computes_what_the_original_computes(family: str) -> None:
    model, example = built(family)
    with torch.enable_grad():  # torch's fused encoder, which zeroes padding, runs only without gradients
        expected = model(*example)
    torch.testing.assert_close(prune.prepare(model, example)(*example), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("family", ["mlp", "cnn"])
@pytest.mark.parametrize("ratio", [0.1, 0.5, 0.999])
def test_pruned_model_equals_masked_original(family: str, ratio: float) -> None:
    """`prune` checks it itself; here the mask is found from the weights that stayed, without its help."""
    model, smaller, example = cut(family, hidden=ratio)
    masked = copy.deepcopy(model)
    pairs = list(zip(linears(masked), linears(smaller), strict=True))
    for (full, less), (reader, _) in pairwise(pairs):
        kept = set(less.bias.tolist())
        gone = [unit for unit, bias in enumerate(full.bias.tolist()) if bias not in kept]
        assert gone or ratio < 0.5
        with torch.no_grad():
            reader.weight.reshape(len(reader.weight), len(full.bias), -1)[:, gone] = 0
    close(masked, smaller, example)


@pytest.mark.parametrize("scope", ["layer", "global"])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_loses_about_half_its_hidden_units(family: str, scope: str) -> None:
    model, smaller, example = cut(family, hidden=0.5, scope=scope)
    before, after = (sum(group.num_units for group in units.groups(each, example)) for each in (model, smaller))
    assert after == pytest.approx(before / 2, abs=0.1 * before)
    assert smaller(*example).shape == model(*example).shape


@pytest.mark.parametrize("family", TRANSFORMERS)
def test_whole_heads_go(family: str) -> None:
    model, smaller, example = cut(family, heads=0.5)
    before, after = (
        [group for group in units.groups(each, example) if group.is_attention] for each in (model, smaller)
    )
    assert [group.num_units for group in before] == [4] * 3
    assert [group.num_units for group in after] == [2] * 3
    for group in after:
        query = smaller.get_submodule(group.slices[0].module)
        rows = {tuple(row) for row in query.weight.tolist()}
        full = model.get_submodule(group.slices[0].module).weight.unflatten(0, (4, -1))
        kept = [all(tuple(row) in rows for row in head.tolist()) for head in full]
        assert sum(kept) == 2, "heads are cut whole"


@pytest.mark.parametrize("family", STACKED)
def test_whole_layers_go_and_the_rest_is_as_it_was(family: str) -> None:
    """The reference runs the original with the same layers handed over, without the help of `prune`."""
    model, smaller, example = cut(family, layers=0.4)
    stacks = structure.of(smaller).layers
    assert stacks
    by_hand = copy.deepcopy(model)
    for name, kept in stacks.items():
        stack = by_hand.get_submodule(name)
        dropped = [layer for index, layer in enumerate(stack) if index not in kept]
        assert dropped
        for layer in dropped:
            layer.forward = lambda first, *_, **__: first
    close(by_hand, smaller, example)


@pytest.mark.parametrize("family", STACKED)
def test_everything_at_once_saves_reloads_and_goes_on_training(family: str, tmp_path: Path) -> None:
    ratios = {"hidden": 0.5, "layers": 0.3} | ({"heads": 0.5} if family in TRANSFORMERS else {})
    _, smaller, example = cut(family, **ratios)
    structure.save(smaller, tmp_path / "weights.safetensors")
    reloaded = structure.load(built(family)[0], tmp_path / "weights.safetensors").eval()
    close(smaller, reloaded, example, atol=0)

    labels = torch.arange(len(example[0])) % 5
    optimizer = torch.optim.SGD(reloaded.parameters(), lr=0.05)
    losses = []
    for _ in range(8):
        loss = nn.functional.cross_entropy(reloaded(*example), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    again = prune.prune(reloaded, Amount(hidden=0.3), example)
    structure.save(again, tmp_path / "again.safetensors")
    close(again, structure.load(built(family)[0], tmp_path / "again.safetensors").eval(), example, atol=0)


def test_padding_shortcut_becomes_the_convolution_it_is() -> None:
    model, example = architectures.build("resnet")
    prepared = prune.prepare(model, example)
    close(model, prepared, example, atol=1e-6)
    assert structure.of(prepared).shortcuts == {"stage2.0.shortcut": 2}


def test_weights_of_another_architecture_are_refused(tmp_path: Path) -> None:
    structure.save(ResNet(), tmp_path / "w.safetensors")
    with pytest.raises(WeightsError, match=r"w\.safetensors does not fit Sequential"):
        structure.load(architectures.build("mlp")[0], tmp_path / "w.safetensors")
    (tmp_path / "w.safetensors").write_bytes(b"not weights")
    with pytest.raises(WeightsError, match="must hold weights in safetensors form"):
        structure.load(ResNet(), tmp_path / "w.safetensors")


@pytest.mark.parametrize("masked", ["nothing", "bool", "float", "padding", "all"])
def test_slim_attention_is_torchs(masked: str) -> None:
    torch.manual_seed(0)
    holder = nn.ModuleDict({"a": nn.MultiheadAttention(16, 4, batch_first=False)}).eval()
    torchs = holder["a"]
    from optimization.pruning import heads

    heads.slim(holder, "a")
    ours = holder["a"]
    assert isinstance(ours, SlimAttention)
    query, key = torch.randn(5, 2, 16), torch.randn(7, 2, 16)
    padding = torch.tensor([[False] * 7, [False] * 4 + [True] * 3])
    masks = {
        "nothing": {},
        "bool": {"attn_mask": torch.rand(5, 7) > 0.7},
        "float": {"attn_mask": torch.randn(2 * 4, 5, 7)},
        "padding": {"key_padding_mask": padding},
        "all": {"attn_mask": torch.randn(5, 7), "key_padding_mask": torch.zeros(2, 7).masked_fill(padding, -1e9)},
    }[masked]
    expected, _ = torchs(query, key, key, need_weights=False, **masks)
    torch.testing.assert_close(ours(query, key, key, **masks)[0], expected, atol=1e-6, rtol=0)


def test_recurrent_layers_are_refused_by_name() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.LSTM(4, 8))
    with pytest.raises(PruneError, match="prune cannot cut recurrent layers, got LSTM at '1'"):
        units.groups(model, (torch.randn(2, 3, 4),))


def test_model_with_nothing_to_cut_is_refused() -> None:
    with pytest.raises(PruneError, match="found nothing to cut"):
        prune.prune(nn.Linear(4, 2), Amount(hidden=0.5), (torch.randn(3, 4),))


class Reading(nn.Module):
    """Reads a weight in a way the graph does not show."""

    def __init__(self) -> None:
        super().__init__()
        self.fine, self.odd, self.head = nn.Linear(4, 8), nn.Linear(8, 8), nn.Linear(8, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = torch.relu(self.odd(torch.relu(self.fine(inputs))))
        return self.head(hidden) / hidden.shape[1]


def test_cut_that_changes_more_is_refused_by_name_and_can_be_kept() -> None:
    torch.manual_seed(0)
    model, example = Reading(), (torch.randn(6, 4),)
    with pytest.raises(PruneError, match=r"must equal the masked original .* cutting 'odd' .* name it in prune\.keep"):
        prune.prune(model, Amount(hidden=0.5), example)
    smaller = prune.prune(model, Amount(hidden=0.5, keep=("odd",)), example)
    assert (smaller.fine.out_features, smaller.odd.out_features) == (4, 8)


MODELS = [Mlp(kind="mlp", hidden=(32, 24)), Cnn(kind="cnn", channels=(16, 8), hidden=(32,))]


@pytest.mark.parametrize("config", MODELS, ids=str)
def test_half_the_units_go_and_the_outputs_stay(digits: Dataset, config: Mlp | Cnn) -> None:
    model = models.build(config, digits, seed=0)
    before = copy.deepcopy(model.state_dict())
    smaller = prune.prune(model, Amount(hidden=0.5), (torch.from_numpy(digits.train.inputs["pixels"][:64]),))
    wide, narrow = ([len(layer.weight) for layer in linears(each)] for each in (model, smaller))
    assert narrow == [units // 2 for units in wide[:-1]] + [10]
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]), "the original stays as it was"


def test_weakest_units_go_first() -> None:
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))
    with torch.no_grad():
        for unit in (1, 4):
            model[0].weight[unit] *= 1e-3
            model[2].weight[:, unit] *= 1e-3
    example = (torch.randn(8, 4),)
    for amount in (Amount(hidden=1 / 3), Amount(min_score=0.1), Amount(hidden=1 / 3, scope="global")):
        smaller = prune.prune(model, amount, example)
        assert torch.equal(smaller[0].weight, model[0].weight[[0, 2, 3, 5]])


def test_global_scope_takes_more_from_the_weaker_layer_but_never_all() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 20), nn.ReLU(), nn.Linear(20, 20), nn.ReLU(), nn.Linear(20, 3))
    with torch.no_grad():
        model[0].weight[2:] *= 1e-4
        model[2].weight[:, 2:] *= 1e-4
    smaller = prune.prune(model, Amount(hidden=0.5, scope="global"), (torch.randn(8, 4),))
    assert smaller[0].out_features == 2
    assert smaller[2].out_features >= 17


def test_layer_that_does_least_goes_first() -> None:
    model, example = architectures.build("encoder, norm first")
    with torch.no_grad():
        for name, weight in model.encoder.layers[1].named_parameters():
            if "out_proj" in name or "linear2" in name:
                weight *= 1e-4
    smaller = prune.prune(prune.prepare(model, example), Amount(layers=0.3), example)
    assert structure.of(smaller).layers == {"encoder.layers": (0, 2)}


def test_layer_the_outputs_miss_least_goes_first() -> None:
    """Tried by hand: every block in turn hands on what it is given."""
    model, smaller, example = cut("resnet", layers=0.2)
    with torch.inference_mode():
        whole, missed = model(*example), {}
        for name, indices in {"stage1": (0, 1, 2), "stage2": (1, 2)}.items():
            for index in indices:
                without = copy.deepcopy(model)
                without.get_submodule(name)[index] = nn.Identity()
                missed[name, index] = float((without(*example) - whole).square().mean())
    least = min(((name, index) for name, index in missed if name == "stage1"), key=missed.__getitem__)
    kept = structure.of(smaller).layers["stage1"]
    assert kept == tuple(index for index in range(3) if index != least[1])


def test_global_scope_takes_layers_from_the_stack_that_does_least() -> None:
    model, example = architectures.build("resnet")
    with torch.no_grad():
        for block in model.stage1:
            block.bn2.weight *= 1e-4
            block.bn2.bias *= 1e-4
    prepared = prune.prepare(model, example)
    each, together = (prune.prune(prepared, Amount(layers=0.4, scope=scope), example) for scope in ("layer", "global"))
    assert {len(kept) for kept in structure.of(each).layers.values()} == {2}
    assert [len(kept) for kept in structure.of(together).layers.values()] == [1]


def test_global_scope_leaves_what_cannot_go_and_a_layer_of_each_stack() -> None:
    """The second stack has one block of three that keeps its input's shape."""
    torch.manual_seed(0)
    block = architectures.BasicBlock
    stacks = (
        nn.Sequential(*(block(8, 8) for _ in range(3))),
        nn.Sequential(block(8, 16), block(16, 16), block(16, 32)),
    )
    model = nn.Sequential(*stacks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 3)).eval()
    example = (torch.randn(2, 8, 8, 8),)
    smaller = prune.prune(prune.prepare(model, example), Amount(layers=0.99, scope="global"), example)
    assert [len(smaller[0]), len(smaller[1])] == [1, 2]


@given(num=st.integers(1, 300), ratio=st.floats(0.001, 0.999), round_to=st.integers(1, 16))
def test_units_kept_are_a_multiple_and_never_none(num: int, ratio: float, round_to: int) -> None:
    kept = prune.num_units_kept(num, ratio, round_to)
    assert 1 <= kept <= num
    assert kept % round_to == 0 or kept == num < round_to or kept == num
    assert abs(kept - num * (1 - ratio)) <= max(1, round_to)


@given(final=st.floats(0.01, 0.99), num_stages=st.integers(1, 10))
def test_stages_cut_to_the_cubic_of_zhu_and_gupta(final: float, num_stages: int) -> None:
    """Equation 1 with s_i = 0: s_t = s_f + (s_i - s_f) (1 - t/n)^3."""
    left = 1.0
    for stage, share in enumerate(schedule.cuts(final, num_stages), start=1):
        assert 0 < share < 1
        left *= 1 - share
        assert 1 - left == pytest.approx(final - final * (1 - stage / num_stages) ** 3)
    assert 1 - left == pytest.approx(final)
