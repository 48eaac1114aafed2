"""One version at a time: replicas on nodes of their own, each with its own directory, that share a store."""

import asyncio
import shutil
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from deployments.replicas import agreement as module
from deployments.replicas import failures
from deployments.replicas import versions as versions_module
from deployments.replicas.agreement import FAILING_S, PREPARING_S, Agreement, Report, Reports, choose, reports_prefix
from deployments.replicas.node_cache import NodeCache
from deployments.replicas.source import Directory, Remote
from deployments.replicas.status import VersionStatus, in_all
from deployments.replicas.versions import Versions
from optimization.artifact.store import MODEL, ArtifactError, load
from telemetry.emitting.emitter import Emitter
from tests.conftest import free_port, publish_tiny
from tests.deployments.replicas.file_server import FileServer
from tests.deployments.replicas.shared_store import SharedStore


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Look often."""
    monkeypatch.setattr(versions_module, "LOOK_EVERY_S", 0.02)
    monkeypatch.setattr(versions_module, "AGREE_EVERY_S", 0.02)
    monkeypatch.setattr(module, "REPORT_EVERY_S", 0.02)
    monkeypatch.setattr(failures, "FIRST_PAUSE_S", 0.05)


@pytest.fixture
def store():
    return SharedStore()


@pytest.fixture
def nodes(tmp_path):
    """The directories of three nodes, of which each has version 1."""
    found = [tmp_path / "a", tmp_path / "b", tmp_path / "c"]
    for node in found:
        publish_tiny(node)
    return found


class Loaded:
    """A version of which nothing is asked; its artifact is verified as a replica's is."""

    def __init__(self, path):
        self.version = load(path).manifest.version

    async def __call__(self, scope, receive, send):
        raise NotImplementedError

    def start(self):
        pass

    def serve(self):
        pass

    async def stop(self):
        pass


def versions(source, store, name, loaded=Loaded, policy=None, keep=1):
    telemetry = Emitter(
        service="tiny", version="", role="replica", instance="i", endpoint=f"http://127.0.0.1:{free_port()}"
    )
    agreement = Agreement(store, "tiny", name, policy)
    return Versions(source, loaded, policy=policy, keep=keep, emitter=telemetry, agreement=agreement)


@asynccontextmanager
async def replica(place, store, name, loaded=Loaded, policy=None, keep=1):
    """The versions of a replica whose source is the directory `place`, or that source, until the block ends."""
    source = Directory(place, "tiny") if isinstance(place, Path) else place
    running = versions(source, store, name, loaded, policy, keep)
    running.start()
    yield running
    await running.stop()


def answering(*replicas):
    """By which versions they answer."""
    return [each.answering.app.version for each in replicas]


async def until(condition):
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


def run(scenario):
    asyncio.run(scenario())


def test_what_one_node_lacks_is_not_answered_by_and_not_said_to_be_ready(nodes, store):
    async def scenario():
        async with replica(nodes[0], store, "a") as a, replica(nodes[1], store, "b") as b:
            publish_tiny(nodes[0])
            await until(lambda: a.ready() == ["1", "2"])
            await asyncio.sleep(0.2)  # some rounds
            assert answering(a, b) == ["1", "1"]
            assert "1 of 2 replicas hold it" in in_all([a.index(), b.index()])[1].reason
            shutil.copytree(nodes[0] / "tiny" / "2", nodes[1] / "tiny" / "2")
            await until(lambda: answering(a, b) == ["2", "2"])
            assert in_all([a.index(), b.index()])[-1] == VersionStatus(version="2", state="READY")
            await until(lambda: a.ready() == b.ready() == ["2"])

    run(scenario)


def test_replicas_swap_together_whichever_has_loaded_first(nodes, store):
    """The slow one holds the others back; between the first swap and the last lies no more than a round."""
    gate = asyncio.Event()

    async def scenario():
        loop = asyncio.get_running_loop()

        def slow(path):
            if path.name == "2":
                asyncio.run_coroutine_threadsafe(gate.wait(), loop).result(10)
            return Loaded(path)

        async with replica(nodes[0], store, "a") as a, replica(nodes[0], store, "b", slow) as b:
            publish_tiny(nodes[0])
            await until(lambda: "2" in a.ready())
            for _ in range(10):
                assert answering(a, b) == ["1", "1"]
                await asyncio.sleep(0.01)
            gate.set()
            await until(lambda: "2" in answering(a, b))
            began = loop.time()
            await until(lambda: answering(a, b) == ["2", "2"])
            assert loop.time() - began < 1

    run(scenario)


def test_a_replica_that_starts_later_follows_what_the_others_answer_by(nodes, store):
    async def scenario():
        async with replica(nodes[0], store, "a") as a:
            publish_tiny(nodes[1])
            async with replica(nodes[1], store, "late") as late:
                assert answering(late) == ["1"]
                await until(lambda: late.ready() == ["1", "2"])
                assert answering(a, late) == ["1", "1"]

    run(scenario)


def test_one_that_cannot_follow_does_not_start_beside_the_others(nodes, store):
    async def scenario():
        async with replica(nodes[0], store, "a"):
            (nodes[1] / "tiny" / "1" / MODEL).write_bytes(b"damaged")
            publish_tiny(nodes[1])
            with pytest.raises(ArtifactError, match=r"version 1: .*truncated or altered"):
                versions(Directory(nodes[1], "tiny"), store, "late")

    run(scenario)


def test_one_that_starts_alone_takes_the_newest_whatever_was_agreed_before(nodes, store):
    async def scenario():
        async with replica(nodes[0], store, "a"):
            pass
        publish_tiny(nodes[0])
        async with replica(nodes[0], store, "b") as b:
            assert answering(b) == ["2"]

    run(scenario)


def test_a_minority_that_fails_holds_nobody_back_for_ever_and_says_so(nodes, store, monkeypatch):
    monkeypatch.setattr(module, "FAILING_S", 0.3)

    async def scenario():
        def fails(path):
            if path.name == "2":
                raise MemoryError("no room for version 2")
            return Loaded(path)

        async with (
            replica(nodes[0], store, "a") as a,
            replica(nodes[0], store, "b") as b,
            replica(nodes[0], store, "c", fails) as c,
        ):
            publish_tiny(nodes[0])
            await until(lambda: answering(a, b) == ["2", "2"])
            await until(c.behind)
            assert "answer by version '2': no room for version 2; tried again in" in c.behind()
            assert c.stuck()
            assert answering(c) == ["1"]
            said = Reports(store, reports_prefix("tiny"))
            await until(lambda: any(report.behind for report in said.live().values()))
            (status,) = [each for each in in_all([v.index() for v in (a, b, c)]) if each.version == "2"]
            assert (status.state, "2 of 3 replicas hold it" in status.reason) == ("UNAVAILABLE", True)
            assert (a.behind(), b.behind()) == (None, None)

    run(scenario)


def test_a_replica_that_was_killed_is_waited_for_only_while_it_might_live(nodes, store, monkeypatch):
    monkeypatch.setattr(module, "SILENT_S", 0.3)

    async def scenario():
        Agreement(store, "tiny", "killed").report(Report(wanted=("1",), prepared=("1",)))
        async with replica(nodes[0], store, "a") as a:
            publish_tiny(nodes[0])
            await until(lambda: answering(a) == ["2"])
            assert list(Reports(store, reports_prefix("tiny:newest")).live()) == ["a"]

    run(scenario)


def test_replicas_of_other_settings_agree_among_themselves(nodes, store):
    async def scenario():
        publish_tiny(nodes[0])
        async with replica(nodes[0], store, "a") as a, replica(nodes[0], store, "b", policy=("1",)) as b:
            assert answering(a, b) == ["2", "1"]

    run(scenario)


def test_nodes_that_copy_from_one_url_swap_though_one_fetch_is_broken_off(nodes, store, tmp_path):
    async def scenario():
        with closing(FileServer(nodes[0])) as server:
            caches = [NodeCache(tmp_path / name, 10**9) for name in ("cache a", "cache b")]
            async with (
                replica(Remote(server.url, "tiny", caches[0]), store, "a") as a,
                replica(Remote(server.url, "tiny", caches[1]), store, "b") as b,
            ):
                server.cut_after = 5
                publish_tiny(nodes[0])
                await until(lambda: a.failure("2") and b.failure("2"))
                assert "must be readable" in a.failure("2")
                assert answering(a, b) == ["1", "1"]
                server.cut_after = None
                await until(lambda: answering(a, b) == ["2", "2"])
                server.close()
                await asyncio.sleep(0.1)
                assert answering(a, b) == ["2", "2"]
                await until(lambda: "new versions are not seen" in a.index()[-1].reason)
                async with replica(Remote(server.url, "tiny", caches[0]), store, "late") as late:
                    assert answering(late) == ["2"]

    run(scenario)


def reported(word):
    """`2 1: 1 -2` wants 2 and 1, has prepared 1 and failed with 2."""
    wanted, had = (part.split() for part in word.split(":"))
    prepared = tuple(each for each in had if each[0] != "-")
    return Report(wanted=tuple(wanted), prepared=prepared, failed=tuple(each[1:] for each in had if each[0] == "-"))


@pytest.mark.parametrize(
    ("agreed", "reports", "waited_s", "chosen"),
    [
        ("1", ["2 1: 1 2", "2 1: 1 2"], 0, "2"),
        ("1", ["2 1: 1 2", "2 1: 1 -2"], PREPARING_S, "1"),  # half are not more than half
        ("1", ["2 1: 1 2", "2 1: 1 2", "2 1: 1"], FAILING_S, "1"),  # the third prepares it still
        ("1", ["2 1: 1 2", "2 1: 1 2", "2 1: 1"], PREPARING_S, "2"),
        ("1", ["2 1: 1 2", "2 1: 1 2", "2 1: 1 -2"], 0, "1"),  # what failed may pass
        ("1", ["2 1: 1 2", "2 1: 1 2", "2 1: 1 -2"], FAILING_S, "2"),
        ("2", ["2 1: 1 2", "2 1: 1"], PREPARING_S, "2"),  # one goes back only where it is taken away
        ("2", ["1: 1", "2 1: 1 2"], PREPARING_S, "2"),  # and from everyone
        ("2", ["1: 1 2", "1: 1 2"], 0, "1"),
        ("2", ["1: 1 2", "1: 2"], 0, "2"),  # not before all are ready for the older one
        (None, ["2 1: 1", "2 1: 1"], 0, "1"),
        (None, ["2 1: 1", "2 1: 2"], 0, None),
    ],
)
def test_the_newest_version_that_all_have_is_followed_and_no_older_one(agreed, reports, waited_s, chosen):
    first, *others = [reported(each) for each in reports]
    assert choose(agreed, first.wanted, [first, *others], lambda _: waited_s) == chosen


def test_a_node_that_does_not_see_what_most_have_does_not_pull_them_back(nodes, store, monkeypatch):
    """As where somebody published on the head node alone, of whose replicas there are more."""
    monkeypatch.setattr(module, "PREPARING_S", 0.3)

    async def scenario():
        async with (
            replica(nodes[0], store, "a", keep=2) as a,
            replica(nodes[0], store, "b", keep=2) as b,
            replica(nodes[1], store, "c", keep=2) as c,
        ):
            publish_tiny(nodes[0])
            await until(lambda: answering(a, b) == ["2", "2"])
            await until(c.stuck)
            assert "artifact 'tiny' has no version '2'" in c.behind()
            for _ in range(20):
                assert answering(a, b) == ["2", "2"]
                await asyncio.sleep(0.02)
            with pytest.raises(ArtifactError, match="has no version '2'"):
                versions(Directory(nodes[1], "tiny"), store, "c again")

    run(scenario)


def test_ready_is_what_every_replica_holds():
    def told(**states):
        return [VersionStatus(version=version[1:], state=state, reason="") for version, state in states.items()]

    ready, not_known, failed = in_all([told(v1="READY", v2="READY", v3="READY"), told(v1="READY", v3="UNAVAILABLE")])
    assert (ready.state, not_known.state, failed.state) == ("READY", "UNAVAILABLE", "UNAVAILABLE")
    assert not_known.reason == "1 of 2 replicas hold it, another does not: it is not known to all"


def test_a_load_that_failed_for_a_moment_serves_without_its_files_being_touched(nodes, store):
    """As with a disk that was full, though nothing of the artifact has changed."""
    tries = []

    def full_at_first(path):
        if path.name == "2":
            tries.append(path)
            if len(tries) < 3:
                raise OSError(28, "No space left on device")
        return Loaded(path)

    async def scenario():
        async with replica(nodes[0], store, "a", full_at_first) as a:
            publish_tiny(nodes[0])
            await until(lambda: a.failure("2"))
            assert "No space left on device; tried again in" in a.failure("2")
            await until(lambda: answering(a) == ["2"])
            assert len(tries) == 3

    run(scenario)
