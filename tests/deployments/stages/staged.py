"""A pipeline in one process, without Ray: real workers and predictors, called by real sockets."""

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial, wraps

from deployments.execution.byte_budget import ByteBudget
from deployments.replicas.agreement import Agreement
from deployments.replicas.versions import Versions
from deployments.scatter.part import GoneError, LostError
from deployments.settings import parse
from deployments.stages.asking import AskedStage
from deployments.stages.declared import PipelineSettings
from deployments.stages.loading import preparation_of, stage_loader, stage_source
from deployments.stages.plan import planned
from deployments.stages.predictor import PipelinePredictor
from deployments.stages.socket import StageConnection, StageSocket, can_carry
from deployments.stages.stage_call import Stored, TensorGoneError, stored
from deployments.stages.worker import Worker
from telemetry.emitting.emitter import Emitter
from tests.deployments.replicas.shared_store import SharedStore


def in_a_loop(test):
    """An `async` test, run."""

    @wraps(test)
    def run(*args, **kwargs):
        asyncio.run(asyncio.wait_for(test(*args, **kwargs), 30))

    return run


def emitter(service="staged"):
    return Emitter(service=service, version="1", role="stage", instance="i", endpoint="http://127.0.0.1:9")


class Memory:
    """A `TensorStore` in this process; what somebody `loses` is gone."""

    def __init__(self):
        self.held = {}

    def put(self, array):
        self.held[len(self.held)] = array
        return Stored(reference=len(self.held) - 1)

    async def get(self, reference):
        if reference.reference not in self.held:
            raise TensorGoneError
        return self.held[reference.reference]

    def lose(self):
        self.held = dict.fromkeys(())


class Replica:
    """A replica that is called by its socket, or directly where a tensor is in memory; `dies` ends it mid-call, and
    `has_gone` before."""

    def __init__(self, name, worker, connection, memory):
        self.name, self.worker, self.connection, self.memory = name, worker, connection, memory
        self.dies = self.has_gone = False
        self.after = None  # called once it has answered
        self.asked = []
        self.num_cancelled = 0

    async def answer(self, call):
        self.asked.append(call)
        if self.has_gone:
            raise GoneError("killed before")
        if self.dies:
            raise LostError("killed")
        try:
            if can_carry(call.inputs):
                answer = await self.connection.answer(call)
            else:
                answer = await self.worker.answer(call)
        except asyncio.CancelledError:
            self.num_cancelled += 1
            raise
        if isinstance(answer, dict):
            answer = {name: stored(each, self.memory) for name, each in answer.items()}
        if self.after:
            self.after()
        return answer


class Staged:
    """A pipeline that runs: its predictor, and the replicas of each stage that has some of its own."""

    def __init__(self, plan, report):
        self.plan = plan
        self.report = report
        self.store = SharedStore()
        self.memory = Memory()
        self.replicas = {name: [] for name in plan.stages}
        self.looks = 0

    def worker(self, name, number=0):
        stage, emitter = self.plan.stages[name], self.report(name)
        versions = Versions(
            stage_source(stage),
            stage_loader(stage, has_gpu=False, emitter=emitter),
            policy=stage.settings.version,
            keep=stage.settings.keep_versions,
            emitter=emitter,
            agreement=Agreement(self.store, stage.group, f"{name}:{number}", stage.settings.version),
        )
        budget = ByteBudget(stage.settings.max_queue_bytes)
        return Worker(name, "/infer", versions, budget=budget, store=self.memory, emitter=emitter)

    def versions(self):
        return {
            name: Agreement(self.store, stage.group, "", stage.settings.version).agreed()
            for name, stage in self.plan.stages.items()
        }

    async def look(self):
        self.looks += 1


@asynccontextmanager
async def running(args, replicas=1, report=emitter, awaited_s=0.0):
    """The pipeline of those settings, of each stage so many replicas; `report` gives what a service reports by, and a
    request waits `awaited_s` for a replica where there is none."""
    staged = Staged(planned(parse(PipelineSettings, args, "args")), report)
    async with AsyncExitStack() as stack:
        for name, stage in staged.plan.stages.items():
            for number in range(replicas if stage.declared.own_replicas else 1):
                worker = staged.worker(name, number)
                worker.versions.start()
                stack.push_async_callback(worker.versions.stop)
                if not stage.declared.own_replicas:
                    staged.replicas[name] = [worker]
                    continue
                socket = StageSocket(worker.answer)
                await socket.start()
                stack.push_async_callback(socket.stop)
                connection = await StageConnection.open(socket.path)
                stack.callback(connection.close)
                staged.replicas[name].append(Replica(f"{name}-{number}", worker, connection, staged.memory))
        stages = {
            name: AskedStage(
                name,
                partial(list, staged.replicas[name]),
                staged.look,
                is_remote=stage.declared.own_replicas,
                emitter=report("pipeline"),
                awaited_s=awaited_s,
            )
            for name, stage in staged.plan.stages.items()
        }
        staged.predictor = PipelinePredictor(
            staged.plan, stages, staged.versions, staged.look, staged.memory, prepare=preparation_of(staged.plan)
        )
        staged.predictor.start()
        yield staged
        await staged.predictor.stop()
