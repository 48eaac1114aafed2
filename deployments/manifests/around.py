"""The built-in kinds around a cluster: namespace, volumes, Services, a budget for disruptions, policies."""

from collections.abc import Sequence

from deployments.manifests.node_groups import Hosts
from deployments.manifests.pods import (
    AGENT_PORT,
    DASHBOARD_PORT,
    GCS_PORT,
    INGRESS_LOG_PORT,
    METRICS_PORT,
    OTLP_GRPC_PORT,
    OTLP_HTTP_PORT,
    Object,
    Plan,
)

_NAMESPACE_LABEL = "kubernetes.io/metadata.name"


def namespace(plan: Plan) -> Object:
    """The namespace, in which no pod may run that could harm its node."""
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": plan.values.namespace,
            "labels": {"pod-security.kubernetes.io/enforce": "restricted"},
        },
    }


def volumes(plan: Plan) -> list[Object]:
    """Claims on the head's volume and, where it is not there already, on that of artifacts."""
    values = plan.values
    assert plan.served is not None, "only what serves has a state"
    found = [_claim(plan, plan.state_claim, "ReadWriteOnce", values.state.size, values.state.storage_class)]
    if plan.has_volume and values.artifacts.claim is None:
        artifacts = values.artifacts
        found.append(_claim(plan, plan.artifacts_claim, "ReadWriteMany", artifacts.size, artifacts.storage_class))
    return found


def services(plan: Plan) -> list[Object]:
    """One that clients call, and one that leads to the collector.

    KubeRay makes a Service for HTTP too, and puts no other port into it. The pods of these have its own label, which
    says whether their ingress answers.
    """
    served = plan.served
    assert served is not None, "only what serves has clients"
    called = [{"name": "http", "port": served.http_port, "targetPort": served.http_port}]
    if served.grpc_port is not None:
        called.append({"name": "grpc", "port": served.grpc_port, "targetPort": served.grpc_port})
    told = [
        {"name": "otlp-grpc", "port": OTLP_GRPC_PORT, "targetPort": OTLP_GRPC_PORT},
        {"name": "otlp-http", "port": OTLP_HTTP_PORT, "targetPort": OTLP_HTTP_PORT},
        {"name": "ingress-log", "port": INGRESS_LOG_PORT, "targetPort": INGRESS_LOG_PORT, "protocol": "UDP"},
    ]
    answering = {"app.kubernetes.io/instance": plan.name, "ray.io/serve": "true"}
    return [
        _service(plan, plan.name, {"type": plan.values.service, "selector": answering, "ports": called}),
        _service(
            plan,
            plan.collector,
            {"type": "ClusterIP", "selector": plan.labels("head"), "publishNotReadyAddresses": True, "ports": told},
        ),
    ]


def disruption_budget(plan: Plan, hosts: Hosts) -> Object | None:
    """At most one worker goes at a time when nodes are drained; none where that would let no node be drained.

    Kubernetes cannot count what a RayCluster wants, so the budget is a number of pods, not `maxUnavailable`.
    """
    workers = sum(group.smallest for group in hosts.workers)
    if workers < 2:
        return None
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": f"{plan.name}-workers", "namespace": plan.values.namespace},
        "spec": {"minAvailable": workers - 1, "selector": {"matchLabels": plan.labels("worker")}},
    }


def network_policy(plan: Plan) -> Object:
    """Pods of the cluster reach each other; from elsewhere only what is named reaches them."""
    network, served = plan.values.network, plan.served
    own = _pods(plan.name)
    operator = _namespaces([network.operator])
    ingress: list[Object] = [
        {"from": [own]},
        {"from": operator, "ports": _ports([GCS_PORT, DASHBOARD_PORT, AGENT_PORT])},
    ]
    if served is not None:
        called = [port for port in (served.http_port, served.grpc_port) if port is not None]
        clients = {"from": [*_namespaces(network.clients), *operator]} if network.clients else {}
        ingress.append({**clients, "ports": _ports(called)})
        reporting = [_pods(plan.recipes), *_namespaces(network.clients)]
        ingress.append({"from": reporting, "ports": _ports([OTLP_GRPC_PORT, OTLP_HTTP_PORT])})
    if network.monitoring is not None:
        ingress.append({"from": _namespaces([network.monitoring]), "ports": _ports([METRICS_PORT])})
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": plan.name, "namespace": plan.values.namespace},
        "spec": {
            **own,
            "policyTypes": ["Ingress"],
            "ingress": ingress,
        },
    }


def _claim(plan: Plan, name: str, mode: str, size: str, storage_class: str | None) -> Object:
    spec: Object = {"accessModes": [mode], "resources": {"requests": {"storage": size}}}
    if storage_class is not None:
        spec["storageClassName"] = storage_class
    metadata = {"name": name, "namespace": plan.values.namespace}
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": spec}


def _service(plan: Plan, name: str, spec: Object) -> Object:
    metadata = {"name": name, "namespace": plan.values.namespace}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}


def _pods(cluster: str) -> Object:
    return {"podSelector": {"matchLabels": {"app.kubernetes.io/instance": cluster}}}


def _namespaces(names: Sequence[str]) -> list[Object]:
    return [{"namespaceSelector": {"matchLabels": {_NAMESPACE_LABEL: name}}} for name in names]


def _ports(ports: Sequence[int]) -> list[Object]:
    return [{"port": port, "protocol": "TCP"} for port in ports]
