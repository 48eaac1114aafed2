"""A pipeline as it will be served: what was declared, held against the manifests of its artifacts and its functions.

settings -> an artifact of several graphs becomes stages -> what each takes and gives -> graph -> manifest of the whole
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from deployments.errors import SettingsError
from deployments.replicas.source import published
from deployments.settings import ModelSettings
from deployments.stages.declared import PipelineSettings, Stage
from deployments.stages.function import function
from deployments.stages.graph import Graph, Signature, graph_of
from optimization.artifact.manifest import Manifest, Preprocessing, TextPreprocessing
from optimization.artifact.store import load

VERSION = "1"
"""A pipeline has no other; its artifacts have their own."""


@dataclass(frozen=True, kw_only=True)
class RawInput:
    """How raw input becomes a model's tensors."""

    preprocessing: Preprocessing
    tokenizer_sha256: str | None


@dataclass(frozen=True, kw_only=True)
class PlannedStage:
    """A stage, and what any version of it must be like."""

    declared: Stage
    settings: ModelSettings
    """What it would be told as a model of its own."""
    signature: Signature
    raw: RawInput | None
    """Of its artifact."""
    group: str
    """Stages of one group answer a request by the same version: those of one artifact."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A pipeline whose stages fit."""

    settings: PipelineSettings
    stages: Mapping[str, PlannedStage]
    graph: Graph
    manifest: Manifest
    """Of the whole: what its ends take and give."""
    prepared_by: str | None
    """The stage by whose artifact raw input is prepared, where that gives all that the whole takes."""

    @property
    def num_cpus(self) -> float:
        """CPUs that each process reserves that takes requests."""
        threads = [stage.settings.num_threads for stage in self.own() if stage.declared.artifact]
        return max(threads, default=0) if self.settings.num_cpus is None else self.settings.num_cpus

    def own(self) -> list[PlannedStage]:
        """Stages that run where the requests come in."""
        return [stage for stage in self.stages.values() if not stage.declared.own_replicas]


def planned(settings: PipelineSettings) -> Plan:
    """The plan of a pipeline.

    Raises:
        SettingsError: its stages do not fit; the message names the stage, the rule and what was got.
        ArtifactError: an artifact is missing or damaged.
    """
    stages, outputs = settings.stages, settings.outputs
    manifests: dict[tuple[str, str | None], Manifest] = {}

    def manifest_of(stage: Stage) -> tuple[ModelSettings, Manifest | None]:
        model = settings.model_settings(stage)
        if stage.artifact is None:
            return model, None
        key = (stage.artifact, model.answering)
        if key not in manifests:
            with published(model.source(), model.answering) as copy:
                manifests[key] = load(copy.path).manifest
        return model, manifests[key]

    if settings.artifact:
        whole = manifest_of(Stage(name=settings.artifact[:64], artifact=settings.artifact))[1]
        assert whole is not None
        stages, outputs = of_parts(whole)
    found = {stage.name: (stage, *manifest_of(stage)) for stage in stages}
    plans = {name: _planned(settings.name, *each) for name, each in found.items()}
    _check_versions(list(plans.values()))
    graph = graph_of(stages, outputs, {name: plan.signature for name, plan in plans.items()})
    models = {name: manifest for name, (_, _, manifest) in found.items()}
    prepared_by = _prepared_by(graph, models)
    prepares = models[prepared_by] if prepared_by else None
    manifest = Manifest(
        name=settings.name,
        version=VERSION,
        created=datetime.now(UTC),
        inputs=graph.inputs,
        outputs=graph.outputs,
        labels=_labels(graph, models),
        preprocessing=prepares.preprocessing if prepares else None,
        files={},
    )
    return Plan(settings=settings, stages=plans, graph=graph, manifest=manifest, prepared_by=prepared_by)


def of_parts(manifest: Manifest) -> tuple[tuple[Stage, ...], dict[str, tuple[str, ...]]]:
    """Each part of an artifact as a stage, the first where the requests come in; and what the whole gives.

    Raises:
        SettingsError: it has one part.
    """
    if len(manifest.graphs) < 2:
        raise SettingsError(
            f"args.artifact must have several graphs, and {manifest.name!r} has one: cut it with "
            "`python -m optimization cut`, or serve it by deployments.app:model"
        )
    made: dict[str, tuple[str, ...]] = {}
    stages: list[Stage] = []
    for number, part in enumerate(manifest.graphs, start=1):
        inputs = {spec.name: made[spec.name] for spec in part.inputs if spec.name in made}
        name = f"part-{number}"
        stages.append(Stage(name=name, artifact=manifest.name, part=number, inputs=inputs, own_replicas=number > 1))
        made |= {spec.name: (f"{name}.{spec.name}",) for spec in part.outputs}
    return tuple(stages), {spec.name: made[spec.name] for spec in manifest.outputs}


def _planned(pipeline: str, stage: Stage, settings: ModelSettings, manifest: Manifest | None) -> PlannedStage:
    if manifest is None:
        assert stage.call is not None
        function(stage.call, f"stages.{stage.name}.call")
        signature, raw = Signature(inputs=stage.takes, outputs=stage.gives), None
        group = f"{pipeline}/{stage.name}"
    else:
        asked = manifest.of_part(_part(manifest, stage)) if stage.part else manifest
        signature, raw = signature_of(asked), raw_input_of(asked)
        group = f"{pipeline}//{manifest.name}"
    return PlannedStage(declared=stage, settings=settings, signature=signature, raw=raw, group=group)


def signature_of(manifest: Manifest) -> Signature:
    """What a model takes and gives."""
    return Signature(inputs=manifest.inputs, outputs=manifest.outputs)


def raw_input_of(manifest: Manifest) -> RawInput | None:
    """How raw input becomes the model's tensors, if it takes any."""
    preprocessing = manifest.preprocessing
    if preprocessing is None:
        return None
    tokenizer = preprocessing.tokenizer if isinstance(preprocessing, TextPreprocessing) else None
    return RawInput(
        preprocessing=preprocessing, tokenizer_sha256=manifest.files[tokenizer].sha256 if tokenizer else None
    )


def _part(manifest: Manifest, stage: Stage) -> int:
    assert stage.part is not None
    if stage.part > len(manifest.graphs):
        raise SettingsError(
            f"stages.{stage.name}.part must be at most {len(manifest.graphs)}, the graphs of {manifest.name!r}, "
            f"got {stage.part}"
        )
    return stage.part


def _check_versions(stages: Sequence[PlannedStage]) -> None:
    """Of one artifact, all stages follow the same versions: parts of two would not fit each other."""
    policies: dict[str, PlannedStage] = {}
    for stage in stages:
        first = policies.setdefault(stage.group, stage)
        for name in ("version", "artifacts", "signed_by"):
            own, other = getattr(stage.settings, name), getattr(first.settings, name)
            if own != other:
                raise SettingsError(
                    f"stages.{stage.declared.name}.settings.{name} must be that of stage {first.declared.name!r}, "
                    f"since both are of one artifact: {other!r}, got {own!r}"
                )


def _prepared_by(graph: Graph, manifests: Mapping[str, Manifest | None]) -> str | None:
    """A stage whose artifact says how raw input becomes all that the whole takes; all that take any of it agree."""
    takers = [name for name, feeds in graph.feeds.items() if any(feed[0].stage is None for feed in feeds.values())]
    taken = [manifests[name] for name in takers]
    wanted = {spec.name for spec in graph.inputs}
    first = raw_input_of(taken[0]) if taken and taken[0] else None
    if first is None:
        return None
    for manifest in taken:
        if manifest is None or raw_input_of(manifest) != first or {spec.name for spec in manifest.inputs} != wanted:
            return None
    return takers[0]


def _labels(graph: Graph, manifests: Mapping[str, Manifest | None]) -> tuple[str, ...] | None:
    """Of the models that give the first output, where they have the same."""
    feed = next(iter(graph.gives.values()))
    found = {manifest.labels if (manifest := manifests[source.stage or ""]) else None for source in feed}
    return found.pop() if len(found) == 1 else None
