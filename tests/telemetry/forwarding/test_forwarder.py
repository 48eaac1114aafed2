"""One back-end and its place in the journal: what is delivered, sent again, dropped; no clock, no network."""

import asyncio
from collections.abc import Callable

import pytest

from telemetry.forwarding.answers import Answer
from telemetry.forwarding.backend import BackEnd
from telemetry.forwarding.backoff import Backoff
from telemetry.forwarding.forwarder import Forwarder
from telemetry.forwarding.requests import num_items
from telemetry.journal.journal import Journal
from tests.telemetry.forwarding.bodies import metrics_body, names_in, spans_body

DELIVERED = Answer(outcome="delivered")


class Told:
    """A client that answers what it is told to, and keeps what it was sent."""

    def __init__(self, answer: Callable[[str, bytes], Answer] = lambda signal, body: DELIVERED) -> None:
        self.sent: list[tuple[str, bytes]] = []
        self.taken: list[str] = []
        self._answer = answer

    async def send(self, signal: str, body: bytes) -> Answer:
        self.sent.append((signal, body))
        answer = self._answer(signal, body)
        if answer.outcome == "delivered":
            self.taken += names_in(signal, body)
        return answer

    async def close(self) -> None:
        pass


@pytest.fixture
def journal(tmp_path):
    journal = Journal(tmp_path / "journal", segment_bytes=4096, max_bytes=2**20)
    yield journal
    journal.close()


def forwarder(journal: Journal, client: Told, waits: list[float] | None = None, **settings: object) -> Forwarder:
    async def sleep(seconds: float) -> None:
        if waits is not None:
            waits.append(seconds)
        await asyncio.sleep(0)

    config = BackEnd(name="tempo", endpoint="http://tempo:4317", **settings)
    reader = journal.reader("forward-tempo", "oldest")
    return Forwarder(config, reader, client, sleep=sleep, new_backoff=lambda: Backoff(lambda low, high: 1.0))


def forward_all(it: Forwarder) -> None:
    async def until_nothing_is_left() -> None:
        while await it.step():
            pass

    asyncio.run(until_nothing_is_left())


def test_small_requests_go_together_up_to_the_batch_size_and_large_ones_alone(journal):
    bodies = [spans_body(f"span-{index}") for index in range(100)]
    for body in bodies:
        journal.append("traces", body, 0.0)
    journal.append("traces", spans_body("x" * 5000), 0.0)
    client = Told()
    it = forwarder(journal, client, batch_bytes=2048)
    forward_all(it)
    assert client.taken == [*(f"span-{index}" for index in range(100)), "x" * 5000]
    assert 3 <= len(client.sent) < 20
    assert all(len(body) <= 2048 for _, body in client.sent[:-1])
    assert it.lag_bytes == 0


def test_only_the_signals_that_are_asked_for_are_sent(journal):
    journal.append("traces", spans_body("a"), 0.0)
    journal.append("metrics", metrics_body("b"), 0.0)
    client = Told()
    it = forwarder(journal, client, signals=["metrics"])
    forward_all(it)
    assert [signal for signal, _ in client.sent] == ["metrics"]
    assert it.lag_bytes == 0


def test_a_request_is_sent_until_it_is_taken_with_growing_waits(journal):
    journal.append("traces", spans_body("a"), 0.0)
    answers = iter([*[Answer(outcome="retry", reason="UNAVAILABLE")] * 5, DELIVERED])
    client, waits = Told(lambda signal, body: next(answers)), []
    it = forwarder(journal, client, waits)
    forward_all(it)
    assert client.taken == ["a"]
    assert waits == pytest.approx([0.5 * 1.5**power for power in range(5)])
    assert it.tally.num_retries == 5


def test_the_wait_that_the_back_end_asks_for_is_kept(journal):
    journal.append("traces", spans_body("a"), 0.0)
    answers = iter([Answer(outcome="retry", wait_s=42.0), DELIVERED])
    waits: list[float] = []
    forward_all(forwarder(journal, Told(lambda signal, body: next(answers)), waits))
    assert waits == [42.0]


def test_a_refused_request_is_dropped_alone_counted_and_logged_once(journal, caplog):
    for index in range(8):
        journal.append("traces", spans_body(f"bad-{index}" if index in (2, 5) else f"good-{index}"), 0.0)

    def answer(signal: str, body: bytes) -> Answer:
        is_bad = any(name.startswith("bad") for name in names_in(signal, body))
        return Answer(outcome="refused", reason="INVALID_ARGUMENT: bad", by_content=True) if is_bad else DELIVERED

    client = Told(answer)
    it = forwarder(journal, client)
    forward_all(it)
    assert client.taken == [f"good-{index}" for index in (0, 1, 3, 4, 6, 7)]
    assert it.tally.num_dropped_items == 2
    assert len(caplog.records) == 1
    assert "INVALID_ARGUMENT" in caplog.text
    assert it.lag_bytes == 0


def test_a_back_end_that_refuses_everything_is_asked_once_a_batch(journal):
    for index in range(8):
        journal.append("traces", spans_body(f"{index}"), 0.0)
    client = Told(lambda signal, body: Answer(outcome="refused", reason="UNAUTHENTICATED"))
    it = forwarder(journal, client)
    forward_all(it)
    assert len(client.sent) == 1
    assert it.tally.num_dropped_items == 8


def test_a_partial_success_is_not_sent_again_and_its_refusals_are_counted(journal):
    journal.append("metrics", metrics_body("a"), 0.0)
    client = Told(lambda signal, body: Answer(outcome="delivered", num_refused=3, reason="too old"))
    it = forwarder(journal, client)
    forward_all(it)
    assert len(client.sent) == 1
    assert it.tally.num_refused_items == 3


def test_what_was_not_delivered_is_sent_after_a_restart(tmp_path):
    folder = tmp_path / "journal"
    journal = Journal(folder)
    journal.reader("forward-tempo", "oldest")
    for name in "abc":
        journal.append("traces", spans_body(name), 0.0)

    async def stop_amid() -> None:
        task = asyncio.create_task(forwarder(journal, Told(lambda *_: Answer(outcome="retry"))).run())
        await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(stop_amid())
    journal.close()
    client, again = Told(), Journal(folder)
    forward_all(forwarder(again, client))
    again.close()
    assert client.taken == ["a", "b", "c"]


def test_an_error_of_ours_loses_nothing(journal):
    journal.append("traces", spans_body("a"), 0.0)
    fails = iter([True, False])

    def answer(signal: str, body: bytes) -> Answer:
        if next(fails):
            raise ArithmeticError("ours")
        return DELIVERED

    client = Told(answer)
    it = forwarder(journal, client)

    async def until_delivered() -> None:
        task = asyncio.create_task(it.run())
        while not client.taken:
            await asyncio.sleep(0)
        it.stop()
        await task

    asyncio.run(until_delivered())
    assert client.taken == ["a"]
    assert it.num_failures == 1


def test_items_of_each_signal_are_counted():
    assert num_items("traces", spans_body("a") + spans_body("b")) == 2
    assert num_items("metrics", metrics_body("a")) == 1
    assert num_items("logs", b"\xff") == 0
