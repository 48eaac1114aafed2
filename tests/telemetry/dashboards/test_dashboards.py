"""The dashboards for Grafana and the rules for Prometheus ask for what Trimtab reports, in words that these know."""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import promql_parser
import pytest
import yaml

from telemetry.conventions import PROCESS_CPU_UTILIZATION, REQUEST_DURATION, STATUS_CODE
from telemetry.queries import shape
from telemetry.queries.engine import Engine
from telemetry.queries.naming import INSTRUMENTS, metric_name
from telemetry.queries.recorded import RecordedSeries
from telemetry.receivers.points import Scope
from telemetry.series.stream import Key
from telemetry.storage.layout import Layout
from telemetry.storage.storage import Storage
from tests.telemetry.traffic import START_S

FOLDER = Path("telemetry/dashboards")
DASHBOARDS = sorted(FOLDER.glob("*.json"))
RULES = FOLDER / "rules.yaml"
PROMTOOL = shutil.which("promtool")
GRAFANA = {"$__rate_interval": "1m", "$__interval": "15s", "$service": "digits"}
"""What Grafana puts in place of its variables."""

_ENDINGS = {"histogram": ("_bucket", "_sum", "_count")}
_KINDS = {"updowncounter": "gauge"}


def prometheus_names(instrument):
    """As OpenTelemetry's rules give them, and Trimtab's own API for Prometheus."""
    kind = _KINDS.get(instrument.kind, instrument.kind)
    name = metric_name(instrument.name, instrument.unit, kind)
    return {name + ending for ending in _ENDINGS.get(kind, ("",))}


REPORTED = {name for instrument in INSTRUMENTS.values() for name in prometheus_names(instrument)}


def as_sent(query):
    """With values for Grafana's variables."""
    for variable, value in GRAFANA.items():
        query = query.replace(variable, value)
    return query


def metrics(query):
    """The metrics that a query names; it must be one that PromQL's parser understands."""
    found = set()

    def visit(node):
        match node:
            case promql_parser.VectorSelector():
                found.add(node.name)
            case promql_parser.MatrixSelector():
                visit(node.vector_selector)
            case promql_parser.Call():
                for argument in node.args:
                    visit(argument)
            case promql_parser.BinaryExpr():
                visit(node.lhs)
                visit(node.rhs)
            case (
                promql_parser.AggregateExpr()
                | promql_parser.ParenExpr()
                | promql_parser.SubqueryExpr()
                | promql_parser.UnaryExpr()
            ):
                visit(node.expr)

    visit(promql_parser.parse(as_sent(query)))
    return found


def queries(path):
    return [target["expr"] for panel in json.loads(path.read_text())["panels"] for target in panel["targets"]]


def rules():
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_every_panel_asks_for_what_is_reported(path):
    asked = [metrics(query) for query in queries(path)]
    assert len(asked) >= 6
    assert all(asked)
    assert set.union(*asked) - REPORTED == set()


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_a_dashboard_names_no_data_source_of_ours(path):
    dashboard = json.loads(path.read_text())
    panels = dashboard["panels"]
    assert dashboard["uid"] == f"trimtab-{path.stem}"
    assert {panel["datasource"]["uid"] for panel in panels} == {"${datasource}"}
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels]
    assert len(set(places)) == len(panels), "no panel lies on another"


@pytest.fixture(scope="module")
def engine():
    """PromQL over five minutes of a replica's requests and CPU."""
    storage = Storage(None)
    bounds = REQUEST_DURATION.boundaries
    key = Key("digits", "a", Scope(), REQUEST_DURATION.name, ((STATUS_CODE, 200),))
    durations = np.array([storage.series_id(key, "histogram")])
    cpu = np.array([storage.series_id(key._replace(metric=PROCESS_CPU_UTILIZATION.name, attributes=()), "gauge")])
    for at in range(300):
        counts = np.zeros((1, len(bounds) + 1), np.int64)
        counts[0, 5] = 40 * at
        storage.append_buckets(durations, START_S + at, Layout.explicit(bounds), counts, np.array([0.06 * at]))
        storage.append(cpu, START_S + at, np.array([0.3]))
    return Engine(RecordedSeries(storage, {}))


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_trimtabs_own_collector_answers_every_panel(path, engine):
    times = int((START_S + 240) * 1000), int((START_S + 299) * 1000), 15_000
    answers = {query: shape.data(engine.ranged(as_sent(query), *times, 10.0))["result"] for query in queries(path)}
    shown = [query for query, result in answers.items() if result]
    assert len(shown) == {"models": 9, "processes": 3, "trainings": 0}[path.stem]
    if path.stem == "models":
        (series,) = answers[queries(path)[0]]
        assert series["metric"] == {"job": "digits"}
        assert float(series["values"][-1][1]) == pytest.approx(40, rel=0.02)


def test_every_rule_asks_for_what_is_reported_or_was_recorded():
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    asked = set.union(*(metrics(rule["expr"]) for rule in rules()))
    assert asked - REPORTED - recorded == set()
    assert recorded <= asked, "nothing is recorded that no alert reads"


def test_every_alert_says_how_urgent_it_is_and_what_happened():
    alerts = [rule for rule in rules() if "alert" in rule]
    assert {alert["labels"]["severity"] for alert in alerts} == {"page", "ticket"}
    assert all({"summary", "description", "runbook_url"} == set(alert["annotations"]) for alert in alerts)


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed")
def test_prometheus_takes_the_rules_and_they_fire_when_they_should(tmp_path):
    tests = Path(__file__).parent / "rules_test.yaml"
    shutil.copy(RULES, tmp_path)
    shutil.copy(tests, tmp_path)
    for what in (["check", "rules", "rules.yaml"], ["test", "rules", tests.name]):
        done = subprocess.run([PROMTOOL, *what], cwd=tmp_path, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr
