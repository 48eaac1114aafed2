"""`ray up cluster.yaml` on three hosts of network namespaces: how long it takes, what answers whom, what `ray down`
leaves.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from benchmarks.surviving import open_ports
from benchmarks.throughput import Figures
from tests.conftest import publish_tiny
from tests.hosts.cluster import Cluster, application, artifact_source, prepared, redis, wait_until
from tests.hosts.maker import hosts

MODEL = "tiny"
KEYS = ("up_s", "open_ports", "open_for_health", "open_within", "down_left")
WANTED_0 = ("open_ports", "down_left")


def figures(_options: argparse.Namespace) -> Figures:
    """Seconds from `ray up` until each host answers; ports that tell whoever asks from outside of the hosts' network
    anything, or no more than that the ingress lives, and from within it; processes after `ray down`.
    """
    with made_ready() as cluster:
        began = time.monotonic()
        up(cluster)
        up_s = time.monotonic() - began
        print(f"up in {up_s:.0f} s", flush=True)
        outside = open_ports.found(cluster.hosts, lambda host: host.outer_address)
        within = open_ports.found(cluster.hosts, lambda host: host.address)
        print("from outside, without a token: " + ("; ".join(map(str, outside)) or "nothing"), flush=True)
        print("from within, without a token: " + ("; ".join(map(str, within)) or "nothing"), flush=True)
        cluster.down()
        left = [f"{host.name}: {each[:100]}" for host in cluster.hosts for each in host.processes()]
        print("after `ray down`: " + ("; ".join(left) or "nothing"), flush=True)
    return {
        "up_s": up_s,
        "open_ports": sum(not each.is_health for each in outside),
        "open_for_health": sum(each.is_health for each in outside),
        "open_within": len(within),
        "down_left": len(left),
    }


@contextmanager
def made_ready(
    *, outlives_head: bool = False, besides: Sequence[Mapping[str, Any]] = (), models: Sequence[str] = (MODEL,)
) -> Iterator[Cluster]:
    """Three hosts, and the files for `ray up` of each model with three replicas and what is served `besides`; with a
    Redis, where the cluster is to outlive its head.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="trimtab-hosts-")))
        artifacts = folder / "artifacts"
        for model in models:
            publish_tiny(artifacts, model)
        made = stack.enter_context(hosts(3))
        stack.enter_context(artifact_source(artifacts))
        environment = {"RAY_REDIS_ADDRESS": stack.enter_context(redis(folder / "redis"))} if outlives_head else None
        served = [*(application(model, 3 if model == MODEL else 1) for model in models), *besides]
        yield prepared(folder / "work", made, served, environment=environment)


def publish(cluster: Cluster, model: str = MODEL) -> None:
    """The next version of it, at the source of artifacts."""
    publish_tiny(cluster.folder.parent / "artifacts", model)


def up(cluster: Cluster) -> None:
    """`ray up`, until the model answers at each host.

    Raises:
        RuntimeError: it failed.
        TimeoutError: a host does not answer.
    """
    done = cluster.up()
    if done.returncode != 0:
        raise RuntimeError(f"`ray up` must succeed, got:\n{done.stdout[-3000:]}")
    wait_until(lambda: all(cluster.version(host, MODEL) is not None for host in cluster.hosts), 300)
