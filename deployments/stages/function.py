"""A Python function as a stage: found by its path, called with arrays by name, and held to what it says it gives."""

import asyncio
import importlib
import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import numpy as np

from deployments.batching.waiting import late
from deployments.errors import OverloadedError, SettingsError
from deployments.oip.tensors import DTYPES, Array
from deployments.oip.urgency import Urgency
from optimization.artifact.manifest import TensorSpec

Function = Callable[[Mapping[str, Array]], Any]
_USUAL = Urgency()


def function(path: str, where: str) -> Function:
    """The function at `package.module:function`.

    Raises:
        SettingsError: there is none, or its module cannot be imported; `where` names the setting.
    """
    module, _, name = path.partition(":")
    try:
        found = getattr(importlib.import_module(module), name, None)
    except Exception as error:  # whatever a module of somebody else's raises
        raise SettingsError(
            f"{where} must name a function that can be imported, got {path!r}: {type(error).__name__}: {error}"
        ) from error
    if not callable(found):
        raise SettingsError(f"{where} must name a function, and module {module!r} has no {name!r}")
    called: Function = found
    return called


def is_async(called: Function) -> bool:
    """Whether it is to be awaited."""
    return inspect.iscoroutinefunction(called)


def checked(outputs: Any, gives: tuple[TensorSpec, ...]) -> dict[str, Array]:
    """What the function gave, as it should have.

    Raises:
        TypeError, ValueError: it is something else.
    """
    if not isinstance(outputs, Mapping):
        raise TypeError(f"it must give arrays by name, got {type(outputs).__name__}")
    arrays: dict[str, Array] = {}
    for spec in gives:
        if spec.name not in outputs:
            raise ValueError(f"it must give {spec.name!r}, got {', '.join(map(str, outputs)) or 'nothing'}")
        array = np.asarray(outputs[spec.name])
        if spec.datatype == "BYTES" and array.dtype.kind in "US":
            array = array.astype(object)
        fits = len(array.shape) == len(spec.shape) and all(
            isinstance(wanted, str) or size == wanted for size, wanted in zip(array.shape, spec.shape, strict=True)
        )
        if array.dtype != DTYPES[spec.datatype] or not fits:
            raise ValueError(
                f"its output {spec.name!r} must be {spec.datatype} of {list(spec.shape)}, "
                f"got {array.dtype} of {list(array.shape)}"
            )
        arrays[spec.name] = array
    return arrays


def checking(called: Function, gives: tuple[TensorSpec, ...]) -> Callable[[Mapping[str, Array]], dict[str, Array]]:
    """The function, held to what it gives."""
    return lambda tensors: checked(called(tensors), gives)


class AwaitedFunction:
    """An `async` function, as many calls of it under way as may be; as `deployments.stages.worker.Predicts`."""

    def __init__(self, called: Callable[..., Awaitable[Any]], gives: tuple[TensorSpec, ...], *, most: int) -> None:
        self._called = called
        self._gives = gives
        self._most = most
        self._ongoing = 0

    def start(self) -> None:
        """It waits for nothing."""

    async def stop(self) -> None:
        """Nothing is held."""

    async def predict(self, tensors: Mapping[str, Array], urgency: Urgency = _USUAL) -> dict[str, Array]:
        """What it gives for these tensors.

        Raises:
            DeadlineError: the time that `urgency` gives has passed.
            OverloadedError: as many calls are under way as may.
        """
        if self._ongoing >= self._most:
            raise OverloadedError(f"{self._ongoing} calls are under way already: try again later", retry_after_s=1)
        self._ongoing += 1
        try:
            async with asyncio.timeout(urgency.timeout_s) as limit:
                return checked(await self._called(tensors), self._gives)
        except TimeoutError as error:
            if limit.expired():
                raise late(urgency.timeout_s or 0.0) from error
            raise
        finally:
            self._ongoing -= 1
