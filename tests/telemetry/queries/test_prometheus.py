"""Prometheus' HTTP API as Grafana calls it, and what hostile queries may not do."""

import time

import orjson
import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from telemetry.queries.engine import Engine
from telemetry.queries.limits import Limits
from telemetry.queries.prometheus import PREFIX, PrometheusApi
from telemetry.queries.source import Metadata
from tests.telemetry.queries.recorded import BEGIN_S, RecordedSeries, an_hour

END_S = BEGIN_S + 3590
METADATA = {"temperature": Metadata(type="gauge", help="How warm.", unit="celsius")}


def client(limits: Limits | None = None) -> TestClient:
    engine = Engine(RecordedSeries(an_hour(), METADATA), limits)
    api = PrometheusApi(engine, lambda: float(END_S))
    return TestClient(Starlette(routes=api.routes()))


CLIENT = client()


def ask(path: str, **parameters: object) -> dict:
    return CLIENT.get(f"{PREFIX}/{path}", params=parameters).json()


def test_an_instant_query_has_the_shape_that_prometheus_gives():
    answer = CLIENT.get(f"{PREFIX}/query", params={"query": 'build_info{instance="a"}', "time": END_S})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == {
        "status": "success",
        "data": {
            "resultType": "vector",
            "result": [
                {
                    "metric": {"__name__": "build_info", "instance": "a", "service": service, "version": "1.0"},
                    "value": [END_S, "1"],
                }
                for service in ("digits", "texts")
            ],
        },
    }
    assert ask("query", query="7", time=END_S)["data"] == {"resultType": "scalar", "result": [END_S, "7"]}
    assert ask("query", query='"seven"', time=END_S)["data"] == {"resultType": "string", "result": [END_S, "seven"]}
    raw = ask("query", query="temperature[30s]", time=END_S)["data"]
    assert (raw["resultType"], len(raw["result"]), len(raw["result"][0]["values"])) == ("matrix", 2, 2)


def test_a_query_may_come_as_a_form_with_times_as_dates_and_steps_as_durations():
    form = {"query": "time()", "start": "2023-11-14T22:13:20Z", "end": "2023-11-14T22:14:20.000Z", "step": "30s"}
    answer = CLIENT.post(f"{PREFIX}/query_range", data=form).json()
    assert answer["data"]["result"] == [
        {"metric": {}, "values": [[BEGIN_S + step, str(BEGIN_S + step)] for step in (0, 30, 60)]}
    ]


def test_what_grafana_asks_to_fill_its_menus():
    assert ask("labels")["data"] == ["__name__", "code", "instance", "le", "service", "version"]
    assert ask("labels", **{"match[]": "build_info"})["data"] == ["__name__", "instance", "service", "version"]
    assert "requests_total" in ask("label/__name__/values")["data"]
    assert ask("label/code/values")["data"] == ["200", "404", "500"]
    assert ask("label/code/values", start=0, end=1)["data"] == []
    assert ask("series", **{"match[]": 'temperature{service="texts"}'})["data"] == [
        {"__name__": "temperature", "service": "texts"}
    ]
    assert ask("metadata", metric="temperature")["data"] == {
        "temperature": [{"type": "gauge", "help": "How warm.", "unit": "celsius"}]
    }
    assert ask("status/buildinfo")["data"]["version"].startswith("2.")
    assert ask("rules")["data"] == {"groups": []}
    assert ask("query_exemplars", query="temperature")["data"] == []


@pytest.mark.parametrize(
    ("path", "parameters", "words"),
    [
        ("query", {"query": "info(temperature)"}, 'function "info" is not supported'),
        ("query", {"query": "limitk(1, temperature)"}, 'aggregation "limitk" is not supported'),
        ("query", {"query": 'temperature{a="b" or c="d"}'}, "not supported"),
        ("query", {"query": "sum("}, "parse error"),
        ("query", {}, 'invalid parameter "query"'),
        ("query", {"query": "1", "time": "noon"}, 'invalid parameter "time"'),
        ("query", {"query": "1", "time": "nan"}, 'invalid parameter "time"'),
        ("query", {"query": "1", "timeout": "x"}, 'invalid parameter "timeout"'),
        ("query_range", {"query": "1", "start": 0, "end": 9, "step": 0}, "step"),
        ("query_range", {"query": "1", "start": 9, "end": 0, "step": 1}, "before start"),
        ("query_range", {"query": "1", "start": 0, "end": 11_000, "step": 1}, "exceeded maximum resolution of 11,000"),
        ("query_range", {"query": '"a"', "start": 0, "end": 1, "step": 1}, 'invalid expression type "string"'),
        ("series", {}, "no match"),
        ("series", {"match[]": "1+1"}, "must be a series selector"),
        ("label/0/values", {}, "invalid label name"),
    ],
)
def test_what_cannot_be_answered_is_said_in_the_shape_that_prometheus_gives(path, parameters, words):
    answer = CLIENT.get(f"{PREFIX}/{path}", params=parameters)
    assert answer.status_code == 400
    assert answer.json()["status"] == "error"
    assert answer.json()["errorType"] == "bad_data"
    assert words in answer.json()["error"]


HOSTILE = {
    "brackets": "(" * 100_000 + "1" + ")" * 100_000,
    "nesting": "abs(" * 400 + "temperature" + ")" * 400,
    "operators": "1" + "+1" * 4000,
    "signs": "-" * 400 + "1",
    "a pattern that other engines never end with": 'temperature{service=~"(d+)+(i+)+(.*)*(.*)*(.*)*x"}',
    "a huge pattern": 'temperature{service=~"' + "(a|b)" * 150 + '"}',
    "a pattern that repeats repeats": 'temperature{service=~"((a{100}){100}){100}"}',
    "a long pattern": 'temperature{service=~"' + "a" * 5000 + '"}',
    "a pattern of replace": 'label_replace(temperature, "a", "$1", "service", "((.*)*)*")',
    "years of a subquery": "sum_over_time(temperature[10y:1s])",
    "subqueries of subqueries": "max_over_time(max_over_time(max_over_time(temperature[1y:1m])[1y:1m])[1y:1m])",
    "a step of nothing": "sum_over_time(temperature[1y:1ms])",
    "a join of all": " + on() group_left ".join(["requests_total"] * 6),
    "numbers that overflow": "temperature[99999999999999y]",
    "an offset that overflows": "temperature offset 9999999y",
    "a time that overflows": "temperature @ 1e300",
    "no number of elements": "topk(NaN, temperature)",
    "too many elements": "topk(1e300, temperature)",
    "a null byte": 'temperature{a="\x00"}',
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_query_is_answered_or_refused_in_bounded_time(what):
    began_s = time.process_time()
    answer = client(Limits(timeout_s=2.0)).post(f"{PREFIX}/query", data={"query": HOSTILE[what]})
    assert answer.status_code in (200, 400, 422, 503), answer.text
    assert orjson.loads(answer.content)["status"] in ("success", "error")
    assert time.process_time() - began_s < 20


def test_limits_on_samples_series_and_time_are_told():
    for limits, status, words in (
        (Limits(max_samples=100), 422, "too many samples"),
        (Limits(max_series=10), 422, "more than 10 series"),
        (Limits(timeout_s=0.0), 503, "timed out"),
    ):
        answer = client(limits).get(f"{PREFIX}/query", params={"query": "rate(requests_total[1h])"})
        assert answer.status_code == status
        assert words in answer.json()["error"]


def test_a_form_that_is_none_or_too_large_is_refused():
    json = CLIENT.post(f"{PREFIX}/query", json={"query": "1"})
    assert (json.status_code, json.json()["errorType"]) == (400, "bad_data")
    assert CLIENT.post(f"{PREFIX}/query", data={"query": "1" * 300_000}).status_code == 400


def test_sorted_elements_come_in_order():
    for query, reverse in (
        ("sort(memory_bytes)", False),
        ("sort_desc(memory_bytes)", True),
        ("topk(3, memory_bytes)", True),
    ):
        values = [float(each["value"][1]) for each in ask("query", query=query, time=END_S)["data"]["result"]]
        assert values == sorted(values, reverse=reverse)
