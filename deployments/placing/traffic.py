"""What the file that `place` reads may say: the models, what they are asked, and the nodes there are."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Self

import yaml
from pydantic import BaseModel, ByteSize, ConfigDict, Field, model_validator

from deployments.errors import SettingsError
from deployments.settings import parse
from optimization.artifact.manifest import NAME_PATTERN


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)


class ExpectedModel(_Settings):
    """One model and the requests it is expected to get."""

    artifact: str = Field(pattern=NAME_PATTERN)
    """Name of the artifact. Its newest version's manifest gives what is not said here."""
    requests_per_s: float = Field(gt=0)
    """Mean rate of requests."""
    burstiness: float = Field(default=1.0, ge=0, le=100)
    """Standard deviation of the time between two requests over its mean: 0 for a metronome, 1 for independent clients
    (Poisson), 3 to 8 where requests come in bursts."""
    samples: int = Field(default=1, ge=1)
    """Samples of one request; at most `max_batch_size`."""
    latency_target_s: float | None = Field(default=None, gt=0)
    """Seconds within which a request shall be answered; the file's own `latency_target_s` if not given."""
    latency_s: dict[Annotated[int, Field(ge=1)], Annotated[float, Field(gt=0)]] | None = Field(
        default=None, min_length=1
    )
    """Seconds of one call of the model by batch size, with `num_threads` threads; the manifest's if not given, which
    were measured with one."""
    request_s: float = Field(default=0.00013, ge=0)
    """Seconds of CPU that a replica spends on a request besides the model, reading and writing it."""
    weights: ByteSize | None = None
    """Memory of the weights, which lie once on a node however many replicas it has; the artifact's size if not
    given."""
    replica_memory: ByteSize = ByteSize(150 * 2**20)
    """Memory that each replica takes besides: its interpreter and libraries."""
    num_threads: int = Field(default=1, ge=1, le=1024)
    """CPU threads of one replica."""
    max_batch_size: int = Field(default=64, ge=1, le=65536)
    """Most samples in one call; fewer where larger batches answer no more samples a second."""


class Node(_Settings):
    """A machine that replicas may run on."""

    name: str = Field(min_length=1)
    """What it is called in the proposal."""
    cpus: int = Field(ge=1)
    """CPUs that the replicas may use."""
    memory: ByteSize = Field(gt=0)
    """Memory that they may use, such as `8GiB`."""


class Traffic(_Settings):
    """The file that `python -m deployments place` reads."""

    models: tuple[ExpectedModel, ...] = Field(min_length=1)
    """The models to place, each once."""
    nodes: tuple[Node, ...] = ()
    """The nodes; equal ones are given by `--nodes`, `--cpus` and `--memory` in place of these."""
    latency_target_s: float | None = Field(default=None, gt=0)
    """Target of the models that name none."""
    goal: float = Field(default=0.99, gt=0, lt=1)
    """Share of each model's requests that shall be answered within its target; what a placement takes is the traffic
    up to which it keeps this."""
    headroom: float = Field(default=2.0, gt=0)
    """How many times the expected traffic the placement shall take, if it can: for peaks and for wrong guesses."""
    artifacts: str = "artifacts"
    """Directory or URL of the artifacts, as in `serve_config.yaml`."""

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        for key, names in (("models", [m.artifact for m in self.models]), ("nodes", [n.name for n in self.nodes])):
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise ValueError(f"{key} must name each once, got {', '.join(twice)} again")
        return self


def read(path: Path) -> Traffic:
    """The traffic that the YAML file `path` describes.

    Raises:
        SettingsError: it cannot be read, or a setting breaks its rule.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} cannot be read: {error}") from error
    except yaml.YAMLError as error:
        raise SettingsError(f"{path} is no YAML: {error}") from error
    if not isinstance(content, dict):
        raise SettingsError(f"{path} must hold a mapping with `models`, got {type(content).__name__}")
    return parse(Traffic, content, str(path))


def chosen_nodes(traffic: Traffic, num: int | None, cpus: int | None, memory: str | None) -> Sequence[Node]:
    """The nodes of the file, or `num` equal ones of so many CPUs and so much memory.

    Raises:
        SettingsError: there are both or neither, or a number breaks its rule.
    """
    given = {"--nodes": num, "--cpus": cpus, "--memory": memory}
    lacking = [option for option, value in given.items() if value is None]
    if traffic.nodes:
        if len(lacking) < len(given):
            raise SettingsError("nodes must be given once, got them in the file and on the command line: drop either")
        return traffic.nodes
    if lacking:
        raise SettingsError(
            f"nodes must be given, in the file or by --nodes, --cpus and --memory: {', '.join(lacking)} lack"
        )
    assert num is not None
    if num < 1:
        raise SettingsError(f"--nodes must be at least 1, got {num}")
    size = {"cpus": cpus, "memory": memory}
    return [parse(Node, {"name": f"node-{number}", **size}, "node") for number in range(1, num + 1)]
