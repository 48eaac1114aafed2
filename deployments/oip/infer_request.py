"""What an infer request asks for, whatever its form: JSON, binary tensors or a gRPC message.

each input -> expect: name, datatype and shape as in the manifest -> add: finite -> all: none is missing
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from deployments.errors import RequestError, brief
from deployments.oip.parameters import flag, parameters_of
from deployments.oip.tensors import DTYPES, Array, check_finite
from optimization.artifact.manifest import TensorSpec


@dataclass(frozen=True, kw_only=True)
class InferRequest:
    """A request that fits the model."""

    id: str | None
    inputs: dict[str, Array]
    outputs: tuple[str, ...]
    """Names of the outputs asked for, in that order."""
    binary: frozenset[str]
    """Those of them to be answered as raw bytes."""
    classes: Mapping[str, int] = field(default_factory=dict)
    """Those of them to be answered as their so many highest classes."""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """The request's own, such as `timeout` and `priority`."""


class GivenInputs:
    """The inputs of one request, checked against `specs` as they come."""

    def __init__(self, specs: Sequence[TensorSpec]) -> None:
        self._specs = {spec.name: spec for spec in specs}
        self._sizes: dict[str, int] = {}
        """What each named dimension is in this request."""
        self._arrays: dict[str, Array] = {}

    def expect(self, name: Any, datatype: Any, shape: Any) -> tuple[TensorSpec, list[int]]:
        """What the model says of the input `name`, and its shape, before its elements are looked at.

        Raises:
            RequestError: the model has no such input, has it already, or takes another datatype or shape.
        """
        if not isinstance(name, str) or name not in self._specs:
            raise RequestError(f"input names must be {quoted(self._specs)}, got {brief(name)}")
        if name in self._arrays:
            raise RequestError(f"input {name!r} must be given once")
        spec = self._specs[name]
        if datatype != spec.datatype:
            is_known = isinstance(datatype, str) and datatype in DTYPES
            rule = f"must be {spec.datatype}" if is_known else f"must be one of {', '.join(DTYPES)}"
            raise RequestError(f"input {name!r}: datatype {rule}, got {brief(datatype)}")
        if not isinstance(shape, list) or not all(map(is_size, shape)):
            raise RequestError(f"input {name!r}: shape must be a list of sizes, got {brief(shape)}")
        if not self._fits(shape, spec):
            wanted = ", ".join(map(str, spec.shape))
            raise RequestError(
                f"input {name!r}: shape must be [{wanted}], names standing for any size > 0, got {brief(shape)}"
            )
        return spec, shape

    def add(self, name: str, array: Array) -> None:
        """Take an input that was expected.

        Raises:
            RequestError: it holds NaN or infinity.
        """
        check_finite(name, array)
        self._arrays[name] = array

    def all(self) -> dict[str, Array]:
        """Every input by name.

        Raises:
            RequestError: one is missing.
        """
        missing = self._specs.keys() - self._arrays.keys()
        if missing:
            raise RequestError(f"the model needs the inputs {quoted(self._specs)}, missing {quoted(missing)}")
        return self._arrays

    def _fits(self, shape: list[int], spec: TensorSpec) -> bool:
        if len(shape) != len(spec.shape):
            return False
        for size, wanted in zip(shape, spec.shape, strict=True):
            if isinstance(wanted, int):
                if size != wanted:
                    return False
            elif size <= 0 or self._sizes.setdefault(wanted, size) != size:
                return False
        return True


def asked_outputs(
    entries: Any, known: Sequence[str], *, all_binary: bool
) -> tuple[tuple[str, ...], frozenset[str], dict[str, int]]:
    """Names asked for, all if none are; which of them as bytes, and of which so many classes.

    Raises:
        RequestError: the model gives no such output, it is asked for twice, or not in a form that there is.
    """
    if entries is None or entries == []:
        return tuple(known), frozenset(known if all_binary else ()), {}
    if not isinstance(entries, list):
        raise RequestError(f"outputs must be a list, got {type(entries).__name__}")
    asked: list[str] = []
    binary: set[str] = set()
    classes: dict[str, int] = {}
    for entry in entries:
        name = entry.get("name") if isinstance(entry, dict) else None
        if not isinstance(name, str) or name not in known:
            raise RequestError(f"output names must be {quoted(known)}, got {brief(name)}")
        if name in asked:
            raise RequestError(f"output {name!r} must be asked for once")
        asked.append(name)
        parameters = parameters_of(entry)
        if flag(parameters, "binary_data", all_binary):
            binary.add(name)
        count = parameters.get("classification", 0)
        if not is_size(count):
            raise RequestError(f"output {name!r}: classification must be a number of classes, got {brief(count)}")
        if count:
            classes[name] = count
    return tuple(asked), frozenset(binary), classes


def is_size(value: Any) -> bool:
    """Whether it is a whole number from 0."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def quoted(names: Iterable[str]) -> str:
    """Them all, for a message."""
    return ", ".join(repr(name) for name in sorted(names))
