"""From an incident of a real collector to what a channel is told."""

import asyncio

import numpy as np

from telemetry.collector import Collector
from telemetry.incidents.silence import Silence
from telemetry.notify.notifier import Notifier
from telemetry.notify.telling import Teller
from telemetry.storage.documents import DocumentsInMemory
from tests.telemetry.traffic import Clock, Sender


class Heard:
    name, again_s = "heard", None

    def __init__(self):
        self.told = []

    async def send(self, notification):
        self.told.append(notification)


class Broken:
    """A collector whose one service can be made to fail; its notifier has one channel, which is told at once."""

    def __init__(self):
        self.clock, self.sender, self.channel = Clock(), Sender(), Heard()
        self.collector = Collector(clock=self.clock)
        self.notifier = Notifier([self.channel], DocumentsInMemory(), clock=self.clock)
        self.teller = Teller(self.notifier, self.collector.incidents.is_silenced, page="https://models/telemetry/")
        self.collector.incidents.listen(self.teller.take)

    def run(self, seconds, status):
        for _ in range(seconds):
            self.clock.now_s += 1
            self.collector.receive_metrics(self.sender.request({status: np.full(20, 0.002)}, self.clock.now_s))
            self.collector.tick()
            self.teller.take_up(self.collector.incidents)
        asyncio.run(self.notifier.send_due(self.channel))
        return [(each.state, each.severity) for each in self.channel.told]


def test_an_outage_is_told_once_as_it_opens_and_once_as_it_ends():
    broken = Broken()
    assert broken.run(60, 200) == []
    assert broken.run(60, 500) == [("open", "page")]
    assert broken.run(120, 200) == [("open", "page"), ("ended", "page")]
    told = broken.channel.told[0]
    assert "server errors" in told.title
    assert told.link == "https://models/telemetry#incident/1", "the address of the page's view"
    assert told.runbook == "https://models/telemetry/runbook.html#server-errors"


def test_what_is_silenced_is_told_when_the_silence_ends():
    broken = Broken()
    broken.run(60, 200)
    broken.collector.incidents.silence(silence_of(broken.clock.now_s + 60))
    assert broken.run(50, 500) == []
    assert broken.run(50, 500) == [("open", "page")]


def test_what_begins_and_ends_in_a_silence_is_told_nobody():
    broken = Broken()
    broken.run(60, 200)
    broken.collector.incidents.silence(silence_of(broken.clock.now_s + 300))
    assert broken.run(30, 500) == []
    assert broken.run(200, 200) == []
    assert not broken.collector.alerts.firing()


def silence_of(until_s):
    return Silence(id=0, until_s=until_s, by="ann", why="known", made_s=0.0)
