"""Which alerts belong to one fault.

An alert belongs to an open incident of its own service, and to that of a service which its own asks and which failed
before. Between services, what began together belongs together where one asks the other, or where they have a place in
common: a host, or the ingress, through which all requests come and which mirrors every model's fault.
"""

from telemetry.incidents.calls import Calls
from telemetry.incidents.incident import Incident
from telemetry.watching.alerts import Alert

TOGETHER_S = 60.0
"""Two services' first unusual values lie at most this far apart where one fault is the cause of both; an incident's
slower signals come later, but of a service that is part of it already."""
RELAPSE_S = 120.0
"""What fires again so soon after an incident's end is the same incident."""
EDGE = "ingress"
"""The service that counts requests before they reach their model (deployments.ingress.log)."""


def belongs(alert: Alert, incident: Incident, calls: Calls) -> bool:
    """Whether `alert` is part of `incident`."""
    if incident.ended_s is not None and alert.fired_s - incident.ended_s > RELAPSE_S:
        return False
    if alert.service in incident.services:
        return True
    if incident.ended_s is not None:
        return False
    if any(each in calls.get(alert.service, ()) for each in incident.services) and alert.started_s > incident.started_s:
        return True
    if abs(alert.started_s - incident.started_s) > TOGETHER_S:
        return False
    if any(alert.service in calls.get(each, ()) for each in incident.services):
        return True
    if EDGE in (alert.service, *incident.services):
        return alert.service == EDGE or incident.services == [EDGE]
    return bool(set(alert.hosts) & {host for each in incident.alerts for host in each.hosts})
