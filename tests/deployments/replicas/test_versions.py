"""A replica's versions, each a real artifact in ONNX Runtime; version v multiplies its inputs by v."""

import asyncio
import gc
import json
import re
import shutil
import threading
import weakref
from contextlib import asynccontextmanager

import httpx
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from deployments.batching.admission import Limits
from deployments.execution.answer_cache import AnswerCache
from deployments.execution.predictor import Predictor
from deployments.execution.session import Session
from deployments.http.model import ModelApp
from deployments.http.versioned import VersionedModel
from deployments.replicas import source
from deployments.replicas import versions as module
from deployments.replicas.agreement import Agreement, Report, order_key
from deployments.replicas.node_cache import NodeCache
from deployments.replicas.source import Directory
from deployments.replicas.versions import Versions
from deployments.settings import ModelSettings
from optimization.artifact import signature
from optimization.artifact.store import MODEL, ArtifactError, load, publish
from telemetry.emitting.emitter import Emitter
from tests.conftest import free_port
from tests.deployments.replicas.shared_store import SharedStore

PREFIX = "/v2/models/times"
ONES = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1.0, 1.0]}]}


@pytest.fixture
def published(tmp_path):
    """A function that publishes the next version and gives its number; the directory is its attribute."""

    def publish_next(**fields):
        factor = np.float32(len(list((tmp_path / "times").glob("[0-9]*"))) + 1)
        graph = helper.make_graph(
            [helper.make_node("Mul", ["x", "factor"], ["y"])],
            "times",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 2])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 2])],
            [numpy_helper.from_array(np.array(factor), "factor")],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
        onnx.save(model, tmp_path / "source.onnx")
        tensor = {"datatype": "FP32", "shape": ["batch", 2]}
        fields = {"inputs": [{"name": "x"} | tensor], "outputs": [{"name": "y"} | tensor]} | fields
        return publish(tmp_path, {MODEL: tmp_path / "source.onnx"}, name="times", **fields).manifest.version

    publish_next.home = tmp_path / "times"
    return publish_next


class Replica:
    """Versions behind their route prefix, called as an HTTP client would."""

    def __init__(self, home, policy, keep, cache_bytes=0, source=None):
        endpoint = f"http://127.0.0.1:{free_port()}"
        self.emitter = Emitter(service="times", version="", role="replica", instance="i", endpoint=endpoint)
        self.home = home
        self.cache_bytes = cache_bytes
        self.gate = None  # a version's load waits here where it is set
        self.store = SharedStore()
        self.sessions = []
        self.versions = Versions(
            source or Directory(home.parent, home.name),
            self.load,
            policy=policy,
            keep=keep,
            emitter=self.emitter,
            agreement=Agreement(self.store, home.name, "i", policy),
        )
        self.app = VersionedModel(self.versions, self.emitter)

    def order(self, policy):
        self.store.put(order_key(self.home.name), json.dumps(policy).encode())

    def load(self, path):
        if self.gate:
            self.gate.wait(10)
        artifact = load(path)
        session = Session(artifact, num_threads=1, max_batch_size=4)
        self.sessions.append(weakref.ref(session))
        predictor = Predictor(
            artifact.manifest,
            session.run,
            limits=Limits(max_batch_size=4),
            inline=session.is_quick,
            cache=AnswerCache(self.cache_bytes) if self.cache_bytes else None,
            emitter=self.emitter,
        )
        return ModelApp(
            predictor,
            max_body_bytes=4096,
            emitter=self.emitter,
            versions=lambda: self.versions.ready(),
        )

    async def __call__(self, scope, receive, send):
        await self.app({**scope, "root_path": PREFIX}, receive, send)

    async def infer(self, path=""):
        return await self.client.post(f"{PREFIX}{path}/infer", json=ONES)

    async def factor(self, path=""):
        answer = await self.infer(path)
        assert answer.status_code == 200, answer.text
        assert answer.json()["model_version"] == str(int(answer.json()["outputs"][0]["data"][0]))
        return int(answer.json()["model_version"])

    async def serves(self, version):
        async with asyncio.timeout(100):
            while await self.factor() != int(version):
                await asyncio.sleep(0.01)


@asynccontextmanager
async def replica(home, policy=None, keep=2, cache_bytes=0, source=None):
    """A replica that has started, until the block ends."""
    running = Replica(home, policy, keep, cache_bytes, source)
    messages = asyncio.Queue()
    said = []

    async def send(message):
        said.append(message["type"])

    messages.put_nowait({"type": "lifespan.startup"})
    life = asyncio.create_task(running.app({"type": "lifespan"}, messages.get, send))
    async with asyncio.timeout(10):
        while not said:
            await asyncio.sleep(0)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(running), base_url="http://test") as running.client:
        yield running
    messages.put_nowait({"type": "lifespan.shutdown"})
    await life
    assert said[-1] == "lifespan.shutdown.complete"


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Look often."""
    monkeypatch.setattr(module, "LOOK_EVERY_S", 0.02)
    monkeypatch.setattr(module, "AGREE_EVERY_S", 0.02)


def run(scenario):
    asyncio.run(scenario())


def break_model(home, version):
    (home / version / MODEL).write_bytes(b"x" * (home / version / MODEL).stat().st_size)


def test_the_newest_answers_and_the_last_ones_stay_at_their_paths(published):
    for _ in range(3):
        published()

    async def scenario():
        async with replica(published.home, keep=2) as serving:
            assert await serving.factor() == 3
            async with asyncio.timeout(10):
                while serving.versions.ready() != ["2", "3"]:
                    await asyncio.sleep(0.01)
            assert await serving.factor("/versions/2") == 2
            metadata = (await serving.client.get(PREFIX)).json()
            assert metadata["versions"] == ["2", "3"]
            gone = await serving.infer("/versions/1")
            assert gone.status_code == 404
            assert "has version '2', '3' ready, not '1'" in gone.json()["error"]

    run(scenario)


def test_a_version_that_is_replaced_gives_back_its_memory_at_once(published):
    """Not when Python next looks for cycles, which a busy replica puts off while versions of many megabytes pile up."""
    published()

    async def scenario():
        async with replica(published.home, keep=1) as serving:
            for _ in range(3):
                await serving.factor()
                await serving.serves(published())
            async with asyncio.timeout(10):
                while sum(session() is not None for session in serving.sessions) > 1:
                    await asyncio.sleep(0.01)

    gc.collect()
    gc.disable()
    try:
        run(scenario)
    finally:
        gc.enable()


@pytest.mark.parametrize("cache_bytes", [0, 10**6])
def test_twenty_swaps_under_load_fail_no_request_and_go_one_way(published, cache_bytes):
    """Nor does a cache of answers give those of another version: all requests are alike."""
    published()

    async def scenario():
        async with replica(published.home, keep=1, cache_bytes=cache_bytes) as serving:
            done = False
            answered = []

            async def client():
                while not done:
                    answered.append(await serving.factor())
                    await asyncio.sleep(0)  # what the cache knows is answered without a pause

            clients = [asyncio.create_task(client()) for _ in range(4)]
            for _ in range(20):
                await serving.serves(await asyncio.to_thread(published))
            done = True
            await asyncio.gather(*clients)
            assert set(answered) >= set(range(1, 22))
            assert serving.versions.ready() == ["21"]

    run(scenario)


def test_a_request_ends_with_the_version_it_began_with(published):
    """Its body arrives only after the swap; the version that was replaced waits for it and then goes."""
    published()

    async def scenario():
        async with replica(published.home, keep=1) as serving:
            swapped = asyncio.Event()

            async def body():
                yield b""
                await swapped.wait()
                yield json.dumps(ONES).encode()

            slow = asyncio.create_task(serving.client.post(f"{PREFIX}/infer", content=body()))
            while serving.versions.ongoing == 0:
                await asyncio.sleep(0)
            await serving.serves(published())
            swapped.set()
            assert (await slow).json()["model_version"] == "1"
            while serving.versions._draining:
                await asyncio.sleep(0.01)
            assert (await serving.infer("/versions/1")).status_code == 404

    run(scenario)


def test_the_old_version_answers_while_the_new_one_loads(published):
    published()

    async def scenario():
        async with replica(published.home) as serving:
            serving.gate = threading.Event()
            published()
            for _ in range(20):
                assert await serving.factor() == 1
                await asyncio.sleep(0.01)
            serving.gate.set()
            await serving.serves("2")

    run(scenario)


def test_a_broken_version_leaves_the_old_one_serving_says_why_and_is_tried_again_when_mended(published, caplog):
    published()

    async def scenario():
        async with replica(published.home) as serving:
            sound = shutil.copytree(published.home / "1", published.home / ".sound")
            published()
            whole = (published.home / "2" / MODEL).read_bytes()
            break_model(published.home, "2")
            async with asyncio.timeout(10):
                while not any(status.version == "2" and status.reason for status in serving.versions.index()):
                    assert await serving.factor() == 1
                    await asyncio.sleep(0.01)
            await asyncio.sleep(0.2)
            assert sum("cannot be served" in record.message for record in caplog.records) == 1
            ready = await serving.client.get(f"{PREFIX}/versions/2/ready")
            assert ready.status_code == 503
            assert ready.json()["ready"] is False
            assert "sha256" in ready.json()["error"]
            (old, new) = serving.versions.index()
            assert (old.state, new.state) == ("READY", "UNAVAILABLE")
            assert "sha256" in new.reason
            assert (await serving.infer("/versions/2")).status_code == 503
            (published.home / "2" / MODEL).write_bytes(whole)
            await serving.serves("2")
            assert sound.exists()

    run(scenario)


def test_a_version_without_the_signature_that_is_asked_for_leaves_the_old_one_serving(published, tmp_path, caplog):
    """Unsigned, signed by somebody else, altered after it was signed: each is refused by one clear error."""
    ours, theirs = tmp_path / "ours.pem", tmp_path / "theirs.pem"
    keys = [signature.make_key(each) for each in (ours, theirs)]
    cache = NodeCache(tmp_path / "cache", 2**30)
    asking = source.source(str(published.home.parent), "times", cache, signed_by=(keys[0],))

    async def run():
        published()
        signature.sign(published.home / "1", ours)
        async with replica(published.home, source=asking) as running:
            assert await running.factor() == 1
            for version, spoil, why in (
                ("2", lambda folder: None, "must be signed, got no signature"),
                ("3", lambda folder: signature.sign(folder, theirs), f"got signatures by {keys[1]}"),
                ("4", sign_and_alter, "altered"),
            ):
                assert published() == version
                spoil(published.home / version)
                with pytest.raises(ArtifactError, match=re.escape(why)):
                    await running.versions.reload()
                assert await running.factor() == 1
                status = await running.client.get(f"{PREFIX}/versions/{version}/ready")
                assert status.status_code == 503 and why in status.json()["error"]
            signature.sign(published.home / "3", ours)
            with pytest.raises(ArtifactError, match="version 4"):
                await running.versions.reload()
            assert await running.factor() == 3

    def sign_and_alter(folder):
        signature.sign(folder, ours)
        manifest = json.loads((folder / "manifest.json").read_text())
        (folder / "manifest.json").write_text(json.dumps({**manifest, "parity": 0.5}))

    asyncio.run(run())


def test_a_replica_that_starts_beside_a_broken_version_serves_the_one_before(published):
    published(), published()
    break_model(published.home, "2")

    async def scenario():
        async with replica(published.home) as serving:
            assert await serving.factor() == 1

    run(scenario)


def test_a_replica_without_a_sound_version_does_not_start(published):
    published()
    break_model(published.home, "1")
    with pytest.raises(ArtifactError, match=r"no version that can be served: version 1: .*sha256"):
        Replica(published.home, None, 1)


def test_a_list_of_versions_is_held_whatever_is_published(published):
    for _ in range(3):
        published()

    async def scenario():
        async with replica(published.home, policy=("1", "2")) as serving:
            assert await serving.factor() == 2
            published()
            await asyncio.sleep(0.1)
            assert serving.versions.ready() == ["1", "2"]
            assert await serving.factor("/versions/1") == 1

    run(scenario)


def test_deleting_the_newest_goes_back_to_the_one_before_but_the_last_one_stays(published):
    published(), published()

    async def scenario():
        async with replica(published.home, keep=1) as serving:
            assert await serving.factor() == 2
            shutil.rmtree(published.home / "2")
            await serving.serves("1")
            shutil.rmtree(published.home / "1")
            await asyncio.sleep(0.1)
            assert await serving.factor() == 1

    run(scenario)


def test_orders_unload_load_and_choose(published):
    published(), published()

    async def scenario():
        async with replica(published.home, keep=1) as serving:

            async def order(policy):
                serving.order(policy)
                return [(status.version, status.state) for status in await serving.versions.reload()]

            assert await order(()) == [("1", "UNAVAILABLE"), ("2", "UNAVAILABLE")]
            refused = await serving.infer()
            assert (refused.status_code, "is unloaded" in refused.json()["error"]) == (503, True)
            assert await order(("1",)) == [("1", "READY"), ("2", "UNAVAILABLE")]
            assert await serving.factor() == 1
            assert await order(None) == [("1", "UNAVAILABLE"), ("2", "READY")]
            with pytest.raises(ArtifactError, match="has no version '9'"):
                await order(("9",))
            assert await serving.factor() == 2

    run(scenario)


def test_an_order_is_followed_without_being_told_and_from_the_start(published):
    published(), published()

    async def scenario():
        async with replica(published.home) as serving:
            serving.order(("1",))
            await serving.serves("1")
        serving.order(())
        unloaded = Versions(
            Directory(published.home.parent, "times"),
            serving.load,
            policy=None,
            keep=1,
            emitter=serving.emitter,
            agreement=Agreement(serving.store, "times", "another"),
        )
        assert unloaded.ready() == []

    run(scenario)


def test_a_replica_that_cannot_follow_the_others_says_that_it_is_not_ready(published):
    """And answers by the version before until it is replaced: no request fails."""
    published()

    async def scenario():
        async with replica(published.home) as serving:
            other = Agreement(serving.store, "times", "other")
            other.settle(["2"], Report(wanted=("2",), prepared=("2",)))
            serving.store.put("trimtab:agreed:times:newest", b"2")
            async with asyncio.timeout(10):
                while not serving.versions.stuck():
                    await asyncio.sleep(0.01)
            ready = await serving.client.get(f"{PREFIX}/ready")
            assert (ready.status_code, ready.json()["ready"]) == (503, False)
            assert "answer by version '2': artifact 'times' has no version '2'" in ready.json()["error"]
            assert (await serving.client.get(f"{PREFIX}/versions/1/ready")).status_code == 200
            assert await serving.factor() == 1

    run(scenario)


def test_what_is_reported_goes_on_under_the_new_version(published):
    published()

    async def scenario():
        async with replica(published.home, keep=1) as serving:
            await serving.factor()
            assert serving.emitter.resource.attributes["service.version"] == "1"
            await serving.serves(published())
            assert serving.emitter.resource.attributes["service.version"] == "2"

    run(scenario)


@pytest.mark.parametrize(
    ("given", "held", "answering"),
    [(None, None, None), ("3", ("3",), "3"), (3, ("3",), "3"), (["2", 10], ("2", "10"), "10")],
)
def test_a_version_policy_is_nothing_one_or_a_list(given, held, answering):
    settings = ModelSettings(artifact="m", version=given)
    assert (settings.version, settings.answering) == (held, answering)
