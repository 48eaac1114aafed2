"""Which process reports: by its resource, and by its connection where it does not say.

Semantic conventions: https://opentelemetry.io/docs/specs/semconv/resource/#service
"""

from typing import NamedTuple
from urllib.parse import unquote

from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from telemetry.conventions import (
    CONTAINER_ID,
    HOST_ID,
    HOST_NAME,
    NODE_NAME,
    OWN_NAMESPACE,
    POD_UID,
    PROCESS_PID,
    ROLE,
    SERVICE_INSTANCE_ID,
    SERVICE_NAME,
    SERVICE_NAMESPACE,
    SERVICE_VERSION,
)
from telemetry.receivers.attributes import attributes


class Peer(NamedTuple):
    """The other end of a connection."""

    address: str = ""
    port: str = ""
    """Empty where each request comes by a connection of its own: then it tells nobody apart."""

    def __str__(self) -> str:
        return f"{self.address}:{self.port}" if self.port else self.address


class Origin(NamedTuple):
    """Which process reports."""

    service: str
    """`service.name`, after `service.namespace` and a slash where that is another's than Trimtab's own."""
    instance: str
    """Empty where the resource does not tell its processes apart."""
    version: str = ""
    role: str = ""
    host: str = ""
    """What its devices are told apart by from those of other hosts."""


NOBODY = Peer()
"""Nobody known."""


def grpc_peer(peer: str) -> Peer:
    """gRPC's way to write it, such as `ipv4:127.0.0.1:4317` or `ipv6:%5B::1%5D:4317`."""
    address, _, port = unquote(peer.partition(":")[2]).rpartition(":")
    return Peer(address, port) if address else Peer(peer)


def origin(resource: Resource, peer: Peer = NOBODY) -> Origin:
    """Who sent this: an instance is named by `service.instance.id`, else by where it runs and its process id."""
    named = {key: str(value) for key, value in attributes(resource.attributes)}
    name, namespace = named.get(SERVICE_NAME) or "unknown_service", named.get(SERVICE_NAMESPACE)
    instance = named.get(SERVICE_INSTANCE_ID, "")
    if not instance and PROCESS_PID in named:
        places = (POD_UID, CONTAINER_ID, HOST_ID, HOST_NAME)
        place = next((named[place] for place in places if place in named), peer.address)
        instance = f"{place}:{named[PROCESS_PID]}"
    return Origin(
        service=f"{namespace}/{name}" if namespace and namespace != OWN_NAMESPACE else name,
        instance=instance,
        version=named.get(SERVICE_VERSION, ""),
        role=named.get(ROLE, ""),
        host=next((named[host] for host in (HOST_ID, NODE_NAME, HOST_NAME) if host in named), peer.address),
    )
