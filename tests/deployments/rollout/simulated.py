"""A cluster of one model, in memory, and a controller that may die at any of its doings."""

import asyncio
import tempfile
from pathlib import Path

from deployments.errors import UnavailableError
from deployments.monitoring.alerts import Watched
from deployments.rollout.analysis.verdict import Finding, Verdict
from deployments.rollout.cluster import Standing
from deployments.rollout.controller import Controller
from deployments.rollout.deployed import Deployed
from deployments.rollout.plan import RolloutSettings
from deployments.rollout.shared import Shared
from deployments.settings import ModelSettings
from optimization.artifact.store import ArtifactError
from tests.deployments.replicas.shared_store import SharedStore

MODEL = "tiny"


class Died(BaseException):
    """The controller's process has ended."""


class Mortal:
    """Ends the controller at one of the next doings, before or after it."""

    def __init__(self):
        self.left = None
        self.is_done_before = False

    def at(self, num_doings, *, is_done_before):
        self.left, self.is_done_before = num_doings, is_done_before

    def __call__(self, doing):
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                self.left = None
                if self.is_done_before:
                    doing()
                raise Died
        return doing()


class Store(SharedStore):
    """Writes that the controller may die at."""

    def __init__(self, mortal):
        super().__init__()
        self._mortal = mortal

    def put(self, key, value):
        self._mortal(lambda: super(Store, self).put(key, value))

    def delete(self, key):
        self._mortal(lambda: super(Store, self).delete(key))


class World:
    """As `deployments.rollout.cluster.Cluster`; `serving` is what clients get."""

    def __init__(self, rollout=None):
        self.mortal = Mortal()
        self.store = Store(self.mortal)
        self.shared = Shared(self.store)
        self.now_s = 1e9
        self.serving = "1"
        self.versions = ["1", "2", "3"]
        self.apps = {}
        self.deploys = []
        self.broken = set()
        self.order_now = None
        self.is_reachable = True
        self.verdict = "good"
        self.told = []
        self.promised = []
        self.watching = Watched()
        self._settings = ModelSettings(artifact=MODEL, rollout=rollout)
        self._folder = tempfile.TemporaryDirectory()
        self.loop = asyncio.new_event_loop()
        self.controller = None
        self.restart()

    def restart(self):
        """Another controller begins, where the one before was left."""
        if self.controller is not None and self.controller._history is not None:
            self.controller._history.close()
        self.mortal.left = None
        self.controller = Controller(
            Path(self._folder.name),
            self.shared,
            self,
            lambda rollout, decision: self.told.append((rollout.id, decision.phase)),
            judge=self._judge,
            clock=lambda: self.now_s,
        )
        self.run(self.controller.restore())

    def end(self):
        self.controller._history.close()
        self.loop.close()
        self._folder.cleanup()

    def run(self, doing):
        return self.loop.run_until_complete(doing)

    def tick(self, num=1, seconds=1.0):
        for _ in range(num):
            self.now_s += seconds
            self.run(self.controller.tick())

    def begin(self, version="2", **given):
        return self.run(self.controller.begin(MODEL, version, given, why="a test"))

    @property
    def latest(self):
        return self.controller.latest(MODEL)

    def _judge(self, windows, settings, *, since_s):
        if self.verdict == "fails":
            raise ZeroDivisionError("nothing to divide by")
        return Verdict(
            kind=self.verdict, findings=(Finding(signal="errors", kind=self.verdict, text=f"it is {self.verdict}"),)
        )

    async def published(self, model):
        return list(self.versions)

    async def deployed(self, model):
        return Deployed(settings=self._settings, resources={"CPU": 1.0}, answering=self.serving)

    async def objectives(self, model):
        return self.promised

    async def watched(self, model):
        if self.watching is None:
            raise UnavailableError("the collector is gone")
        return self.watching

    async def deploy(self, rollout):
        self._reach()
        if rollout.candidate not in self.versions:
            raise ArtifactError("it is gone")

        def deploy():
            self.deploys.append(rollout.candidate)
            self.apps[f"{MODEL}:candidate"] = rollout.candidate

        self.mortal(deploy)
        if rollout.candidate not in self.broken:
            SharedStore.put(self.store, f"trimtab:rollout-evidence:{rollout.id}:candidate:p", b"[]")

    async def standing(self, model):
        version = self.apps.get(f"{model}:candidate")
        if version is None:
            return Standing(state="missing")
        return Standing(state="failed", message="it crashed") if version in self.broken else Standing(state="runs")

    async def remove(self, model):
        self._reach()
        if f"{model}:candidate" not in self.apps:
            return True
        self.mortal(lambda: self.apps.pop(f"{model}:candidate"))
        return False

    async def load(self, model, versions):
        self._reach()
        (version,) = versions
        if version not in self.versions:
            raise ArtifactError(f"version {version} is gone")
        self.mortal(lambda: self._order(versions))

    async def ordered(self, model):
        return self.order_now

    async def order(self, model, versions):
        self.mortal(lambda: self._order(versions))

    def _order(self, versions):
        self.order_now = versions
        (self.serving,) = versions

    def _reach(self):
        if not self.is_reachable:
            raise UnavailableError("a node is down")


def quick(**given):
    """Settings of a rollout whose steps are seconds."""
    return RolloutSettings(step_s=3.0, window_s=0.5, inconclusive_s=20.0, start_s=10.0, **given)
