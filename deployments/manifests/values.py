"""What `cluster.yaml` does not say of a cluster on Kubernetes: values in the shape of a Helm chart's."""

from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from deployments.errors import SettingsError
from deployments.settings import parse

Name = Field(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=63)
_QUANTITY = r"^[0-9]+(\.[0-9]+)?(m|k|Ki|M|Mi|G|Gi|T|Ti)?$"


class _Values(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, alias_generator=to_camel, serialize_by_alias=True
    )


class Image(_Values):
    """The image of every pod, built from `Containerfile`."""

    repository: str = "trimtab"
    """Where it is, without the tag."""
    tag: str = "0.1.0"
    """Which one; best one that is never moved."""
    pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    """When a node pulls it."""
    pull_secrets: tuple[str, ...] = ()
    """Names of Secrets that a private registry asks for."""


class Pod(_Values):
    """What one pod takes, and where it may run."""

    cpu: str = Field(default="4", pattern=_QUANTITY)
    """CPUs, asked for and at most; where `cluster.yaml` gives a node type's `CPU`, that."""
    memory: str = Field(default="8Gi", pattern=_QUANTITY)
    """Memory, asked for and at most."""
    shared_memory: str = Field(default="2Gi", pattern=_QUANTITY)
    """Of it, what Ray's object store may take in `/dev/shm`."""
    scratch: str = Field(default="20Gi", pattern=_QUANTITY)
    """Most of the node's disk for `/tmp`, Ray's session and the cache of artifacts."""
    node_selector: dict[str, str] = {}
    """Labels that its node must have."""
    tolerations: tuple[dict[str, Any], ...] = ()
    """Taints that it may run in spite of; that of GPUs is added where it has one."""


class Secrets(_Values):
    """Names of Secrets of the namespace, which are made beside these files; their content is never read."""

    keys: str = Field(default="trimtab-keys", min_length=1)
    """Holds `keys.yaml`, which `python -m deployments key` writes."""
    certificate: str | None = None
    """Holds `tls-combined.pem`, a certificate, its chain and its key, as cert-manager writes it: the ingress then
    speaks TLS alone."""
    files: tuple[str, ...] = ()
    """Each is mounted at `/etc/trimtab/secrets/<name>`, for what `serve_config.yaml` names as a file."""
    environment: tuple[str, ...] = ()
    """The entries of each are environment variables of every pod: credentials of the artifacts' source, and what
    `serve_config.yaml` names as a variable."""


class Artifacts(_Values):
    """The one source of artifacts."""

    url: str | None = None
    """For models whose `artifacts` are a directory in `serve_config.yaml`: the URL that pods shall read instead."""
    claim: str | None = None
    """Or a PersistentVolumeClaim that exists, which many nodes may mount; without either, one is made."""
    size: str = Field(default="50Gi", pattern=_QUANTITY)
    """Of the one that is made."""
    storage_class: str | None = None
    """Of the one that is made, which must be able to let many nodes write (ReadWriteMany): the cluster's own if not
    given."""


class State(_Values):
    """The volume of the head: the collector's series, spans and logs, and the state of rollouts."""

    size: str = Field(default="20Gi", pattern=_QUANTITY)
    """Its size; the collector keeps 8 GiB unless `storage.max_bytes` says otherwise, and a journal."""
    storage_class: str | None = None
    """The cluster's own if not given."""


class Network(_Values):
    """Who may reach the pods; no one else may."""

    clients: tuple[str, ...] = ()
    """Namespaces whose pods may call models by HTTP and gRPC, and report by OTLP. Where none is given, everyone may
    call models (who is answered, keys decide) and nobody may report but the pods themselves."""
    operator: str = Field(default="kuberay-system", min_length=1)
    """The namespace of KubeRay's operator, which deploys the applications through Ray's dashboard."""
    monitoring: str | None = None
    """The namespace of a Prometheus that reads Ray's own metrics."""


class Redis(_Values):
    """Where Ray's head keeps what must survive it; with it workers go on while the head is gone."""

    address: str = Field(pattern=r"^(rediss?://)?[^\s/]+:[0-9]+$")
    """Host and port."""
    secret: str | None = None
    """Name of the Secret that holds its `password`."""


class Values(_Values):
    """The whole file."""

    namespace: str = Name
    """The namespace that everything is in."""
    image: Image = Image()
    """What every pod runs."""
    head: Pod = Pod(cpu="2")
    """The pod of Ray's head, the collector and `server`; replicas run beside it only where there are no workers."""
    worker: Pod = Pod()
    """Every other pod."""
    secrets: Secrets = Secrets()
    """Keys, certificates and credentials, by name."""
    artifacts: Artifacts = Artifacts()
    """Where models come from."""
    state: State = State()
    """The head's volume."""
    service: Literal["ClusterIP", "NodePort", "LoadBalancer"] = "ClusterIP"
    """The type of the Service that clients call."""
    network: Network = Network()
    """Who may call."""
    redis: Redis | None = None
    """Ray's state outside of its head; without it, a head that is gone takes the cluster along."""


def read(path: Path | None, namespace: str) -> Values:
    """The values in the file; `namespace` where it names none.

    Raises:
        SettingsError: it cannot be read, or a value breaks its rule.
    """
    given: Any = {}
    if path is not None:
        try:
            given = yaml.safe_load(path.read_text())
        except OSError as error:
            raise SettingsError(f"{path} must be readable, got {error.strerror}") from error
        except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
            raise SettingsError(f"{path} must be YAML, got: {error}") from error
        given = {} if given is None else given
        if not isinstance(given, dict):
            raise SettingsError(f"{path} must hold a mapping, got {type(given).__name__}")
    return parse(Values, {"namespace": namespace, **given}, "values")
