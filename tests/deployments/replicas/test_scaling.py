"""The scaling policy, as Ray's controller calls it, against a simulated deployment; and what a replica reports."""

import math
from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ray.serve._private.autoscaling_state import _resolve_policy_callable
from ray.serve._private.common import DeploymentID
from ray.serve.autoscaling_policy import _apply_autoscaling_config
from ray.serve.config import AutoscalingContext

from deployments.replicas.demand import ONGOING, Demand
from deployments.replicas.scaling import LOOK_BACK_S, replicas
from deployments.settings import ModelSettings
from telemetry import conventions
from telemetry.emitting.emitter import Emitter
from tests.conftest import free_port

STEP_S = 0.5
CAPACITY = 100.0
"""Requests per second that fill a replica; each takes 10 ms."""
BOOT_S = 5.0


class Deployment:
    """A fluid model: replicas share a queue, a new one takes `BOOT_S` to start; Ray's own code wraps the policy."""

    def __init__(self, queue_size=math.inf, **scaling):
        """`queue_size`: requests that a replica lets wait before it refuses some."""
        self.queue_size = queue_size
        self.args = {"min_replicas": 1, "max_replicas": 10, "calm_s": 60} | scaling
        options = replicas(ModelSettings(artifact="m", scaling=self.args, max_batch_size=64))
        self.config = options["autoscaling_config"]
        self.policy = _apply_autoscaling_config(_resolve_policy_callable(self.config.policy))
        self.state = {}
        self.now_s = 1000.0
        self.running = self.target = self.args["min_replicas"]
        self.starting = []
        self.queue = 0.0
        self.seen = deque(maxlen=round(LOOK_BACK_S / STEP_S))
        self.targets = []

    def run(self, seconds, load):
        """Live through `seconds` of `load` requests per second, a number or a function of the time that has passed."""
        for step in range(round(seconds / STEP_S)):
            self._serve(load(step * STEP_S) if callable(load) else load)
            self._scale()
            self.now_s += STEP_S
            self.targets.append(self.target)

    def changes(self):
        """Each change of the target: (seconds since the start, from, to)."""
        pairs = enumerate(zip(self.targets, self.targets[1:], strict=False))
        return [(at * STEP_S, old, new) for at, (old, new) in pairs if old != new]

    def _serve(self, load):
        capacity = CAPACITY * self.running
        served = min(self.queue + load * STEP_S, capacity * STEP_S)
        refused = max(0.0, self.queue + load * STEP_S - served - self.queue_size * max(1, self.running))
        self.queue += load * STEP_S - served - refused
        wait_s = self.queue / capacity if self.running else 0.0
        self.seen.append(
            {
                "busy": served / STEP_S / CAPACITY,
                "came_per_s": load,
                "answered_per_s": served / STEP_S,
                "queue_s": wait_s,
                "latency_s": wait_s + 0.01,
                ONGOING: self.queue + served / STEP_S * 0.01,
            }
        )

    def _scale(self):
        self.running += sum(ready <= self.now_s for ready in self.starting)
        self.starting = [ready for ready in self.starting if ready > self.now_s]
        means = {name: sum(each[name] for each in self.seen) / len(self.seen) for name in self.seen[0]}
        wanted, self.state = self.policy(
            AutoscalingContext(
                deployment_id=DeploymentID("Model", "m"),
                deployment_name="Model",
                app_name="m",
                current_num_replicas=self.running,
                target_num_replicas=self.target,
                running_replicas=[],
                total_num_requests=means[ONGOING] if self.running else self.queue,
                total_queued_requests=0.0,
                aggregated_metrics={name: {0: mean} for name, mean in means.items()},  # the sum of all replicas
                raw_metrics={},
                capacity_adjusted_min_replicas=self.args["min_replicas"],
                capacity_adjusted_max_replicas=self.args["max_replicas"],
                policy_state=self.state,
                last_scale_up_time=None,
                last_scale_down_time=None,
                current_time=self.now_s,
                config=self.config,
            )
        )
        wanted = max(self.args["min_replicas"], min(self.args["max_replicas"], wanted))
        self.starting += [self.now_s + BOOT_S] * (wanted - self.running - len(self.starting))
        self.running = min(self.running, wanted)
        self.target = wanted


def test_a_tenfold_step_asks_for_a_second_replica_within_3_s():
    deployment = Deployment()
    deployment.run(120, 15)
    deployment.run(30, 150)
    (first, *_) = deployment.changes()
    assert 120 <= first[0] < 123
    assert deployment.target >= 2
    assert deployment.queue / CAPACITY < 1


def test_growth_reaches_what_the_load_needs_and_no_more():
    deployment = Deployment(max_replicas=100)
    deployment.run(15, 700)
    assert deployment.target == math.ceil(7 / 0.7)
    deployment.run(60, 700)
    assert max(deployment.targets) == math.ceil(7 / 0.7)
    assert deployment.queue < 1


@settings(max_examples=15)
@given(st.floats(1, 900))
def test_a_steady_load_settles_and_then_nothing_changes(load):
    deployment = Deployment()
    deployment.run(400, load)
    settled = deployment.target
    deployment.run(600, load)
    assert set(deployment.targets[round(400 / STEP_S) :]) == {settled}
    assert settled <= math.ceil(load / CAPACITY / 0.7 / 0.85) + 1
    assert deployment.queue < CAPACITY * settled * 0.1


@settings(max_examples=15)
@given(st.floats(2, 100), st.floats(0.1, 0.9), st.floats(100, 600))
def test_bursts_do_not_make_it_flap(period_s, share, load):
    """In half an hour of bursts the target goes down fewer times than there are bursts, and ever less often."""
    deployment = Deployment()
    deployment.run(1800, lambda t: load if t % period_s < share * period_s else 5)
    shrinks = [at for at, old, new in deployment.changes() if new < old]
    assert len(shrinks) <= 6
    assert len([at for at in shrinks if at > 900]) <= 1


def test_after_the_load_the_replicas_go_within_two_windows():
    deployment = Deployment()
    deployment.run(120, 500)
    assert deployment.target >= 7
    deployment.run(50, 5)
    assert deployment.target >= 7
    deployment.run(70, 5)
    assert deployment.target == 1


def test_an_idle_model_goes_where_it_may_and_a_request_wakes_it():
    deployment = Deployment(min_replicas=0, calm_s=30)
    deployment.run(20, 5)
    assert deployment.target == 1
    deployment.run(60, 0)
    assert deployment.target == 0
    deployment.run(20, 5)
    assert (deployment.target, deployment.running) == (1, 1)
    assert deployment.queue < 1


def test_a_request_now_and_then_keeps_one_replica():
    deployment = Deployment(min_replicas=0, calm_s=30)
    deployment.run(600, lambda t: 10 if t % 20 < STEP_S else 0)
    assert set(deployment.targets[round(10 / STEP_S) :]) == {1}


def test_refused_requests_count_as_demand_though_little_waits():
    deployment = Deployment(queue_size=2)
    deployment.run(60, 15)
    deployment.run(5, 250)
    assert deployment.target == math.ceil(2.5 / 0.7)
    assert deployment.queue < 10


def test_equal_bounds_are_a_fixed_number():
    assert replicas(ModelSettings(artifact="m")) == {"num_replicas": 1}
    assert replicas(ModelSettings(artifact="m", scaling={"min_replicas": 3, "max_replicas": 3})) == {"num_replicas": 3}


def test_bounds_the_wrong_way_round_are_refused():
    with pytest.raises(ValueError, match="min_replicas must be at most max_replicas, 1"):
        ModelSettings(artifact="m", scaling={"min_replicas": 2})


def test_a_replica_reports_what_happened_since_it_last_did():
    emitter = Emitter(
        service="m", version="1", role="replica", instance="i", endpoint=f"http://127.0.0.1:{free_port()}"
    )
    demand = Demand(emitter, lambda: 3, num_cpus=1)

    def answered(status, seconds, method="POST"):
        attributes = ((conventions.METHOD, method), (conventions.STATUS_CODE, status))
        emitter.histogram(conventions.REQUEST_DURATION).record(seconds, attributes)

    emitter.histogram(conventions.QUEUE_DURATION).record(9.0)
    demand.read()
    for at in range(90):
        if at == 45:
            emitter.serves("2")  # a new version's totals begin anew; the demand goes on
        answered(200, 0.004)
        emitter.histogram(conventions.QUEUE_DURATION).record(0.002)
    for _ in range(10):
        answered(429, 0.0001)
        answered(200, 5.0, method="GET")
    found = demand.read()
    assert found[ONGOING] == 3
    assert found["queue_s"] == pytest.approx(0.002)
    assert 0.0025 <= found["latency_s"] <= 0.005
    assert found["came_per_s"] / found["answered_per_s"] == pytest.approx(103 / 90 - 3 / 90)
    idle = demand.read()
    assert (idle["came_per_s"], idle["answered_per_s"], idle["queue_s"]) == (0, 0, 0)
