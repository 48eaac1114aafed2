"""What the controller of rollouts and the replicas tell each other, in the key-value store that all of them share.

controller ─▶ rollout, split, pin ─▶ replicas
replicas   ─▶ evidence            ─▶ controller
"""

import json
import time
from collections.abc import Mapping
from typing import Protocol

from deployments.errors import UnavailableError
from deployments.replicas.agreement import Store, order_key
from deployments.rollout.counting import ArmName
from deployments.rollout.evidence import Window, windows_json, windows_of
from deployments.rollout.split import Split
from deployments.rollout.state import Rollout

CONTROLLER_S = 120.0
"""Longest that a replica waits for the controller to say which version it may answer by."""

_PREFIX = "trimtab:rollout"
_READY = f"{_PREFIX}-controller"


class NewStore(Store, Protocol):
    """A store that tells who was first."""

    def put_new(self, key: str, value: bytes) -> bool:
        """Write it unless there is one; whether it was written."""


class Shared:
    """Calls may block for a moment."""

    def __init__(self, store: NewStore) -> None:
        self._store = store

    def rollouts(self) -> list[Rollout]:
        """The last one of each model."""
        return [Rollout.model_validate_json(each) for each in self._store.below(f"{_PREFIX}-state:").values()]

    def keep(self, rollout: Rollout) -> None:
        """Tell of a rollout, in place of the model's last one."""
        self._store.put(f"{_PREFIX}-state:{rollout.model}", rollout.model_dump_json().encode())

    def split(self, model: str) -> Split | None:
        """How the requests for a model are shared, if they are."""
        kept = self._store.get(f"{_PREFIX}-split:{model}")
        return Split.model_validate_json(kept) if kept else None

    def share(self, model: str, split: Split | None) -> None:
        """Let the replicas of a model share its requests so; with none, they answer all themselves."""
        key = f"{_PREFIX}-split:{model}"
        if split is None:
            self._store.delete(key)
        else:
            self._store.put(key, split.model_dump_json().encode())

    def tell(self, rollout: str, arm: ArmName, process: str, windows: tuple[Window, ...]) -> None:
        """What a replica has seen lately."""
        self._store.put(f"{_evidence(rollout)}{arm}:{process}", windows_json(windows))

    def evidence(self, rollout: str) -> Mapping[str, tuple[Window, ...]]:
        """What each process has seen lately, by arm and name; what is cut short is left out."""
        found: dict[str, tuple[Window, ...]] = {}
        for key, value in self._store.below(_evidence(rollout)).items():
            try:
                found[key.removeprefix(_evidence(rollout))] = windows_of(value)
            except ValueError:
                continue  # its process counts as one that has not told
        return found

    def forget_evidence(self, rollout: str) -> None:
        """Let go of what was seen."""
        for key in self._store.below(_evidence(rollout)):
            self._store.delete(key)

    def pins(self) -> Mapping[str, str]:
        """The version that each model whose versions are rolled out answers by."""
        prefix = f"{_PREFIX}-pin:"
        return {key.removeprefix(prefix): value.decode() for key, value in self._store.below(prefix).items()}

    def pin(self, model: str, version: str) -> None:
        """Let a model answer by that version whatever is published."""
        self._store.put(pin_key(model), version.encode())

    def pin_first(self, model: str, version: str) -> None:
        """The same where the model has no pin yet; its replicas hold that version, unless they were ordered another."""
        self._store.put_new(pin_key(model), version.encode())
        pinned = self._store.get(pin_key(model)) or version.encode()
        self._store.put_new(order_key(model), json.dumps([pinned.decode()]).encode())

    def is_ready(self) -> bool:
        """Whether a controller has told what it knew from before."""
        return self._store.get(_READY) is not None

    def ready(self) -> None:
        """Say so."""
        self._store.put(_READY, b"1")


def pin_key(model: str) -> str:
    """Where the version is kept that a model was rolled out to."""
    return f"{_PREFIX}-pin:{model}"


def _evidence(rollout: str) -> str:
    return f"{_PREFIX}-evidence:{rollout}:"


def wait_for_controller(shared: Shared, model: str) -> None:
    """Return once a controller has told which versions were rolled out before.

    Raises:
        UnavailableError: none did; without it, a version that was never rolled out might answer.
    """
    ends_s = time.monotonic() + CONTROLLER_S
    while not shared.is_ready():
        if time.monotonic() >= ends_s:
            raise UnavailableError(
                f"model {model!r} has rollout in its args, which the application `server` sees to: "
                f"within {CONTROLLER_S:g} s there must be one"
            )
        time.sleep(0.2)
