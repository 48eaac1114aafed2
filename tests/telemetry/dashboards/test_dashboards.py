"""The dashboards for Grafana and the rules for Prometheus ask for what Trimtab reports, in words that these know."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import promql_parser
import pytest
import yaml

from telemetry import conventions

FOLDER = Path(conventions.__file__).parent / "dashboards"
DASHBOARDS = sorted(FOLDER.glob("*.json"))
RULES = FOLDER / "rules.yaml"
PROMTOOL = shutil.which("promtool")
GRAFANA = {"$__rate_interval": "1m", "$__interval": "15s", "$service": "digits"}
"""What Grafana puts in place of its variables."""

_SUFFIXES = {"s": "_seconds", "By": "_bytes", "1": "_ratio"}
_OF_KIND = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}


def prometheus_names(instrument):
    """As OpenTelemetry's rules give them
    (https://opentelemetry.io/docs/specs/otel/compatibility/prometheus_and_openmetrics/)."""
    suffix = _SUFFIXES.get(instrument.unit, "")
    if suffix == "_ratio" and instrument.kind not in ("gauge", "updowncounter"):
        suffix = ""
    base = re.sub(r"[^a-zA-Z0-9_]", "_", instrument.name) + suffix
    return {base + ending for ending in _OF_KIND.get(instrument.kind, ("",))}


def instruments():
    return [each for each in vars(conventions).values() if isinstance(each, conventions.Instrument)]


REPORTED = {name for instrument in instruments() for name in prometheus_names(instrument)}


def metrics(query):
    """The metrics that a query names; it must be one that PromQL's parser understands."""
    for variable, value in GRAFANA.items():
        query = query.replace(variable, value)
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

    visit(promql_parser.parse(query))
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


def test_every_rule_asks_for_what_is_reported_or_was_recorded():
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    asked = set.union(*(metrics(rule["expr"]) for rule in rules()))
    assert asked - REPORTED - recorded == set()
    assert recorded <= asked, "nothing is recorded that no alert reads"


def test_every_alert_says_how_urgent_it_is_and_what_happened():
    alerts = [rule for rule in rules() if "alert" in rule]
    assert {alert["labels"]["severity"] for alert in alerts} == {"page", "ticket"}
    assert all({"summary", "description"} == set(alert["annotations"]) for alert in alerts)


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed")
def test_prometheus_takes_the_rules_and_they_fire_when_they_should(tmp_path):
    tests = Path(__file__).parent / "rules_test.yaml"
    shutil.copy(RULES, tmp_path)
    shutil.copy(tests, tmp_path)
    for what in (["check", "rules", "rules.yaml"], ["test", "rules", tests.name]):
        done = subprocess.run([PROMTOOL, *what], cwd=tmp_path, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr
