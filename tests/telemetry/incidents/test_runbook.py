"""Whatever may alert, the runbook says what to do."""

import pytest

from telemetry.drift.service import ServiceDrift
from telemetry.drift.watch import model_watches
from telemetry.incidents.runbooks import RUNBOOK, runbook_of
from telemetry.page import files
from telemetry.slo.objective import Objective
from telemetry.slo.watch import BudgetWatch
from telemetry.watching.detection import DetectionConfig
from telemetry.watching.presence import PresenceWatch
from telemetry.watching.watches import watches

JUDGES = [
    PresenceWatch(),
    *watches("digits", DetectionConfig()),
    *model_watches(ServiceDrift()),
    BudgetWatch(Objective(name="answered", service="*", share=0.999)),
]


@pytest.mark.parametrize("signal", [judge.signal for judge in JUDGES])
def test_each_signal_has_its_place_in_the_runbook(signal):
    page, _, place = runbook_of(signal, RUNBOOK).partition("#")
    assert f"/{page}" in {route.path for route in files.routes()}
    assert f'id="{place}"' in (files._HERE / page).read_text()
