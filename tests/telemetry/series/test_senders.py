"""Processes without a name are told apart, whatever their connections do."""

from hypothesis import given, settings
from hypothesis import strategies as st

from telemetry.receivers.origin import Peer
from telemetry.receivers.points import Scope
from telemetry.series.senders import Senders
from telemetry.series.stream import Key

HERE, THERE = Peer("10.0.0.1", "1111"), Peer("10.0.0.1", "2222")


def total(start_ns, metric="requests"):
    return Key("web", "", Scope(), metric, ()), start_ns


def told(senders, peer, *totals):
    """The name given, as the store asks for it: learnt for each total."""
    name = senders.name("web", peer, totals)
    for key, start_ns in totals:
        senders.learn(key._replace(instance=name), start_ns)
    return name


def test_two_connections_are_two_processes():
    senders = Senders()
    assert [told(senders, peer, total(start)) for peer, start in ((HERE, 1), (THERE, 2))] == [
        "10.0.0.1:1111",
        "10.0.0.1:2222",
    ]


def test_a_process_that_connects_anew_stays_the_same():
    senders = Senders()
    assert told(senders, HERE, total(1)) == told(senders, THERE, total(1))


def test_two_processes_behind_one_connection_stay_two():
    senders = Senders()
    names = [told(senders, HERE, total(start)) for start in (1, 2, 1, 2, 2, 1)]
    assert names == ["10.0.0.1:1111", "10.0.0.1:1111#2"] * 2 + ["10.0.0.1:1111#2", "10.0.0.1:1111"]


def test_a_metric_that_begins_later_belongs_to_the_process_whose_others_are_known():
    senders = Senders()
    first, second = told(senders, HERE, total(1)), told(senders, HERE, total(2))
    assert told(senders, HERE, total(2), total(9, "errors")) == second
    assert told(senders, HERE, total(1), total(8, "errors")) == first


def test_without_totals_the_connection_decides():
    senders = Senders()
    assert told(senders, HERE) == told(senders, HERE) == "10.0.0.1:1111"


def test_what_is_forgotten_is_forgotten_as_a_whole():
    senders = Senders()
    name = told(senders, HERE, total(1))
    senders.expire({("web", name)})
    assert told(senders, THERE, total(1)) == name
    senders.expire(set())
    assert told(senders, THERE, total(1)) == "10.0.0.1:2222"
    assert len(senders._starts) == len(senders._instances) == len(senders._names) == 1


def test_a_name_that_is_still_used_is_not_given_again():
    senders = Senders()
    _, second = told(senders, HERE, total(1)), told(senders, HERE, total(2))
    senders.expire({("web", second)})
    assert told(senders, HERE, total(3)) != second
    assert told(senders, HERE, total(2)) == second


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(1, 5), st.sampled_from([HERE, THERE, Peer("10.0.0.2")])), max_size=60))
def test_a_process_has_one_name_and_no_two_share_it(exports):
    """Any process may export by any connection, in any order."""
    senders, names = Senders(), {}
    for process, peer in exports:
        assert names.setdefault(process, told(senders, peer, total(process))) == told(senders, peer, total(process))
    assert len(set(names.values())) == len(names)
