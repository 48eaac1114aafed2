"""PromQL against what Prometheus 2.42 answers to the same queries on the same series."""

import json
import shutil

import httpx
import pytest

from telemetry.queries import shape
from telemetry.queries.engine import Engine
from telemetry.queries.errors import QueryError
from tests.telemetry.queries.recorded import RecordedSeries, an_hour
from tests.telemetry.queries.reference import ANSWERS, END_S, ERRORS, QUERIES, START_S, STEP_S, asked, prometheus

RECORDED = json.loads(ANSWERS.read_text())
ENGINE = Engine(RecordedSeries(an_hour()))


def ours(query: str) -> dict[str, object]:
    def answered(answer) -> dict[str, object]:
        try:
            return {"status": "success", "data": shape.data(answer())}
        except QueryError as error:
            return {"status": "error", "errorType": error.kind, "error": str(error)}

    return {
        "range": answered(lambda: ENGINE.ranged(query, START_S * 1000, END_S * 1000, STEP_S * 1000)),
        "instant": answered(lambda: ENGINE.instant(query, END_S * 1000)),
    }


def comparable(answer: dict) -> object:
    """Elements by their labels, since their order says nothing, except in what sorts (`topk`)."""
    if answer["status"] != "success" or answer["data"]["resultType"] not in ("vector", "matrix"):
        return {key: answer.get(key) for key in ("status", "errorType")} if "data" not in answer else answer["data"]
    return {
        json.dumps(each["metric"], sort_keys=True): numbers(each.get("values") or [each["value"]])
        for each in answer["data"]["result"]
    }


def numbers(pairs: list) -> list[tuple[float, object]]:
    return [(time_s, pytest.approx(float(text), rel=1e-9, abs=1e-12, nan_ok=True)) for time_s, text in pairs]


def plain(answer: object) -> object:
    if isinstance(answer, dict) and "resultType" not in answer and "status" not in answer:
        return {key: [(time_s, value.expected) for time_s, value in pairs] for key, pairs in answer.items()}
    return answer


@pytest.mark.parametrize("query", QUERIES + ERRORS)
def test_answers_are_those_that_prometheus_gave(query):
    mine = ours(query)
    for kind in ("range", "instant"):
        assert plain(comparable(mine[kind])) == comparable(RECORDED[query][kind]), kind


@pytest.mark.parametrize("query", [query for query in ERRORS if "duplicate" in str(RECORDED[query])])
def test_what_prometheus_says_of_duplicates_we_say(query):
    mine, theirs = ours(query)["instant"]["error"], RECORDED[query]["instant"]["error"]
    assert mine.partition("[")[0] == theirs.partition("[")[0]


@pytest.mark.long
@pytest.mark.skipif(not shutil.which("prometheus"), reason="prometheus is not installed")
def test_the_recorded_answers_are_those_of_the_prometheus_here(tmp_path):
    with prometheus(tmp_path) as url, httpx.Client() as client:
        for query in QUERIES + ERRORS:
            theirs = asked(url, client, query)
            for kind in ("range", "instant"):
                assert plain(comparable(theirs[kind])) == comparable(RECORDED[query][kind]), query
