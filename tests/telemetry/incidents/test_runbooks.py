"""Every kind of alert that can be raised has a runbook, and every link to one leads to a section that is there."""

import re
from pathlib import Path

import pytest
import yaml

from telemetry.drift.service import ServiceDrift
from telemetry.drift.watch import model_watches
from telemetry.incidents.incident import SEVERITY, Incident
from telemetry.incidents.runbooks import PAGE, kind_of, runbook_of
from telemetry.notify.telling import notification
from telemetry.slo.objective import Objective
from telemetry.slo.watch import BudgetWatch
from telemetry.watching.alerts import Alert
from telemetry.watching.decision import State
from telemetry.watching.detection import DetectionConfig
from telemetry.watching.presence import PresenceWatch
from telemetry.watching.watches import watches

DOCS = Path("docs")
RULES = yaml.safe_load(Path("telemetry/dashboards/rules.yaml").read_text())["groups"]


def judges():
    """All that can raise an alert of a service."""
    objective = BudgetWatch(Objective(name="answered", service="*", share=0.999))
    return [*watches("digits", DetectionConfig()), *model_watches(ServiceDrift()), objective, PresenceWatch()]


SIGNALS = sorted({judge.signal for judge in judges()})


def sections(page):
    """Anchors of a page's headings, as GitHub makes them, with what stands below each."""
    text = (DOCS.parent / page).read_text()
    parts = re.split(r"^#{1,6} (.+)$", text, flags=re.MULTILINE)
    headings, below = parts[1::2], parts[2::2]
    anchors = [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]
    return dict(zip(anchors, map(str.strip, below), strict=True))


def test_all_that_is_watched_is_known_here():
    """Whatever has a severity of its own is among them, and so is what is judged by model and by process."""
    kinds = {kind_of(signal) for signal in SIGNALS}
    assert kinds >= {*SEVERITY, "drift", "fidelity", "accuracy", "data_quality", "objective", "absence", "event_loop"}


@pytest.mark.parametrize("signal", SIGNALS)
def test_every_kind_of_alert_has_a_runbook_that_says_what_to_do(signal):
    page, _, anchor = runbook_of(signal).partition("#")
    assert page == PAGE
    assert len(sections(page)[anchor].split()) > 15


def test_every_rule_for_prometheus_that_alerts_has_one_too():
    rules = [rule for group in RULES for rule in group["rules"] if "alert" in rule]
    assert rules
    for rule in rules:
        page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
        assert anchor in sections(page), rule["alert"]


@pytest.mark.parametrize("page", ["docs/telemetry.md", "docs/operations.md"])
def test_every_link_of_these_pages_resolves(page):
    text = re.sub(r"```.*?```", "", Path(page).read_text(), flags=re.DOTALL)
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
    assert links
    for link in links:
        path, _, anchor = link.partition("#")
        target = (Path(page).parent / path) if path else Path(page)
        assert target.exists(), link
        assert not anchor or anchor in sections(target), link


def test_a_notification_names_the_runbook_of_the_most_severe_alert_at_the_address_that_was_given():
    def alert(signal):
        numbers = dict.fromkeys(("started_s", "fired_s", "value", "expected_low", "expected_high", "score"), 1.0)
        return Alert(id=1, service="digits", signal=signal, state=State.FIRING, sentence="", **numbers)

    incident = Incident(id=1, alerts=[alert("queue"), alert("server_errors"), alert("objective:answered")])
    assert notification(incident, "").runbook == "docs/telemetry.md#server-errors"
    told = notification(incident, "", "https://wiki.example.com/telemetry")
    assert told.runbook == "https://wiki.example.com/telemetry#server-errors"
    assert told.runbook in told.lines()
