"""Whether the stages of a pipeline fit together, in which order they run, and what the whole takes and gives.

    declared stages, what each takes and gives -> references found -> no cycle -> tensors fit -> all used -> order, ends

All of it is known from `serve_config.yaml` and the manifests, and so checked before Ray starts.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

from deployments.errors import SettingsError
from deployments.stages.declared import Pipeline, Stage
from optimization.artifact.manifest import TensorSpec


@dataclass(frozen=True, kw_only=True)
class Signature:
    """What a stage takes and gives."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where a tensor comes from."""

    stage: str | None
    """The stage that gives it; none where it comes with the request."""
    tensor: str


@dataclass(frozen=True, kw_only=True)
class Graph:
    """A pipeline whose stages fit."""

    order: tuple[tuple[str, ...], ...]
    """Stages that may run side by side, after all those before them."""
    feeds: Mapping[str, Mapping[str, Source]]
    """By stage, where each of its inputs comes from."""
    inputs: tuple[TensorSpec, ...]
    """What the whole takes."""
    outputs: tuple[TensorSpec, ...]
    """What the whole gives."""
    gives: Mapping[str, Source]
    """Where each of its outputs comes from."""


def graph_of(pipeline: Pipeline, signatures: Mapping[str, Signature]) -> Graph:
    """The pipeline's graph; `signatures` says what each stage takes and gives, by its name.

    Raises:
        SettingsError: the message names the stage, the rule and what was got.
    """
    made = {name: {spec.name: spec for spec in each.outputs} for name, each in signatures.items()}
    feeds = {stage.name: _feeds(stage, signatures[stage.name], made) for stage in pipeline.stages}
    gives = {name: _source(reference, made, f"outputs.{name}") for name, reference in pipeline.outputs.items()}
    for name, source in gives.items():
        if source.stage is None:
            raise SettingsError(f"outputs.{name}: it must be a tensor that a stage gives, got {source.tensor!r}")
    order = _order(feeds)
    taken: dict[str, TensorSpec] = {}
    for stage in pipeline.stages:
        for spec in signatures[stage.name].inputs:
            source, where = feeds[stage.name][spec.name], f"stages.{stage.name}.inputs.{spec.name}"
            if source.stage is None:
                given = taken.setdefault(source.tensor, spec.model_copy(update={"name": source.tensor}))
                _check_fit(given, spec, f"{source.tensor!r} of the request, as other stages take it,", where)
            else:
                given = made[source.stage][source.tensor]
                _check_fit(given, spec, f"{source.stage}.{source.tensor}", where)
    _check_used(feeds, gives)
    outputs = tuple(
        made[source.stage][source.tensor].model_copy(update={"name": name})
        for name, source in gives.items()
        if source.stage is not None
    )
    return Graph(order=order, feeds=feeds, inputs=tuple(taken.values()), outputs=outputs, gives=gives)


def _feeds(stage: Stage, signature: Signature, made: Mapping[str, Mapping[str, TensorSpec]]) -> dict[str, Source]:
    names = [spec.name for spec in signature.inputs]
    if unknown := [name for name in stage.inputs if name not in names]:
        raise SettingsError(f"stages.{stage.name}.inputs: they are {', '.join(names)}, got {', '.join(unknown)}")
    return {name: _source(stage.inputs.get(name, name), made, f"stages.{stage.name}.inputs.{name}") for name in names}


def _source(reference: str, made: Mapping[str, Mapping[str, TensorSpec]], where: str) -> Source:
    stage, dot, tensor = reference.partition(".")
    if not dot:
        return Source(stage=None, tensor=reference)
    if stage not in made:
        raise SettingsError(f"{where}: stages are {', '.join(made)}, got {reference!r}")
    if tensor not in made[stage]:
        raise SettingsError(f"{where}: stage {stage!r} gives {', '.join(made[stage])}, got {reference!r}")
    return Source(stage=stage, tensor=tensor)


def _order(feeds: Mapping[str, Mapping[str, Source]]) -> tuple[tuple[str, ...], ...]:
    before = {
        name: {source.stage for source in sources.values() if source.stage is not None}
        for name, sources in feeds.items()
    }
    sorter = TopologicalSorter(before)
    try:
        sorter.prepare()
    except CycleError as error:
        raise SettingsError(
            f"stages: each must come before those that it feeds, got the cycle {' -> '.join(error.args[1])}"
        ) from error
    order: list[tuple[str, ...]] = []
    while sorter.is_active():
        ready = sorter.get_ready()
        order.append(tuple(sorted(ready)))
        sorter.done(*ready)
    return tuple(order)


def _check_used(feeds: Mapping[str, Mapping[str, Source]], gives: Mapping[str, Source]) -> None:
    used = {source.stage for source in gives.values()}
    used |= {source.stage for sources in feeds.values() for source in sources.values()}
    if idle := [name for name in feeds if name not in used]:
        raise SettingsError(f"stages.{idle[0]}: some stage or output must use what it gives, got none")


def _check_fit(given: TensorSpec, taken: TensorSpec, who: str, where: str) -> None:
    """A size with a name fits any; who gives and who takes may call it differently."""
    fits = (
        given.datatype == taken.datatype
        and len(given.shape) == len(taken.shape)
        and all(
            have == want or isinstance(have, str) or isinstance(want, str)
            for have, want in zip(given.shape, taken.shape, strict=True)
        )
    )
    if not fits:
        raise SettingsError(
            f"{where}: it must be {taken.datatype} of {list(taken.shape)}, "
            f"and {who} is {given.datatype} of {list(given.shape)}"
        )
