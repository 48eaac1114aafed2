"""What `serve_config.yaml` may say under an application's `args`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from deployments.errors import SettingsError, brief
from deployments.replicas import source
from deployments.replicas.node_cache import NodeCache, cache_folder
from deployments.rollout.plan import RolloutSettings
from optimization.artifact import signature
from optimization.artifact.manifest import NAME_PATTERN


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


PublicKey = Annotated[str, AfterValidator(signature.public_key)]
Version = Annotated[str, Field(pattern=r"^[1-9][0-9]*$")]


def _version_policy(given: object) -> object:
    """One version stands for a list of one; YAML reads a bare number as an integer."""
    if given is None:
        return None
    listed = list(given) if isinstance(given, list | tuple) else [given]
    if not listed:
        raise ValueError("a list of versions must name at least one")
    return tuple(str(each) if isinstance(each, int) else each for each in listed)


def text_of_path(given: object) -> object:
    """A path as text; whatever else it is, as it is."""
    return str(given) if isinstance(given, Path) else given


class AccessSettings(_Settings):
    """Who is answered; every application of `deployments.app` takes these."""

    access: str | None = None
    """Path of the file of keys, or `open`; `TRIMTAB_ACCESS` if not given. With neither, only loopback may be served."""
    audit: Path | None = None
    """Directory of the audit log of requests to what keys protect; `TRIMTAB_AUDIT` if not given, else there is none."""


class ServerSettings(AccessSettings):
    """What the models and `server` alike are told."""

    trace_ratio: float = Field(default=0.01, ge=0, le=1)
    """Fraction of the requests without a `traceparent` of their own that are reported as spans. Those that fail or are
    slow are reported in any case."""
    trace_slow_s: float | None = Field(default=None, gt=0)
    """Seconds from which a request is slow; if not given, one is that takes longer than 99 of 100 like it."""
    telemetry_endpoint: str | None = None
    """URL of Trimtab's OTLP/gRPC collector, `none` if there is none; `TRIMTAB_COLLECTOR`, else port 4317 of Ray's head
    node. `OTEL_EXPORTER_OTLP_ENDPOINT` and its like name another that gets the same."""
    max_body_bytes: int = Field(default=64 * 2**20, ge=1)
    """Largest request body in bytes, packed and unpacked; a larger one gets status 413, or RESOURCE_EXHAUSTED where it
    is a gRPC message. `server` passes streams and compressed messages on to the models: it takes as much of them."""


class SpeakerSettings(ServerSettings):
    """Arguments of `deployments.app:server`, the endpoints that speak for all models."""

    rollout_dir: Path | None = None
    """Directory of the head node where rollouts are written down, to go on with after a crash;
    `$XDG_STATE_HOME/trimtab/rollouts` if not given, that is `~/.local/state/trimtab/rollouts`."""


class Scaling(_Settings):
    """How many replicas a model has; a setting of `ModelSettings`. Without it there is one."""

    min_replicas: int = Field(default=1, ge=0)
    """Fewest replicas; with 0 an idle model goes, and its next request waits for a replica to start."""
    max_replicas: int = Field(default=1, ge=1)
    """Most replicas; the same as `min_replicas` for a fixed number."""
    busy: float = Field(default=0.7, gt=0, le=1)
    """Share of its time that a replica should be busy, in the model or on its CPUs."""
    ongoing: float | None = Field(default=None, gt=0)
    """Requests that a replica should have under way; `max_batch_size` if not given."""
    queue_s: float = Field(default=0.1, gt=0)
    """Seconds that a request may wait for its batch, on average, before there are more replicas."""
    calm_s: float = Field(default=60.0, gt=0)
    """Seconds for which fewer replicas must have sufficed before there are fewer; longer where that proves rash."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_replicas > self.max_replicas:
            raise ValueError(f"min_replicas must be at most max_replicas, {self.max_replicas}")
        return self


class CascadeSettings(_Settings):
    """Who answers what a model is not sure of; a setting of `ModelSettings`."""

    teacher: str = Field(pattern=NAME_PATTERN)
    """Name of the model that `python -m optimization cascade` measured it with; asked for the version of then."""
    in_process: bool = False
    """Whether each replica loads the teacher itself, from the same `artifacts`; else it is an application of the
    cluster, and its replicas are asked."""
    timeout_s: float = Field(default=2.0, gt=0)
    """Seconds that the teacher has for a request's rows, or what is left of the request's time where that is less."""
    without_teacher: Literal["student", "fail"] = "student"
    """What becomes of rows that the teacher does not answer in time: the student's answer, which `answered_by` calls
    `unsure_student`, or status 503 for the request."""


class ShadowSettings(_Settings):
    """Which requests the teacher answers too, unseen, to learn how often both agree; a setting of `ModelSettings`."""

    teacher: str = Field(pattern=NAME_PATTERN)
    """Name of the application of the model that this one was made from; asked for the version of then."""
    share: float = Field(default=0.01, gt=0, le=1)
    """Share of the requests that are sampled."""
    max_per_s: float = Field(default=5.0, gt=0)
    """Most rows a second that each replica asks the teacher for; in a rollout as many again, of rows that both versions
    answer, and otherwise."""


class FeedbackSettings(_Settings):
    """For how long answers wait for their labels; a setting of `ModelSettings`."""

    keep_s: float = Field(default=86_400.0, gt=0)
    """Seconds for which an answer is kept by its request's id."""
    max_requests: int = Field(default=10_000, ge=1, le=10**7)
    """Most requests whose answers a replica keeps; the oldest go first."""
    tolerance: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """Of a model that answers with one number a row, and of no other: by how much an answer may differ from its label
    and still be right."""


class SampleSettings(_Settings):
    """Which requests are kept on disk, to train the model again on what it is asked; a setting of `ModelSettings`."""

    folder: Path
    """Where they are kept, below the model's name; replicas on several nodes need one that all of them reach."""
    max_per_s: float = Field(default=5.0, gt=0)
    """Most rows a second that each replica keeps."""
    keep_s: float = Field(default=7 * 86_400.0, gt=0)
    """Seconds for which they are kept."""
    max_bytes: int = Field(default=2**30, ge=1)
    """Most bytes of a model's files; the oldest go first."""
    redact: str | None = None
    """What makes of a request's inputs by name what may be kept, or none, as `package.module:function`. Where it fails,
    nothing is kept. Without it, inputs are kept as they came."""


class TableInput(_Settings):
    """The table that an input of a model is rows of; a setting of `ModelSettings`."""

    table: str = Field(pattern=NAME_PATTERN)
    """Name of the table, which an application of `deployments.app:embeddings` holds."""
    ids: str | None = None
    """What requests carry in place of the rows, INT64; not needed for what `split-embeddings` wrote, whose manifest
    says it."""


class ModelSettings(ServerSettings):
    """Arguments of `deployments.app:model`."""

    artifact: str = Field(pattern=NAME_PATTERN)
    """Name of the artifact to serve; also the model's name in the protocol."""
    version: Annotated[tuple[Version, ...] | None, BeforeValidator(_version_policy)] = None
    """Version to serve, or a list whose highest answers where a path names none; the newest, and its successors as
    they are published, if not given."""
    keep_versions: int = Field(default=2, ge=1, le=100)
    """Newest versions that stay loaded and answer at `/versions/<v>`; each takes the model's memory."""
    artifacts: Annotated[str, BeforeValidator(text_of_path), AfterValidator(source.checked)] = Field(
        default_factory=source.default, validate_default=True
    )
    """Directory of all artifacts, or its URL (`s3://`, `gs://`, `https://`, `file://` and what else fsspec reads), of
    which each node copies what it serves; `cluster://` is what `python -m deployments push` puts into the cluster
    itself. A relative path starts where Ray was started."""
    signed_by: tuple[PublicKey, ...] = ()
    """Public keys, as `python -m optimization sign` prints them: a version that none of them has signed is not served,
    and the one before goes on. Each node copies what it serves, of a directory too. Without any, none is asked for."""
    artifacts_cache_bytes: int = Field(default=20 * 2**30, ge=0)
    """Bytes that a node keeps of what comes from a URL; what its replicas use stays in any case."""
    max_batch_size: int = Field(default=64, ge=1, le=65536)
    """Most samples in one call of the model; requests that wait are batched up to it, or up to where larger batches
    answer no more samples a second."""
    max_request_samples: int = Field(default=4096, ge=1, le=10**6)
    """Most samples of one request; what is more than one call takes is answered by several, in order."""
    scatter_from_samples: int = Field(default=128, ge=0, le=10**6)
    """Samples from which a request that is more than one call is shared out over the model's replicas and gathered in
    order, where one alone would take 0.05 s and more; 0 shares out none. Without effect where there is one replica."""
    max_queue_size: int = Field(default=512, ge=1, le=10**6)
    """Most requests that wait in a replica; one more gets status 429 and is told when to try again."""
    max_queue_bytes: int = Field(default=256 * 2**20, ge=1)
    """Most bytes that the bodies of a replica's requests under way may have together; one more gets status 429."""
    latency_target_s: float | None = Field(default=None, gt=0)
    """Seconds within which a request shall be answered. Batches stay small enough for it, and what could not keep it
    gets status 429; without it, only `max_batch_size` and `max_queue_size` bound them."""
    cache_bytes: int = Field(default=0, ge=0)
    """Bytes of answers that a replica keeps, of each version, to give them again for the same inputs; 0 keeps none."""
    num_threads: int = Field(default=1, ge=1, le=1024)
    """CPU threads of one replica's ONNX Runtime session, and the CPUs it reserves of its node."""
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    """Where the model runs; "auto" takes a GPU where the cluster has one and ONNX Runtime can use it, else the CPU."""
    gpu_fraction: float = Field(default=1.0, gt=0, le=1)
    """Part of a GPU that a replica reserves; with 0.25, four share one and its memory."""
    cascade: CascadeSettings | None = None
    """Who answers what the model is not sure of; without it, it answers everything itself."""
    watch_drift: bool = True
    """Whether a sample of the rows is compared with the manifest's reference, where it has one: 50 a second and 1 % of
    a CPU at most."""
    shadow: ShadowSettings | None = None
    """Which requests the teacher answers too; without it, none."""
    feedback: FeedbackSettings | None = None
    """For how long answers wait for the labels that `POST .../feedback` brings; without it, none are kept."""
    samples: SampleSettings | None = None
    """Which requests are kept to train the model again; without it, none."""
    embeddings: dict[str, TableInput] = {}
    """Inputs of the model that are rows of tables, by name: requests carry ids, whose rows are looked up before
    requests are batched."""
    scaling: Scaling = Scaling()
    """How many replicas there are, and when there are more or fewer."""
    rollout: RolloutSettings | None = None
    """How versions that are published are rolled out: none answers before. Without it, those that `version` does not
    rule out answer at once."""

    @model_validator(mode="after")
    def _largest_body_fits(self) -> Self:
        if self.max_body_bytes > self.max_queue_bytes:
            raise ValueError(f"max_queue_bytes must be at least max_body_bytes, {self.max_body_bytes}")
        return self

    @model_validator(mode="after")
    def _rollouts_choose_the_version(self) -> Self:
        if self.rollout is not None and self.version is not None:
            raise ValueError("version must be left out where rollout is given, which decides what answers")
        return self

    @model_validator(mode="after")
    def _teacher_is_another(self) -> Self:
        if self.cascade is not None and self.cascade.teacher == self.artifact:
            raise ValueError(f"cascade.teacher must be another model than {self.artifact!r}")
        return self

    @model_validator(mode="after")
    def _shadow_is_another(self) -> Self:
        if self.shadow is not None and self.shadow.teacher == self.artifact:
            raise ValueError(f"shadow.teacher must be another model than {self.artifact!r}")
        return self

    def source(self) -> source.Source:
        """Where the model's versions come from."""
        cache = NodeCache(cache_folder(), self.artifacts_cache_bytes)
        return source.source(self.artifacts, self.artifact, cache, signed_by=self.signed_by)

    @property
    def answering(self) -> str | None:
        """The version for paths that name none, or none for the newest."""
        return max(self.version, key=int) if self.version else None


_S = TypeVar("_S", bound=BaseModel)


def split_access(args: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What of `args` are `AccessSettings`, and the rest."""
    ours = {name: value for name, value in args.items() if name in AccessSettings.model_fields}
    return ours, {name: value for name, value in args.items() if name not in ours}


def parse(settings: type[_S], args: Mapping[str, Any], where: str) -> _S:
    """`args` as `settings`.

    Raises:
        SettingsError: it names the key, the rule and what was got.
    """
    if not isinstance(args, Mapping):
        raise SettingsError(f"{where} must be a mapping of settings, got {brief(args)}")
    try:
        return settings.model_validate(dict(args))
    except ValidationError as error:
        problems = [
            f"{where}.{'.'.join(map(str, item['loc']))}: {item['msg']}, got {item['input']!r}"
            for item in error.errors(include_url=False)
        ]
        known = ", ".join(settings.model_fields)
        raise SettingsError("; ".join(problems) + f" (known: {known})") from error
