"""Writes docs/settings.md from the settings classes: `python -m tests.settings_page`."""

from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from deployments.access.keys import Key, KeysFile
from deployments.embeddings.settings import EmbeddingSettings
from deployments.manifests import values
from deployments.placing.traffic import ExpectedModel, Node, Traffic
from deployments.retraining.settings import RetrainingSettings
from deployments.rollout.analysis.settings import AnalysisSettings
from deployments.rollout.plan import RolloutSettings
from deployments.settings import (
    AccessSettings,
    CascadeSettings,
    FeedbackSettings,
    ModelSettings,
    SampleSettings,
    Scaling,
    ServerSettings,
    ShadowSettings,
    SpeakerSettings,
    TableInput,
)
from deployments.stages.declared import PipelineSettings, Stage
from optimization.recipe import architectures, methods, recipe, settings, sources, teaching
from optimization.recommenders import recipe as recommenders
from optimization.sequences import recipe as sequences
from telemetry.config import CollectorConfig
from telemetry.forwarding.backend import BackEnd, RemoteWrite, Secret, Tls
from telemetry.notify.channels import Alertmanager, Email, OtlpLogs, Slack, Webhook
from telemetry.notify.notifier import NotifyConfig
from telemetry.receivers.config import ReceiverConfig
from telemetry.series.prices import Prices
from telemetry.slo.objective import Objective
from telemetry.storage.config import StorageConfig
from telemetry.watching.detection import DetectionConfig, Limits

PAGE = Path("docs/settings.md")

SECTIONS: list[tuple[str, list[type[BaseModel]]]] = [
    (
        "`serve_config.yaml`: `args` of an application",
        [
            ModelSettings,
            Scaling,
            CascadeSettings,
            ShadowSettings,
            FeedbackSettings,
            RolloutSettings,
            SampleSettings,
            AnalysisSettings,
            TableInput,
            PipelineSettings,
            Stage,
            EmbeddingSettings,
            SpeakerSettings,
            ServerSettings,
            AccessSettings,
            CollectorConfig,
            ReceiverConfig,
            BackEnd,
            RemoteWrite,
            Secret,
            Tls,
            Prices,
            DetectionConfig,
            Limits,
            StorageConfig,
            Objective,
            NotifyConfig,
            Webhook,
            Alertmanager,
            Slack,
            Email,
            OtlpLogs,
        ],
    ),
    ("The file of keys", [KeysFile, Key]),
    ("The file of `retrain`", [RetrainingSettings]),
    ("The file of `place`", [Traffic, ExpectedModel, Node]),
    (
        "The values of `manifest`",
        [
            values.Values,
            values.Image,
            values.Pod,
            values.Secrets,
            values.Artifacts,
            values.State,
            values.Network,
            values.Redis,
        ],
    ),
    (
        "Recipes",
        [
            recipe.Recipe,
            sources.Digits,
            sources.BreastCancer,
            sources.Mnist1d,
            sources.Table,
            sources.Pictures,
            sources.TorchData,
            sources.HuggingFaceData,
            sources.Phrases,
            recipe.Teacher,
            architectures.Mlp,
            architectures.Cnn,
            architectures.Resnet,
            architectures.TorchModel,
            architectures.HuggingFaceModel,
            architectures.TeacherLayers,
            architectures.TextCnn,
            architectures.BagOfNgrams,
            methods.Training,
            methods.Distill,
            teaching.Hidden,
            teaching.Attention,
            teaching.Pooled,
            teaching.Features,
            methods.Prune,
            methods.Recovery,
            methods.Sparsify,
            methods.Quantize,
            recipe.Search,
            recipe.Budget,
            settings.MeasureChoice,
        ],
    ),
    (
        "Recipes of text pairs",
        [
            sequences.SequenceRecipe,
            sequences.Pairs,
            sequences.SequenceTeacher,
            sequences.EncoderDecoder,
            sequences.TeacherStacks,
            sequences.SequenceDistill,
            sequences.SequenceQuantize,
        ],
    ),
    (
        "Recipes of recommenders",
        [
            recommenders.RecommenderRecipe,
            recommenders.Interactions,
            recommenders.Embeddings,
            recommenders.Network,
            recommenders.Pushing,
        ],
    ),
]

ENVIRONMENT = """\
## Environment

| variable | meaning |
|---|---|
| `TRIMTAB_COLLECTOR` | URL of Trimtab's OTLP/gRPC collector, where `args` name none; `none`: there is none |
| `TRIMTAB_COLLECTOR_TOKEN` | bearer token for it |
| `TRIMTAB_COLLECTOR_CERTIFICATE` | file of the certificates that its own is checked against |
| `OTEL_*` | OpenTelemetry's own: where to report as well, and how ([telemetry](telemetry.md#what-is-reported)) |
| `TRIMTAB_ACCESS`, `TRIMTAB_AUDIT` | `access` and `audit` of the applications whose `args` name none |
| `TRIMTAB_LOGS` | `json`: logs are lines of JSON, each with the trace of its request ([logs](operations.md#logs)) |
| `TRIMTAB_TLS_CERT` | PEM file with a certificate, its chain and its private key: the ingress then speaks TLS alone |
| `TRIMTAB_HOST` | address the collector listens on where `args` name none; on the head of a cluster, all |
| `TRIMTAB_ARTIFACTS` | `artifacts` of the applications whose `args` name none: one source for a whole cluster |
| `TRIMTAB_INGRESS_EVERY_NODE` | `1`: nodes without a model's replica answer too; set on hosts of a cluster |
| `TRIMTAB_PYTHON` | the Python that a host's environment is made of, `python3` |
| `RAY_SERVE_*` | Ray Serve's own; `deployments/launch/serve.py` sets some of them unless they are set |
| `RAY_ADDRESS` | the Ray cluster to use; without it one is started on this machine |
"""


def page() -> str:
    """The whole page."""
    return "\n".join(
        ["# Settings\n", "Written by `python -m tests.settings_page`; a test fails while it is stale.\n", *_body()]
    )


def _body() -> Iterator[str]:
    for title, classes in SECTIONS:
        yield f"## {title}\n"
        for each in classes:
            yield f"### {each.__name__}\n\n{(each.__doc__ or '').strip()}\n"
            yield "| setting | default | meaning |\n|---|---|---|"
            for name, field in each.model_fields.items():
                meaning = " ".join((field.description or "").split())
                default = _default(field.get_default(call_default_factory=True))
                yield f"| `{field.alias or name}` | {default} | {meaning} |"
            yield ""
    yield ENVIRONMENT


def _default(value: object) -> str:
    if value is PydanticUndefined:
        return "required"
    return "see below" if isinstance(value, BaseModel) else f"`{value}`"


if __name__ == "__main__":
    PAGE.write_text(page())
