"""Where the processes of a cluster report: Trimtab's collector lives on Ray's head node. Knows Ray."""

import os

import ray

from telemetry.emitting.destinations import COLLECTOR

PORT = 4317


def collector_url() -> str:
    """The collector's: where a variable says, else on the head node."""
    if given := os.environ.get(COLLECTOR):
        return given
    head = ray.get_runtime_context().gcs_address.rpartition(":")[0]
    on_head = head == ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
    return f"http://{'localhost' if on_head else head}:{PORT}"
