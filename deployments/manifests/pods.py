"""Pods of Ray's head and workers: they run as nobody in particular, write only to their volumes, and are probed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from deployments.access.guard import ACCESS
from deployments.ingress.haproxy import TLS_CERT
from deployments.ingress.log import LOG_TARGET
from deployments.launch.environment import EVERYWHERE
from deployments.manifests.node_groups import NodeGroup
from deployments.manifests.served import SHARED, Served
from deployments.manifests.values import Pod, Values

USER = 10_001
"""What `Containerfile` runs as; Kubernetes gives the volumes to its group."""
PROGRAMS = "/opt/trimtab/bin"
"""Where `Containerfile` installs to."""
INGRESS_LOG_PORT = 5514
OTLP_GRPC_PORT, OTLP_HTTP_PORT = 4317, 4318
GCS_PORT, DASHBOARD_PORT, AGENT_PORT, METRICS_PORT = 6379, 8265, 52365, 8080
_SECRETS = "/etc/trimtab"
_STATE, _CACHE = "/var/lib/trimtab", "/var/cache/trimtab"
_GPU = "nvidia.com/gpu"
_STOP_S = 120
"""Seconds that a pod has to end: other ingresses look away, what was begun is answered, Ray ends."""

Object = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All that pods are made from."""

    name: str
    """Of the cluster."""
    values: Values
    served: Served | None
    """What they serve; none where they run recipes and score files."""
    has_volume: bool
    """Whether artifacts lie on a volume, which recipes write to and models are read from."""
    reports_to: str | None = None
    """The cluster whose collector is told, where it is not this one's."""

    def labels(self, component: str) -> dict[str, str]:
        """What Services, policies and budgets find the pods by; names that KubeRay leaves alone."""
        return {"app.kubernetes.io/instance": self.name, "app.kubernetes.io/component": component}

    @property
    def collector(self) -> str:
        """The Service that leads to the head's collector."""
        return f"{self.reports_to or self.name}-collector"

    @property
    def recipes(self) -> str:
        """The cluster beside it that runs recipes."""
        return f"{self.name}-recipes"

    @property
    def state_claim(self) -> str:
        """The head's volume."""
        return f"{self.name}-state"

    @property
    def artifacts_claim(self) -> str:
        """The volume of artifacts."""
        return self.values.artifacts.claim or f"{self.values.namespace}-artifacts"


def head(plan: Plan, *, num_cpus: int | None, shares: bool) -> Object:
    """The template of the head; it `shares` the work where there are no workers."""
    pod = plan.values.head if num_cpus is None else plan.values.head.model_copy(update={"cpu": str(num_cpus)})
    ports = {"gcs-server": GCS_PORT, "dashboard": DASHBOARD_PORT, "metrics": METRICS_PORT}
    if plan.served is not None:
        ports |= {"serve": plan.served.http_port, "otlp-grpc": OTLP_GRPC_PORT, "otlp-http": OTLP_HTTP_PORT}
    container = {
        **_container(plan, pod, "ray-head", ports, num_gpus=0),
        "readinessProbe": _probe("/api/gcs_healthz", DASHBOARD_PORT),
    }
    if plan.served is not None:
        container["ports"].append({"name": "ingress-log", "containerPort": INGRESS_LOG_PORT, "protocol": "UDP"})
        container["volumeMounts"].append({"name": "state", "mountPath": _STATE})
    template = _template(plan, pod, "head", container, num_gpus=0)
    if plan.served is not None:
        template["spec"]["volumes"].append({"name": "state", "persistentVolumeClaim": {"claimName": plan.state_claim}})
    return {
        "rayStartParams": {"dashboard-host": "0.0.0.0", **({} if shares else {"num-cpus": "0"})},
        "template": template,
    }


def worker(plan: Plan, group: NodeGroup) -> Object:
    """The template of one group of workers, and how many there are."""
    pod = plan.values.worker
    if group.num_cpus is not None:
        pod = pod.model_copy(update={"cpu": str(group.num_cpus)})
    ports = {"metrics": METRICS_PORT}
    ready = _probe("/api/local_raylet_healthz", AGENT_PORT)
    if plan.served is not None:
        ports |= {"serve": plan.served.http_port}
        ready = _probe("/-/healthz", plan.served.http_port, tls=plan.values.secrets.certificate is not None)
    container = {**_container(plan, pod, "ray-worker", ports, num_gpus=group.num_gpus), "readinessProbe": ready}
    # A Service takes a moment to leave a pod out that ends; until then its ingress answers.
    container["lifecycle"] = {"preStop": {"exec": {"command": ["/bin/sh", "-c", "sleep 10; ray stop"]}}}
    template = _template(plan, pod, "worker", container, num_gpus=group.num_gpus)
    template["spec"]["automountServiceAccountToken"] = False
    template["spec"]["topologySpreadConstraints"] = [
        {
            "maxSkew": 1,
            "topologyKey": "kubernetes.io/hostname",
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": plan.labels("worker")},
        }
    ]
    return {
        "groupName": group.name,
        "replicas": group.smallest,
        "minReplicas": group.smallest,
        "maxReplicas": group.largest,
        "rayStartParams": {},
        "template": template,
    }


def security() -> Object:
    """What a container may do: nothing but run."""
    return {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        "runAsUser": USER,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def _template(plan: Plan, pod: Pod, component: str, container: Object, *, num_gpus: int) -> Object:
    tolerations = [
        *pod.tolerations,
        *([{"key": _GPU, "operator": "Exists", "effect": "NoSchedule"}] if num_gpus else []),
    ]
    spec = {
        "containers": [container],
        "volumes": _volumes(plan, pod),
        "securityContext": {"fsGroup": USER, "runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "terminationGracePeriodSeconds": _STOP_S,
    }
    if plan.values.image.pull_secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in plan.values.image.pull_secrets]
    if pod.node_selector:
        spec["nodeSelector"] = pod.node_selector
    if tolerations:
        spec["tolerations"] = tolerations
    return {"metadata": {"labels": plan.labels(component)}, "spec": spec}


def _container(plan: Plan, pod: Pod, name: str, ports: Mapping[str, int], *, num_gpus: int) -> Object:
    image = plan.values.image
    limits: Object = {"cpu": pod.cpu, "memory": pod.memory, **({_GPU: num_gpus} if num_gpus else {})}
    found: Object = {
        "name": name,
        "image": f"{image.repository}:{image.tag}",
        "imagePullPolicy": image.pull_policy,
        "env": [{"name": name, "value": value} for name, value in _environment(plan).items()],
        "ports": [{"name": name, "containerPort": port} for name, port in ports.items()],
        "resources": {"requests": limits, "limits": limits},
        "securityContext": security(),
        "volumeMounts": _mounts(plan),
        "startupProbe": _probe("/api/local_raylet_healthz", AGENT_PORT, failures=60),
        "livenessProbe": _probe("/api/local_raylet_healthz", AGENT_PORT, failures=12),
    }
    if plan.values.secrets.environment:
        found["envFrom"] = [{"secretRef": {"name": each}} for each in plan.values.secrets.environment]
    return found


def _environment(plan: Plan) -> dict[str, str]:
    service = f"{plan.collector}.{plan.values.namespace}.svc"
    found = {"HOME": "/tmp", "XDG_CACHE_HOME": _CACHE, "TRIMTAB_COLLECTOR": f"http://{service}:{OTLP_GRPC_PORT}"}
    if plan.served is None:
        return found
    found |= {
        **EVERYWHERE,
        "RAY_SERVE_HAPROXY_BINARY_PATH": f"{PROGRAMS}/trimtab-haproxy",
        LOG_TARGET: f"{service}:{INGRESS_LOG_PORT}",
        ACCESS: f"{_SECRETS}/access/keys.yaml",
        "TRIMTAB_HOST": "0.0.0.0",
        "XDG_STATE_HOME": _STATE,
    }
    if plan.values.secrets.certificate is not None:
        found[TLS_CERT] = f"{_SECRETS}/certificate/tls-combined.pem"
    return found


def _mounts(plan: Plan) -> list[Object]:
    found: list[Object] = [
        {"name": "shared-memory", "mountPath": "/dev/shm"},
        {"name": "scratch", "mountPath": "/tmp"},
        {"name": "cache", "mountPath": _CACHE},
    ]
    if plan.has_volume:
        found.append({"name": "shared", "mountPath": SHARED, **({"readOnly": True} if plan.served else {})})
    found += [{"name": name, "mountPath": path, "readOnly": True} for name, _, path in _secrets(plan)]
    return found


def _volumes(plan: Plan, pod: Pod) -> list[Object]:
    found: list[Object] = [
        {"name": "shared-memory", "emptyDir": {"medium": "Memory", "sizeLimit": pod.shared_memory}},
        {"name": "scratch", "emptyDir": {"sizeLimit": pod.scratch}},
        {"name": "cache", "emptyDir": {"sizeLimit": pod.scratch}},
    ]
    if plan.has_volume:
        found.append({"name": "shared", "persistentVolumeClaim": {"claimName": plan.artifacts_claim}})
    found += [
        {"name": name, "secret": {"secretName": secret, "defaultMode": 0o440}} for name, secret, _ in _secrets(plan)
    ]
    return found


def _secrets(plan: Plan) -> list[tuple[str, str, str]]:
    """Volume, Secret and path of each."""
    secrets = plan.values.secrets
    found = [(f"file-{each}", each, f"{_SECRETS}/secrets/{each}") for each in secrets.files]
    if plan.served is not None:
        found.append(("access", secrets.keys, f"{_SECRETS}/access"))
        if secrets.certificate is not None:
            found.append(("certificate", secrets.certificate, f"{_SECRETS}/certificate"))
    return found


def _probe(path: str, port: int, *, failures: int = 3, tls: bool = False) -> Object:
    return {
        "httpGet": {"path": path, "port": port, **({"scheme": "HTTPS"} if tls else {})},
        "periodSeconds": 5,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
    }
