from dataclasses import replace
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from telemetry.notify.notification import Notification
from telemetry.notify.outbox import GIVE_UP_S, Outbox
from telemetry.storage.documents import DocumentsInMemory

OPEN = Notification(incident="7", state="open", severity="page", service="m", title="m is slow", started_s=1.0)
ENDED = replace(OPEN, state="ended", ended_s=50.0)


def outbox(documents=None):
    return Outbox(["chat"], documents or DocumentsInMemory())


def deliver(box: Outbox, now_s: float) -> list[str]:
    said = []
    for entry in box.due("chat", now_s):
        said.append(entry.notification.state)
        box.told(entry, entry.notification, now_s)
    return said


def test_each_state_is_told_once_however_often_the_incident_changes():
    box = outbox()
    box.put(OPEN, 1.0)
    assert deliver(box, 1.0) == ["open"]
    box.put(replace(OPEN, title="m is slower"), 2.0)
    assert deliver(box, 2.0) == []
    box.put(ENDED, 50.0)
    box.put(ENDED, 51.0)
    assert deliver(box, 51.0) == ["ended"]
    assert box.num_waiting == 0


def test_what_ended_before_anybody_could_be_told_is_told_once_as_ended():
    box = outbox()
    box.put(OPEN, 1.0)
    box.later(box.due("chat", 1.0)[0], None, "no answer", 1.0)
    box.put(ENDED, 50.0)
    assert deliver(box, 50.0) == ["ended"]


def test_what_was_not_told_survives_a_restart_and_what_was_is_not_told_again():
    documents = DocumentsInMemory()
    box = outbox(documents)
    box.put(OPEN, 1.0)
    assert deliver(outbox(documents), 2.0) == ["open"]
    again = outbox(documents)
    again.put(OPEN, 3.0)
    assert deliver(again, 3.0) == []


def test_an_incident_that_goes_on_changing_does_not_hasten_the_next_try():
    box = outbox()
    box.put(OPEN, 0.0)
    box.later(box.due("chat", 0.0)[0], 100.0, "busy", 0.0)
    box.put(replace(OPEN, title="worse"), 1.0)
    assert box.due("chat", 99.0) == []
    assert box.due("chat", 100.0)[0].notification.title == "worse"


def test_a_channel_that_is_down_for_a_day_costs_one_notification_and_is_counted():
    box, now_s = outbox(), 0.0
    box.put(OPEN, now_s)
    num_tries = 0
    while due := box.due("chat", now_s):
        num_tries += 1
        box.later(due[0], None, "no answer", now_s)
        now_s = max(now_s, due[0].next_s)
    assert (box.num_dropped, box.num_waiting) == (1, 0)
    assert now_s > GIVE_UP_S and 280 < num_tries < 700  # five minutes apart at most, half of that at least


def test_open_incidents_are_told_again_only_where_that_is_wanted():
    box = outbox()
    box.put(OPEN, 0.0)
    deliver(box, 0.0)
    box.put_again("chat", 60.0, 59.0, {"7"})
    assert deliver(box, 59.0) == []
    box.put_again("chat", 60.0, 60.0, set())  # somebody acknowledged it
    assert deliver(box, 60.0) == []
    box.put_again("chat", 60.0, 61.0, {"7"})
    assert deliver(box, 61.0) == ["open"]


def test_a_clock_set_back_by_a_year_does_not_silence_it():
    box, year_s = outbox(), 365 * 86_400.0
    box.put(OPEN, year_s)
    box.later(box.due("chat", year_s)[0], None, "no answer", year_s)
    assert deliver(box, 0.0) == ["open"]


@given(st.lists(st.sampled_from(["open", "end", "fail", "deliver", "restart"]), max_size=40))
def test_after_whatever_happens_the_channel_knows_the_last_state_and_never_hears_it_twice_in_a_row(events):
    documents = DocumentsInMemory()
    box, heard, last, now_s = outbox(documents), [], None, 0.0
    for event in events:
        now_s += 400.0
        if event in ("open", "end"):
            last = OPEN if event == "open" else ENDED
            box.put(last, now_s)
        elif event == "fail":
            for entry in box.due("chat", now_s):
                box.later(entry, None, "no answer", now_s)
        elif event == "deliver":
            heard += deliver(box, now_s)
        else:
            box = outbox(documents)
    heard += deliver(box, now_s + 400.0)
    assert all(one != other for one, other in pairwise(heard))
    assert (heard[-1] if heard else None) == (last.state if last else None)
