"""What Triton's clients ask about traces and logs. Trimtab's are set where it is started, so a request changes nothing.

https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_trace.md and extension_logging.md
"""

from collections.abc import Mapping
from typing import Any

from deployments.errors import RequestError
from deployments.oip.requests import json_object


def trace_settings(trace_ratio: float) -> dict[str, Any]:
    """The sampling of spans, which go to the OTLP collector and to no file."""
    return {
        "trace_level": ["TIMESTAMPS" if trace_ratio else "OFF"],
        "trace_rate": str(round(1 / trace_ratio)) if trace_ratio else "0",
        "trace_count": "-1",
        "log_frequency": "0",
        "trace_file": "",
        "trace_mode": "opentelemetry",
    }


def log_settings() -> dict[str, Any]:
    """Ray Serve writes the logs."""
    return {
        "log_file": "",
        "log_info": False,
        "log_warning": True,
        "log_error": True,
        "log_verbose_level": 0,
        "log_format": "default",
    }


def unchanged(settings: Mapping[str, Any], body: bytes, setting: str) -> Mapping[str, Any]:
    """`settings`, where the request `body` asks for nothing else; `setting` says where they are set.

    Raises:
        RequestError: it asks for another value, or is no JSON object.
    """
    for name, value in json_object(body, or_empty=True).items():
        if name not in settings:
            raise RequestError(f"a setting must be one of {', '.join(settings)}, got {name!r}")
        same = settings[name]
        if value not in (None, same, [same]) and not (isinstance(value, str) and [value] == same):
            raise RequestError(f"{name} stays {same!r} while the server runs, got {value!r}: {setting} says it")
    return settings
