"""Parameters: the values by which clients adjust a request, an input or an output, in JSON and in protobuf."""

from collections.abc import Mapping
from typing import Any

from deployments.errors import RequestError, brief


def parameters_of(entry: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of a request, an input or an output; empty where it has none.

    Raises:
        RequestError: they are no object.
    """
    found = entry.get("parameters")
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise RequestError(f"parameters must be an object, got {type(found).__name__}")
    return found


def from_protobuf(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The values that a message's parameters were set to; one set to nothing is left out."""
    chosen = ((name, value, value.WhichOneof("parameter_choice")) for name, value in parameters.items())
    values = {name: getattr(value, choice) for name, value, choice in chosen if choice}
    return {name: value.decode("latin-1") if isinstance(value, bytes) else value for name, value in values.items()}


def flag(parameters: Mapping[str, Any], name: str, default: bool) -> bool:
    """The parameter `name`, which is true or false.

    Raises:
        RequestError: it is something else.
    """
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise RequestError(f"the parameter {name} must be true or false, got {brief(value)}")
    return value
