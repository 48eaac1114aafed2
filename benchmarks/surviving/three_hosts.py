"""`ray up cluster.yaml` on three hosts of network namespaces: how long it takes, what answers whom, and what clients
see when a host dies or its network is cut.
"""

import argparse
import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import grpc
import httpx

from benchmarks.throughput import Figures
from tests.conftest import publish_tiny
from tests.hosts.cluster import Cluster, application, artifact_source, prepared, redis, wait_until
from tests.hosts.load import load
from tests.hosts.maker import Host, hosts

MODEL = "tiny"
KILLS, QUICK_KILLS = 10, 1
CUT_S = 30.0
_ASKED = ("/", "/api/version", "/api/v0/nodes", "/api/jobs/", "/metrics", "/logs", "/v2/repository/index")
_CALLED = (
    "/ray.rpc.NodeInfoGcsService/GetAllNodeInfo",
    "/ray.rpc.InternalKVGcsService/InternalKVKeys",
    "/ray.rpc.ActorInfoGcsService/GetAllActorInfo",
    "/ray.rpc.NodeManagerService/GetNodeStats",
    "/ray.rpc.CoreWorkerService/GetCoreWorkerStats",
    "/ray.rpc.RayletDriver/GetClusterInfo",
    "/ray.serve.RayServeAPIService/ListApplications",
    "/inference.GRPCInferenceService/ServerLive",
)
"""What a port is asked by HTTP and called by gRPC, without a token or key."""
UP_KEYS = ("up_s", "open_ports", "down_left")
HEAD_KEYS = ("killed_head_failed",)
NODE_KEYS = ("killed_node_failed", "killed_ingress_failed")
CUT_KEYS = ("partition_wrong", "partition_split")
WANTED_0 = (*UP_KEYS[1:], *NODE_KEYS, *HEAD_KEYS, *CUT_KEYS)


def up_figures(_options: argparse.Namespace) -> Figures:
    """Seconds from `ray up` until each host answers; ports that answer whoever asks; processes after `ray down`."""
    with _prepared() as cluster:
        began = time.monotonic()
        _up(cluster)
        up_s = time.monotonic() - began
        print(f"up in {up_s:.0f} s", flush=True)
        answering = [f"{host.name}:{port} {what}" for host in cluster.hosts for port, what in _answering(host)]
        print("answers without a token: " + ("; ".join(answering) or "nothing"), flush=True)
        cluster.down()
        left = [f"{host.name}: {each[:100]}" for host in cluster.hosts for each in host.processes()]
        print("after `ray down`: " + ("; ".join(left) or "nothing"), flush=True)
    return {"up_s": up_s, "open_ports": len(answering), "down_left": len(left)}


def node_figures(options: argparse.Namespace) -> Figures:
    """Requests that failed while a worker's host died: of clients of the others, and of clients of the dead one that
    tried another.
    """
    beside_failed = moved_failed = 0
    with _prepared() as cluster:
        _up(cluster)
        first, *workers = cluster.hosts
        for number in range(QUICK_KILLS if options.quick else KILLS):
            victim, other = workers if number % 2 else reversed(workers)
            with load(cluster, [first, other]) as beside, load(cluster, [victim], instead=other) as moved:
                time.sleep(3)
                victim.kill()
                time.sleep(20)
            print(f"{victim.name} killed: {beside}; with another to try: {moved}", flush=True)
            beside_failed += len(beside.failures)
            moved_failed += len(moved.failures)
            victim.start()
            _up(cluster)
        cluster.down()
    return {"killed_node_failed": beside_failed, "killed_ingress_failed": moved_failed}


def head_figures(options: argparse.Namespace) -> Figures:
    """Requests to the workers that failed from when the head's host died until a new head answered."""
    failed = 0
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        address = stack.enter_context(redis(folder))
        cluster = stack.enter_context(_prepared({"RAY_REDIS_ADDRESS": address}))
        _up(cluster)
        head, *workers = cluster.hosts
        for _ in range(QUICK_KILLS if options.quick else KILLS):
            with load(cluster, workers) as seen:
                time.sleep(3)
                head.kill()
                time.sleep(20)
                head.start()
                _up(cluster)
            print(f"head killed: {seen}", flush=True)
            failed += len(seen.failures)
        cluster.down()
    return {"killed_head_failed": failed}


def cut_figures(_options: argparse.Namespace) -> Figures:
    """Wrong answers while a host's network was cut and a version was published; hosts that answer by another after."""
    with _prepared() as cluster:
        _up(cluster)
        third = cluster.hosts[-1]
        with load(cluster, cluster.hosts) as seen:
            time.sleep(3)
            third.cut_off()
            publish_tiny(cluster.folder.parent / "artifacts")
            time.sleep(CUT_S)
            third.reconnect()
            with suppress(TimeoutError):
                wait_until(lambda: all(cluster.version(host, MODEL) == "2" for host in cluster.hosts), 180)
        versions = [cluster.version(host, MODEL) for host in cluster.hosts]
        print(f"network cut for {CUT_S:.0f} s: {seen}; versions {versions}", flush=True)
        cluster.down()
    return {"partition_wrong": seen.wrong, "partition_split": sum(each != "2" for each in versions)}


@contextmanager
def _prepared(environment: dict[str, str] | None = None) -> Iterator[Cluster]:
    """Three hosts, and the files for `ray up`."""
    with tempfile.TemporaryDirectory(prefix="trimtab-hosts-") as folder:
        artifacts = Path(folder) / "artifacts"
        publish_tiny(artifacts)
        with hosts(3) as made, artifact_source(artifacts):
            yield prepared(Path(folder) / "work", made, [application(MODEL, 3)], environment=environment)


def _up(cluster: Cluster) -> None:
    """`ray up`, until the model answers at each host.

    Raises:
        RuntimeError: it failed.
        TimeoutError: a host does not answer.
    """
    done = cluster.up()
    if done.returncode != 0:
        raise RuntimeError(f"`ray up` must succeed, got:\n{done.stdout[-3000:]}")
    wait_until(lambda: all(cluster.version(host, MODEL) is not None for host in cluster.hosts), 300)


def _answering(host: Host) -> Iterator[tuple[int, str]]:
    """Ports of a host that give more than a refusal to who has neither token nor key, and what they gave."""
    for port, address in sorted(host.listening().items()):
        if port == 22:
            continue
        print(f"{host.name} listens on {address}:{port}", flush=True)
        if found := _asked(f"{host.address}:{port}") or _called(f"{host.address}:{port}"):
            yield port, found


def _asked(where: str) -> str | None:
    for path in _ASKED:
        with suppress(httpx.HTTPError):
            answer = httpx.get(f"http://{where}{path}", timeout=3)
            if answer.status_code < 400 and re.search(r"\S", answer.text):
                return f"{path}: {answer.status_code}"
    return None


def _called(where: str) -> str | None:
    with grpc.insecure_channel(where) as channel:
        for method in _CALLED:
            with suppress(grpc.RpcError):
                channel.unary_unary(method, None, None)(b"", timeout=3)
                return f"{method}: OK"
    return None
