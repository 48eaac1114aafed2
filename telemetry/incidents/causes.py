"""What probably caused an incident: what changed shortly before it began, and what failed that others ask."""

from collections.abc import Iterable

from telemetry.incidents.calls import Calls
from telemetry.incidents.changes import Change, Kind
from telemetry.incidents.incident import Incident

BEFORE_S = 900.0
"""Changes from longer before the first unusual value are not suspected."""
AFTER_S = 30.0
"""A change is seen up to this late: a new version is known once its first report came."""
FIRST_S = 5.0
"""What is asked may be noticed so much later than who asks, and have failed before it."""
WEIGHTS: dict[Kind, float] = {
    "dependency": 5.0,
    "version": 4.0,
    "rollout": 4.0,
    "node": 3.0,
    "instances": 2.0,
    "load": 2.0,
    "collector": 0.5,
    "accepted": 0.0,
}
"""How often a change of this kind is to blame, before it is known how near it was."""


def causes(incident: Incident, changes: Iterable[Change], calls: Calls) -> list[Change]:
    """The changes that may be to blame, the most probable first: by kind, and by how shortly before they came."""
    onset_s, services = incident.started_s, set(incident.services)
    suspects = {
        change: weight / (1.0 + abs(onset_s - change.time_s) / 120.0)
        for change in (*changes, *_failed_first(incident, calls))
        if onset_s - BEFORE_S <= change.time_s <= onset_s + AFTER_S
        and (not change.service or change.service in services)
        and (weight := WEIGHTS[change.kind]) > 0
    }
    return sorted(suspects, key=lambda change: -suspects[change])


def _failed_first(incident: Incident, calls: Calls) -> list[Change]:
    """Services of the incident that others of it ask, and that were unusual before those."""
    began_s = {
        service: min(alert.started_s for alert in incident.alerts if alert.service == service)
        for service in incident.services
    }
    return [
        Change(time_s=began_s[asked], service=asked, kind="dependency", text=f"{caller} asks it, and it failed first")
        for caller in incident.services
        for asked in incident.services
        if asked in calls.get(caller, ()) and began_s[asked] <= began_s[caller] + FIRST_S
    ]
