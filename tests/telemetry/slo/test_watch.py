"""Objectives of a real collector: counted, alerted, shown, kept over a restart."""

import numpy as np
from starlette.testclient import TestClient

from telemetry.collector import Collector
from telemetry.config import CollectorConfig
from telemetry.slo.objective import Objective
from tests.telemetry.traffic import Clock, Sender

OBJECTIVES = [
    Objective(name="answered", service="*", share=0.99),
    Objective(name="fast", service="digits", share=0.9, latency_s=0.05),
    Objective(name="another's", service="other", share=0.9),
]


class Watched:
    def __init__(self):
        self.clock, self.sender = Clock(), Sender()
        self.collector = Collector(CollectorConfig(slos=OBJECTIVES), clock=self.clock)

    def run(self, minutes, *, failed=0, latency_s=0.002):
        for _ in range(minutes * 6):
            self.clock.now_s += 10
            answers = {200: np.full(100 - failed, latency_s), 500: np.full(failed, latency_s)}
            self.collector.receive_metrics(self.sender.request(answers, self.clock.now_s))
            self.collector.tick()

    def slos(self):
        listed = TestClient(self.collector.asgi).get("/telemetry/api/slos").json()["slos"]
        return {each["name"]: each for each in listed}

    def firing(self):
        return {alert.signal: alert.sentence for alert in self.collector.alerts.firing()}


def test_objectives_hold_for_their_services_alone_and_a_calm_service_keeps_its_budget():
    watched = Watched()
    watched.run(10)
    slos = watched.slos()
    assert set(slos) == {"answered", "fast"}
    assert (slos["answered"]["left"], slos["answered"]["severity"]) == (1.0, None)
    assert not watched.firing()


def test_a_budget_spent_too_fast_pages_until_it_is_not():
    watched = Watched()
    watched.run(30)
    watched.run(30, failed=40)  # 40 times as many as allowed, in half of the hour
    assert watched.slos()["answered"]["severity"] == "page"
    assert "is missed" in watched.firing()["objective:answered"]
    watched.run(10)
    assert "objective:answered" not in watched.firing()


def test_slow_answers_spend_the_budget_of_latency_alone():
    watched = Watched()
    watched.run(5)
    watched.run(5, latency_s=0.2)
    slos = watched.slos()
    assert slos["fast"]["left"] < 1.0 and slos["answered"]["left"] == 1.0
