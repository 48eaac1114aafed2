"""Whether the stages of a pipeline fit together, in which order they run, and what the whole takes and gives.

    declared stages, what each takes and gives -> references found -> no cycle -> tensors fit -> all used -> order, ends

All of it is known from `serve_config.yaml` and the manifests, and so checked before Ray starts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

from deployments.errors import SettingsError
from deployments.stages.declared import Stage
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
class Condition:
    """Which rows a stage is given."""

    source: Source
    """A tensor of BOOL, one for each row."""
    wanted: bool
    """What it is for those rows."""


Feed = tuple[Source, ...]
"""Where a tensor comes from; of two, the first has the rows that its stage was given, and the second the others."""


@dataclass(frozen=True, kw_only=True)
class Graph:
    """A pipeline whose stages fit."""

    order: tuple[tuple[str, ...], ...]
    """Stages that may run side by side, after all those before them."""
    feeds: Mapping[str, Mapping[str, Feed]]
    """By stage, where each of its inputs comes from."""
    conditions: Mapping[str, Condition]
    """By stage, where not all rows are given to it."""
    inputs: tuple[TensorSpec, ...]
    """What the whole takes."""
    outputs: tuple[TensorSpec, ...]
    """What the whole gives."""
    gives: Mapping[str, Feed]
    """Where each of its outputs comes from."""

    def waits_for(self, stage: str) -> set[str]:
        """The stages that must have answered before it is asked."""
        return _waits_for(self.feeds[stage], self.conditions.get(stage))


def graph_of(
    stages: Sequence[Stage], outputs: Mapping[str, Sequence[str]], signatures: Mapping[str, Signature]
) -> Graph:
    """The graph of declared stages; `outputs` says what the whole gives, `signatures` what each stage takes and gives.

    Raises:
        SettingsError: the message names the stage, the rule and what was got.
    """
    made = {name: {spec.name: spec for spec in each.outputs} for name, each in signatures.items()}
    feeds = {stage.name: _feeds(stage, signatures[stage.name], made) for stage in stages}
    conditions = {stage.name: found for stage in stages if (found := _condition(stage, made))}
    gives = {name: _feed(references, made, f"outputs.{name}") for name, references in outputs.items()}
    for name, feed in gives.items():
        if any(source.stage is None for source in feed):
            raise SettingsError(f"outputs.{name}: it must be a tensor that a stage gives, got {feed[0].tensor!r}")
    order = _order({name: _waits_for(feeds[name], conditions.get(name)) for name in feeds})
    taken: dict[str, TensorSpec] = {}
    for stage in stages:
        own = conditions.get(stage.name)
        if own is not None:
            _check_condition(stage, own, made, conditions, taken)
        for spec in signatures[stage.name].inputs:
            feed, where = feeds[stage.name][spec.name], f"stages.{stage.name}.inputs.{spec.name}"
            _check_rows(feed, own, conditions, where)
            for source in feed:
                _check_fit(_given(source, spec, made, taken), spec, source, where)
    for name, feed in gives.items():
        _check_rows(feed, None, conditions, f"outputs.{name}")
        _check_fit(_made(feed[-1], made), _made(feed[0], made), feed[-1], f"outputs.{name}")
    _check_used(feeds, conditions, gives)
    return Graph(
        order=order,
        feeds=feeds,
        conditions=conditions,
        inputs=tuple(taken.values()),
        outputs=tuple(_made(feed[0], made).model_copy(update={"name": name}) for name, feed in gives.items()),
        gives=gives,
    )


Made = Mapping[str, Mapping[str, TensorSpec]]
"""What each stage gives, by its name and the tensor's."""


def _feeds(stage: Stage, signature: Signature, made: Made) -> dict[str, Feed]:
    names = [spec.name for spec in signature.inputs]
    if unknown := [name for name in stage.inputs if name not in names]:
        raise SettingsError(f"stages.{stage.name}.inputs: they are {', '.join(names)}, got {', '.join(unknown)}")
    return {
        name: _feed(stage.inputs[name], made, f"stages.{stage.name}.inputs.{name}")
        if name in stage.inputs
        else (Source(stage=None, tensor=name),)
        for name in names
    }


def _feed(references: Sequence[str], made: Made, where: str) -> Feed:
    return tuple(_source(reference, made, where) for reference in references)


def _source(reference: str, made: Made, where: str) -> Source:
    stage, dot, tensor = reference.partition(".")
    if not dot:
        return Source(stage=None, tensor=reference)
    if stage not in made:
        raise SettingsError(f"{where}: stages are {', '.join(made)}, got {reference!r}")
    if tensor not in made[stage]:
        raise SettingsError(f"{where}: stage {stage!r} gives {', '.join(made[stage])}, got {reference!r}")
    return Source(stage=stage, tensor=tensor)


def _condition(stage: Stage, made: Made) -> Condition | None:
    reference = stage.when or stage.unless
    if reference is None:
        return None
    where = f"stages.{stage.name}.{'when' if stage.when else 'unless'}"
    return Condition(source=_source(reference, made, where), wanted=stage.when is not None)


def _waits_for(feeds: Mapping[str, Feed], condition: Condition | None) -> set[str]:
    sources = [source for feed in feeds.values() for source in feed]
    if condition is not None:
        sources.append(condition.source)
    return {source.stage for source in sources if source.stage is not None}


def _order(waits_for: Mapping[str, set[str]]) -> tuple[tuple[str, ...], ...]:
    sorter = TopologicalSorter(waits_for)
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


def _made(source: Source, made: Made) -> TensorSpec:
    assert source.stage is not None
    return made[source.stage][source.tensor]


def _given(source: Source, wanted: TensorSpec, made: Made, taken: dict[str, TensorSpec]) -> TensorSpec:
    """What is given; of the request, what the first that takes it wants, noted in `taken`."""
    if source.stage is not None:
        return made[source.stage][source.tensor]
    return taken.setdefault(source.tensor, wanted.model_copy(update={"name": source.tensor, "meaning": None}))


def _check_condition(
    stage: Stage, condition: Condition, made: Made, conditions: Mapping[str, Condition], taken: dict[str, TensorSpec]
) -> None:
    source, where = condition.source, f"stages.{stage.name}.{'when' if condition.wanted else 'unless'}"
    if source.stage in conditions:
        raise SettingsError(
            f"{where}: it must be there for all rows, and stage {source.stage!r} has a condition itself"
        )
    one_a_row = TensorSpec(name=source.tensor, datatype="BOOL", shape=("batch",))
    _check_fit(_given(source, one_a_row, made, taken), one_a_row, source, where)


def _check_rows(feed: Feed, own: Condition | None, conditions: Mapping[str, Condition], where: str) -> None:
    """A tensor of a stage with a condition has its rows alone: who takes it has the same, or takes the others' too."""
    found = [conditions.get(source.stage) if source.stage else None for source in feed]
    if len(feed) == 1:
        if found[0] is not None and found[0] != own:
            raise SettingsError(
                f"{where}: {_name(feed[0])} is there only for some rows: give the stage the same condition, "
                "or list it with the tensor that is there otherwise"
            )
        return
    one, other = found
    if one is None or other is None or one.source != other.source or one.wanted == other.wanted:
        raise SettingsError(
            f"{where}: of two tensors, one stage must be asked when and the other unless the same is true, "
            f"got {_name(feed[0])} and {_name(feed[1])}"
        )


def _check_used(
    feeds: Mapping[str, Mapping[str, Feed]], conditions: Mapping[str, Condition], gives: Mapping[str, Feed]
) -> None:
    used = {source.stage for feed in gives.values() for source in feed}
    for name in feeds:
        used |= _waits_for(feeds[name], conditions.get(name))
    if idle := [name for name in feeds if name not in used]:
        raise SettingsError(f"stages.{idle[0]}: some stage or output must use what it gives, got none")


def _check_fit(given: TensorSpec, taken: TensorSpec, source: Source, where: str) -> None:
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
            f"and {_name(source)} is {given.datatype} of {list(given.shape)}"
        )


def _name(source: Source) -> str:
    if source.stage is None:
        return f"{source.tensor!r} of the request, as other stages take it,"
    return f"{source.stage}.{source.tensor}"
