"""From an alert to a version that answers: one training at a time, each state on disk before it is acted on.

alert ─▶ gathering ─▶ training ─▶ checking ─▶ (awaiting_approval) ─▶ rolling_out ─▶ promoted
             └────────────┴───────────┴───────────────┴──────────────────┴───────▶ dropped
"""

import logging
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from deployments.commands.client import Client
from deployments.errors import CallError, SettingsError
from deployments.offline.model import model as published_model
from deployments.retraining import gates, gathering, recipe_process, remote, training
from deployments.retraining.answers import Answers
from deployments.retraining.journal import Journal
from deployments.retraining.recipe_process import RecipeError
from deployments.retraining.settings import RetrainingSettings
from deployments.retraining.training import Phase, Training
from optimization.artifact import store
from optimization.artifact.push import push
from optimization.artifact.store import ArtifactError

logger = logging.getLogger(__name__)

SPENT_EVERY_S = 10.0
"""Seconds of a processor from one note of what was spent to the next: so much is forgotten by a loop that is killed."""
BAD_REQUEST = 400
"""Of an order that will be refused again."""
DATA, MADE, RECIPE = "data", "artifacts", "recipe.yaml"


class Loop:
    """Takes trainings from phase to phase."""

    def __init__(
        self,
        settings: RetrainingSettings,
        journal: Journal,
        server: Client,
        telemetry: Client,
        *,
        say: Callable[[str], None],
        clock: Callable[[], float] = time.time,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        """`say` is told of each decision."""
        self._settings = settings
        self._journal = journal
        self._server = server
        self._telemetry = telemetry
        self._say = say
        self._clock = clock
        self._wait = wait
        self._is_stopping = False

    def stop(self) -> None:
        """End `run` soon; what is under way goes on in the next loop."""
        self._is_stopping = True

    def run(self, *, once: bool = False) -> Training | None:
        """Go on until `stop`, or with `once` until a training has ended, which is returned."""
        before = {each.id for each in self._journal.trainings.values() if each.has_ended}
        while not self._is_stopping:
            latest = self.step()
            if once and latest is not None and latest.has_ended and latest.id not in before:
                return latest
            self._wait(self._settings.poll_s)
        return None

    def step(self) -> Training | None:
        """Do what is to be done now; the latest training."""
        latest = self.latest()
        try:
            if latest is None or latest.has_ended:
                self._look(latest)
            else:
                self._go_on(latest)
        except CallError as error:
            if error.status == BAD_REQUEST and latest is not None and not latest.has_ended:
                self._move(latest, "dropped", f"its rollout is refused: {error}")
            else:
                logger.warning("trying again: %s", error)
        except (ArtifactError, SettingsError, RecipeError) as error:
            if latest is None or latest.has_ended:
                raise
            if not self._is_stopping:
                self._move(latest, "dropped", str(error))
        return self.latest()

    def latest(self) -> Training | None:
        """The last training, whether it has ended or not."""
        return next(reversed(self._journal.trainings.values()), None)

    def _look(self, latest: Training | None) -> None:
        """Begin a training where an alert fires that has led to none, and the last one is long enough ago."""
        settings = self._settings
        if latest is not None and self._clock() - latest.since_s < settings.rest_s:
            return
        handled = {each.alert for each in self._journal.trainings.values()}
        for alert in remote.alerts(self._telemetry, settings.model, settings.signals):
            if alert.id in handled:
                continue
            number = latest.id + 1 if latest else 1
            new = training.begun(
                number,
                settings.model,
                alert=alert.id,
                alerted_s=alert.started_s,
                at_s=self._clock(),
                why=alert.text,
            )
            self._keep(new)
            self._forget_old()
            return

    def _go_on(self, latest: Training) -> None:
        steps: dict[Phase, Callable[[Training], None]] = {
            "gathering": self._gather,
            "training": self._train,
            "checking": self._check,
            "awaiting_approval": self._await_approval,
            "rolling_out": self._roll_out,
        }
        steps[latest.phase](latest)

    def _gather(self, latest: Training) -> None:
        settings = self._settings
        samples, since_s = settings.samples / settings.model, latest.alerted_s
        is_late = self._clock() - latest.since_s > settings.gather_s
        num_rows = gathering.num_sampled(samples, since_s=since_s)
        rows = None
        if num_rows >= settings.least_rows:
            if settings.teacher is None:
                rows = gathering.gathered(samples, since_s=since_s, most=settings.most_rows, teacher=None)
            else:
                with Answers(settings.teacher, settings.artifacts) as teacher:
                    rows = gathering.gathered(samples, since_s=since_s, most=settings.most_rows, teacher=teacher)
        if rows is None or len(rows.labels) < settings.least_rows:
            if is_late:
                had = len(rows.labels) if rows else 0
                self._move(latest, "dropped", f"{had:,} labelled rows of {settings.least_rows:,} in {num_rows:,}")
            return
        data = self._folder(latest) / DATA
        shutil.rmtree(data, ignore_errors=True)
        learnt, held_out = gathering.written(rows, data, held_out=settings.held_out, seed=latest.id)
        text = f"{learnt:,} rows to learn from, {held_out:,} held out; {rows.num_feedback:,} labelled by feedback"
        self._move(latest, "training", text, baseline=rows.version)

    def _train(self, latest: Training) -> None:
        settings, folder = self._settings, self._folder(latest)
        made = folder / MADE
        known = self._known_versions(made)
        version = self._new_version(made, known)
        if version is None:
            recipe = folder / RECIPE
            num_cpus = recipe_process.prepared(settings.recipe, folder / DATA, recipe)
            before_s = noted_s = latest.cpu_s
            spending = latest

            def spent(taken_s: float) -> None:
                nonlocal noted_s, spending
                spending = spending.model_copy(update={"cpu_s": before_s + taken_s})
                if before_s + taken_s - noted_s >= SPENT_EVERY_S:
                    noted_s = before_s + taken_s
                    self._journal.keep(spending)

            try:
                recipe_process.followed(
                    recipe_process.command(recipe, artifacts=made, runs=folder / "runs", nice=settings.nice),
                    folder,
                    home=settings.recipe.parent,
                    num_cpus=num_cpus,
                    left_s=settings.cpu_hours * 3600 - before_s,
                    spent=spent,
                    is_wanted=lambda: not self._is_stopping,
                    wait=self._wait,
                )
            finally:
                self._journal.keep(spending)
            latest = spending
            version = self._new_version(made, known)
        if version is None:
            raise RecipeError(f"the recipe must publish {settings.model!r}, and published nothing of that name")
        self._move(
            latest, "checking", f"version {version} took {latest.cpu_s:,.0f} s of a processor", candidate=version
        )

    def _check(self, latest: Training) -> None:
        settings = self._settings
        assert latest.baseline is not None, "rows have a version"
        check = gates.checked(self._candidate(latest), latest.baseline, self._folder(latest) / DATA, settings)
        if not check.passed:
            self._move(latest, "dropped", check.text)
        elif settings.approval:
            self._move(latest, "awaiting_approval", check.text)
        else:
            self._move(latest, "rolling_out", check.text)

    def _await_approval(self, latest: Training) -> None:
        match self._journal.order():
            case "approve":
                self._move(latest, "rolling_out", "a person approved it")
            case "reject":
                self._move(latest, "dropped", "a person rejected it")
            case _ if self._clock() - latest.since_s > self._settings.approval_s:
                self._move(latest, "dropped", "nobody approved it")
            case _:
                return
        self._journal.forget_order()

    def _roll_out(self, latest: Training) -> None:
        settings, version = self._settings, latest.candidate
        assert version is not None, "what is rolled out was made"
        standing = remote.standing(self._server, settings.model, version)
        match standing.state:
            case "none":
                push(self._candidate(latest), settings.artifacts)
                why = f"trained again: {latest.decisions[0].text}"[:500]
                remote.begin(self._server, settings.model, version, settings.rollout, why)
            case "promoted":
                self._move(latest, "promoted", standing.text)
            case "dropped":
                self._move(latest, "dropped", standing.text)

    def _known_versions(self, made: Path) -> Path:
        """Where the recipe publishes: beside the newest version, so that its own has the next number."""
        with published_model(self._settings.model, self._settings.artifacts, None).fetched() as newest:
            home = made / self._settings.model
            home.mkdir(parents=True, exist_ok=True)
            if not store.versions(made, self._settings.model):
                (home / newest.path.name).symlink_to(newest.path)
        return made / self._settings.model

    def _new_version(self, made: Path, home: Path) -> str | None:
        own = [each for each in store.versions(made, self._settings.model) if not (home / str(each)).is_symlink()]
        return str(own[-1]) if own else None

    def _candidate(self, latest: Training) -> Path:
        return self._folder(latest) / MADE / self._settings.model / str(latest.candidate)

    def _folder(self, of: Training) -> Path:
        return self._journal.folder / str(of.id)

    def _forget_old(self) -> None:
        """Remove what older trainings left on disk, with the rows of clients in it."""
        for old in list(self._journal.trainings)[: -self._settings.keep]:
            shutil.rmtree(self._journal.folder / str(old), ignore_errors=True)

    def _move(self, latest: Training, phase: Phase, why: str, **known: str | None) -> None:
        self._keep(training.moved(latest, phase, at_s=self._clock(), why=why, **known))

    def _keep(self, new: Training) -> None:
        self._journal.keep(new)
        self._say(f"training {new.id} of {new.model}: {new.phase}: {new.text}")


def clients(settings: RetrainingSettings) -> tuple[Client, Client]:
    """The model's server and the collector's page."""
    key = os.environ.get("TRIMTAB_KEY")
    url = settings.url.rstrip("/")
    page = (settings.telemetry or f"{url}/telemetry").rstrip("/")
    return Client(url=url, key=key), Client(url=page, key=key)
