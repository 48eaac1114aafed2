"""Stores of nodes as Ray actors, one a node, which live as long as the node does: the one file here that knows Ray."""

import logging
import os
import threading
import time
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from deployments.collector import collector_url
from deployments.errors import SettingsError
from deployments.pushed.announcement import Announcement
from deployments.pushed.catalogue import Catalogue
from deployments.pushed.fetch import PeerError
from deployments.pushed.node import NodeStore
from deployments.ray_private import KeyValueStore
from deployments.replicas.node_cache import cache_folder
from telemetry import conventions
from telemetry.emitting import resources
from telemetry.emitting.data_points import Attributes
from telemetry.emitting.emitter import Emitter

logger = logging.getLogger(__name__)

NAMESPACE = "trimtab"
ANSWER_S = 30.0
"""A node that gives no answer for so long is taken for gone, until the next try."""
WHOLE_S = 6 * 3600.0
"""The same for a node that is asked to get a whole version."""
TEND_EVERY_S = 10.0
NICENESS = 10
"""Replicas of the node get their CPU first."""
FETCHES, READS = 16, 4
"""Of each kind at once; more wait."""


class StoreActor:
    """The store of the node that it runs on."""

    def __init__(self) -> None:
        os.nice(NICENESS)
        node = ray.get_runtime_context().get_node_id()
        store = self._store = NodeStore(node, cache_folder().with_name("pushed"), catalogue(), RayStores())
        emitter = Emitter(
            service="pushed", version="", role="store", instance=f"store-{node}", endpoint=collector_url()
        )
        resources.observe(emitter)
        emitter.gauge(conventions.PUSHED_BYTES, lambda: {(): store.num_bytes_received})
        self._fetches = emitter.histogram(conventions.PUSHED_DURATION)
        emitter.start()
        threading.Thread(target=self._tend, daemon=True).start()

    @ray.method(concurrency_group="fetches")
    def take(self, path: str, mb_per_s: float) -> Announcement:
        """As `NodeStore.take`."""
        return self._store.take(Path(path), mb_per_s)

    @ray.method(concurrency_group="fetches")
    def fetch(self, announcement: Announcement) -> str:
        """As `NodeStore.fetch`."""
        began_s = time.perf_counter()
        failed: Attributes = ()
        try:
            return str(self._store.fetch(announcement))
        except Exception as error:
            failed = ((conventions.ERROR_TYPE, type(error).__name__),)
            raise
        finally:
            self._fetches.record(time.perf_counter() - began_s, failed)

    @ray.method(concurrency_group="reads")
    def read(self, key: str, piece: int) -> bytes | None:
        """As `NodeStore.read`."""
        return self._store.read(key, piece)

    def pieces(self, key: str) -> frozenset[int]:
        """As `NodeStore.pieces`."""
        return self._store.pieces(key)

    def received(self, name: str) -> dict[str, int]:
        """As `NodeStore.received`."""
        return self._store.received(name)

    def release(self, key: str) -> None:
        """As `NodeStore.release`."""
        self._store.release(key)

    def _tend(self) -> None:
        while True:
            time.sleep(TEND_EVERY_S)
            try:
                self._store.tend()
            except Exception:
                logger.exception("pushed versions cannot be looked after; trying again")


def connect() -> None:
    """Join the cluster of `RAY_ADDRESS` or the one that runs on this host, unless this process is in it already.

    Raises:
        SettingsError: there is none.
    """
    if ray.is_initialized():
        return
    if os.environ.get("RAY_ADDRESS", "").startswith("ray://"):
        raise SettingsError(f"RAY_ADDRESS must name a cluster that this host is of, got {os.environ['RAY_ADDRESS']}")
    try:
        ray.init(address="auto", log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise SettingsError(f"a Ray cluster must run on this host, or RAY_ADDRESS name one: {error}") from error


def catalogue() -> Catalogue:
    """Of the cluster that this process is in."""
    return Catalogue(KeyValueStore())


class RayStores:
    """The stores of all nodes, called by node; the one of this process's node is `here`."""

    def __init__(self) -> None:
        self.here: str = ray.get_runtime_context().get_node_id()
        self._catalogue = catalogue()

    def others(self) -> list[str]:
        """All other nodes that are alive."""
        alive = (node["NodeID"] for node in ray.nodes() if node["Alive"])  # type: ignore[no-untyped-call]
        return sorted(set(alive) - {self.here})

    def holders(self, key: str) -> list[str]:
        """Other nodes that may have the version or some of it."""
        return [node for node in self._catalogue.holders(key) if node != self.here]

    def pieces(self, node: str, key: str) -> frozenset[int]:
        """Numbers of the pieces that the node has.

        Raises:
            PeerError: it does not answer.
        """
        found: frozenset[int] = self._call(node, "pieces", key)
        return found

    def read(self, node: str, key: str, piece: int) -> bytes | None:
        """That piece; none where the node has not got it or is busy.

        Raises:
            PeerError: it does not answer.
        """
        content: bytes | None = self._call(node, "read", key, piece)
        return content

    def received(self, node: str, name: str) -> dict[str, int]:
        """The model's versions that are whole there, and the bytes that came from other nodes for each.

        Raises:
            PeerError: it does not answer, or has no store.
        """
        found: dict[str, int] = self._call(node, "received", name)
        return found

    def take(self, path: Path, mb_per_s: float) -> Announcement:
        """Let this node's store copy a directory.

        Raises:
            PeerError, ArtifactError, OSError: it cannot.
        """
        announcement: Announcement = self._call(
            self.here, "take", str(path.absolute()), mb_per_s, start=True, timeout_s=WHOLE_S
        )
        return announcement

    def fetch(self, node: str, announcement: Announcement) -> Path:
        """The version's directory on that node, once it is whole there.

        Raises:
            PeerError, ArtifactError, OSError: the node cannot get it.
        """
        return Path(self._call(node, "fetch", announcement, start=True, timeout_s=WHOLE_S))

    def release(self, node: str, key: str) -> None:
        """Let the node let go of a version.

        Raises:
            PeerError: it does not answer; it finds out by itself later.
        """
        self._call(node, "release", key)

    def _call(self, node: str, method: str, *arguments: Any, start: bool = False, timeout_s: float = ANSWER_S) -> Any:
        try:
            actor = _started(node) if start else ray.get_actor(_name(node), namespace=NAMESPACE)
        except ValueError as error:
            raise PeerError(f"node {node} has no store") from error
        try:
            return ray.get(getattr(actor, method).remote(*arguments), timeout=timeout_s)
        except RayTaskError as error:
            raise error.cause from None  # what the store raised, without the traceback that Ray writes into it
        except (RayError, GetTimeoutError) as error:
            raise PeerError(f"node {node} does not answer: {type(error).__name__}") from error


def _started(node: str) -> Any:
    options = {
        "name": _name(node),
        "namespace": NAMESPACE,
        "lifetime": "detached",
        "get_if_exists": True,
        "num_cpus": 0,
        "max_restarts": 0,  # whoever calls next starts another, which finds what is on the disk
        "scheduling_strategy": NodeAffinitySchedulingStrategy(node, soft=False),
    }
    groups = {"fetches": FETCHES, "reads": READS}
    actor = ray.remote(concurrency_groups=groups)(StoreActor)  # type: ignore[call-overload]  # Ray's stubs lack it
    return actor.options(**options).remote()


def _name(node: str) -> str:
    return f"pushed:{node}"
