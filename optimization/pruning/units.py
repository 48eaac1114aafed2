"""What can be cut out of a model: its hidden units, and the weights elsewhere that belong to each.

A unit is a neuron, a channel, a feed-forward unit or an attention head. Its weights are the rows that feed it, what
normalizes it, and the columns through which later layers read it. torch-pruning follows the autograd graph to find
them (DepGraph: Fang 2023, arXiv:2301.12900); scoring, masking and cutting are done here, alike for all kinds of units.
"""

import copy
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch_pruning.dependency import DependencyGraph
from torch_pruning.dependency import Group as Traced

from optimization.errors import PruneError
from optimization.pruning import heads
from optimization.pruning.structure import refit

_RECURRENT = (nn.RNNBase, nn.RNNCellBase)


@dataclass(frozen=True, kw_only=True, eq=False)
class Slice:
    """Positions along one dimension of one parameter or buffer that belong to a group's units."""

    module: str
    tensor: str
    """"weight", "bias", "running_mean", ..."""
    dim: int
    positions: Tensor
    units: Tensor
    """Which unit each position belongs to."""
    reads: bool = False
    """Whether these weights read the units' outputs; with them at zero the units have no effect."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Group:
    """Units that may go, each by itself; with a unit go all its slices."""

    name: str
    """The layer whose outputs the units are."""
    num_units: int
    slices: tuple[Slice, ...]
    is_attention: bool = False
    """Whether its units are attention heads."""

    @property
    def layers(self) -> set[str]:
        """The layers whose outputs the units are, or that normalize them."""
        return {each.module for each in self.slices if not each.reads}

    def scores(self, saliency: Mapping[str, Tensor], *, reduce: str) -> Tensor:
        """Score of each unit: the saliency of its weights, summed within a slice, then the slices' "sum" or "mean"."""
        rows = []
        for each in self.slices:
            values = saliency.get(f"{each.module}.{each.tensor}")
            if values is None:
                continue
            along = values.float().movedim(each.dim, 0).flatten(1).sum(dim=1) if values.dim() > 1 else values.float()
            rows.append(torch.zeros(self.num_units).index_add(0, each.units, along[each.positions]))
        stacked = torch.stack(rows)
        return stacked.sum(dim=0) if reduce == "sum" else stacked.mean(dim=0)


Cuts = Sequence[tuple[Group, Tensor]]
"""For each group the units that go."""


def groups(model: nn.Module, example: tuple[Tensor, ...], keep: Collection[str] = ()) -> list[Group]:
    """All groups of units that can be cut exactly, heads last; layers whose names begin with one in `keep` stay whole.

    Left out are units that reach the outputs, those that a layer mixes with others before anything reads them, as
    LayerNorm does with the width of a transformer, and those that tracing cannot follow.

    Raises:
        PruneError: the model has a recurrent layer, or cannot be traced.
    """
    for name, module in model.named_modules():
        if isinstance(module, _RECURRENT):
            raise PruneError(f"prune cannot cut recurrent layers, got {type(module).__name__} at {name!r}")
    attentions = heads.find(model)
    projections = {name for each in attentions for name in (*each.inputs, each.output)}
    found = list(_traced_groups(model, example, skip=projections))
    found += [_head_group(model, each) for each in attentions]
    return [group for group in found if not any(_is_inside(name, keep) for name in group.layers)]


def mask(model: nn.Module, cuts: Cuts) -> nn.Module:
    """A copy of `model`, as large as it, in which nothing reads the units of `cuts`."""
    masked = copy.deepcopy(model)
    with torch.no_grad():
        for group, units in cuts:
            for each in group.slices:
                if each.reads:
                    gone = each.positions[torch.isin(each.units, units)]
                    tensor = masked.get_submodule(each.module).get_parameter(each.tensor)
                    tensor.movedim(each.dim, 0)[gone] = 0
    return masked


def cut(model: nn.Module, cuts: Cuts) -> nn.Module:
    """A smaller copy of `model` without the units of `cuts`."""
    smaller = copy.deepcopy(model)
    attentions = heads.find(smaller)
    gone: dict[tuple[str, str, int], list[Tensor]] = {}
    for group, units in cuts:
        for each in group.slices:
            place = (each.module, each.tensor, each.dim)
            gone.setdefault(place, []).append(each.positions[torch.isin(each.units, units)])
    for (name, tensor_name, dim), positions in gone.items():
        module = smaller.get_submodule(name)
        tensor: Tensor = getattr(module, tensor_name)
        stays = torch.ones(tensor.shape[dim], dtype=torch.bool)
        stays[torch.cat(positions)] = False
        less = tensor.detach().index_select(dim, stays.nonzero()[:, 0])
        is_parameter = isinstance(tensor, nn.Parameter)
        setattr(module, tensor_name, nn.Parameter(less, tensor.requires_grad) if is_parameter else less)
    refit(smaller, attentions)
    return smaller


def _traced_groups(model: nn.Module, example: tuple[Tensor, ...], skip: Collection[str]) -> Iterator[Group]:
    traced = copy.deepcopy(model).eval().requires_grad_()
    names = {module: name for name, module in traced.named_modules()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of bare parameters, whose groups are left out below
        try:
            graph = DependencyGraph().build_dependency(traced, tuple(each[:1] for each in example), verbose=False)
        except Exception as error:  # whatever the model's own code raises
            raise PruneError(f"the model cannot be traced for pruning: {type(error).__name__}: {error}") from error
    seen: set[nn.Module] = set()
    for root, name in names.items():
        if root in seen or root not in graph.module2node or name in skip or not _has_units(root):
            continue
        pruner = graph.get_pruner_of_module(root)
        group = graph.get_pruning_group(root, pruner.prune_out_channels, list(range(pruner.get_out_channels(root))))
        seen |= {dep.target.module for dep, _ in group if _cuts_outputs(dep)}
        slices, num_units = _slices(group, names), pruner.get_out_channels(root)
        if slices is not None and _is_whole(slices, num_units, model):
            yield Group(name=name, num_units=num_units, slices=tuple(slices))


def _is_whole(slices: Sequence[Slice], num_units: int, model: nn.Module) -> bool:
    """Whether every unit is read and lies where it is said to; tracing loses halves that are multiplied, as in GLU."""
    read = {unit for each in slices if each.reads for unit in each.units.tolist()}
    lengths = [getattr(model.get_submodule(each.module), each.tensor).shape[each.dim] for each in slices]
    return len(read) == num_units and all(
        int(each.positions.max()) < length for each, length in zip(slices, lengths, strict=True)
    )


def _slices(group: Traced, names: Mapping[nn.Module, str]) -> list[Slice] | None:
    """The group's slices; none where it holds something that cannot be cut exactly."""
    slices: list[Slice] = []
    for item in group:
        module, cuts_outputs = item.dep.target.module, _cuts_outputs(item.dep)
        positions, units = torch.tensor(item.idxs), torch.tensor(item.root_idxs)
        if module not in names:
            if "Output" in type(module).__name__ or isinstance(module, nn.Parameter):
                return None
            continue  # an operation without weights

        def part(tensor: str, dim: int, *, reads: bool = False) -> Slice:
            return Slice(
                module=names[module],  # noqa: B023  # called at once
                tensor=tensor,
                dim=dim,
                positions=positions,  # noqa: B023
                units=units,  # noqa: B023
                reads=reads,
            )

        if isinstance(module, _BatchNorm):
            slices += [part(name, 0) for name, _ in module.named_parameters()]
            slices += [part(name, 0) for name, buffer in module.named_buffers() if buffer.dim()]
        elif _has_units(module) and (cuts_outputs or _is_depthwise(module)):
            slices += [part(name, 0) for name, _ in module.named_parameters()]
        elif _has_units(module):
            slices.append(part("weight", 1, reads=True))
        elif any(True for _ in module.parameters()):
            return None  # LayerNorm, Embedding, attention, PReLU, ...
    return slices


def _head_group(model: nn.Module, attention: heads.Attention) -> Group:
    positions = torch.arange(attention.num_heads * attention.head_size)
    units = positions // attention.head_size
    slices = [
        Slice(module=name, tensor=tensor, dim=0, positions=positions, units=units)
        for name in attention.inputs
        for tensor, _ in model.get_submodule(name).named_parameters()
    ]
    slices.append(Slice(module=attention.output, tensor="weight", dim=1, positions=positions, units=units, reads=True))
    return Group(name=attention.name, num_units=attention.num_heads, slices=tuple(slices), is_attention=True)


def _has_units(module: nn.Module) -> bool:
    if isinstance(module, nn.Linear):
        return True
    is_conv = isinstance(module, _ConvNd) and not isinstance(module, _ConvTransposeNd)
    return is_conv and (bool(module.groups == 1) or _is_depthwise(module))


def _is_depthwise(module: nn.Module) -> bool:
    return isinstance(module, _ConvNd) and bool(module.groups == module.in_channels == module.out_channels > 1)


def _cuts_outputs(dep: object) -> bool:
    return "out" in dep.handler.__name__  # type: ignore[attr-defined]  # torch-pruning is untyped


def _is_inside(name: str, keep: Collection[str]) -> bool:
    return any(name == each or name.startswith(f"{each}.") for each in keep)
