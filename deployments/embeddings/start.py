"""Starts a table without an application in front of it, for those who train it: `python -m deployments table FILE`."""

import asyncio
import logging
from contextlib import suppress
from pathlib import Path
from typing import Any

import ray
import yaml
from ray.exceptions import RayActorError

from deployments.embeddings.calls import NAMESPACE
from deployments.embeddings.initial import check
from deployments.embeddings.keeper_actor import RayKeeper, keeper_name
from deployments.embeddings.settings import EmbeddingSettings
from deployments.embeddings.view import ShardGoneError
from deployments.errors import InputError, UnavailableError
from deployments.settings import parse

POLL_S = 0.1
WHOLE_S = 600.0


def read(file: Path) -> EmbeddingSettings:
    """The settings in a YAML file.

    Raises:
        InputError: it cannot be read.
        SettingsError: a setting breaks its rule.
    """
    try:
        raw = yaml.safe_load(file.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise InputError(f"{file} must be a YAML file with the settings of a table: {error}") from error
    if not isinstance(raw, dict):
        raise InputError(f"{file} must hold the settings of a table, got {type(raw).__name__}")
    return parse(EmbeddingSettings, raw, str(file))


def start(settings: EmbeddingSettings, *, anew: bool) -> dict[str, Any]:
    """Start the table on the cluster that runs and wait until each row has all its copies; how it is then.

    One that is held already goes on, or is ended first where it is to begin `anew`, from its last snapshot.

    Raises:
        UnavailableError: there is no cluster, or the table cannot be loaded.
        SettingsError: the table cannot begin as it should, or one of another shape is held.
    """
    check(settings.initial, settings.shape())
    try:
        ray.init(address="auto", log_to_driver=False, logging_level=logging.ERROR)
    except ConnectionError as error:
        raise UnavailableError("a Ray cluster must run, or RAY_ADDRESS name one: try ray start --head") from error
    try:
        if anew:
            _end(settings.table)
        return asyncio.run(_whole(settings))
    finally:
        ray.shutdown()


def _end(table: str) -> None:
    with suppress(ValueError, RayActorError):  # there is none, and that it has ended
        ray.get(ray.get_actor(keeper_name(table), NAMESPACE).end.remote())


async def _whole(settings: EmbeddingSettings) -> dict[str, Any]:
    keeper, health = RayKeeper(settings), {"whole": False, "problem": "its keeper does not answer"}
    try:
        async with asyncio.timeout(WHOLE_S):
            while not health["whole"]:
                with suppress(ShardGoneError):  # it is being started, or was ended a moment ago
                    await keeper.renew_once()
                    health = await keeper.health()
                await asyncio.sleep(POLL_S)
    except TimeoutError as error:
        raise UnavailableError(
            f"table {settings.table!r} must be loaded within {WHOLE_S:.0f} s, got: {health['problem']}"
        ) from error
    return health
