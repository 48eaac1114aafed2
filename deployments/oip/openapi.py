"""The OpenAPI document of the REST calls, `openapi.yaml` beside this file."""

from functools import cache
from pathlib import Path
from typing import Any

import yaml


@cache
def openapi_document() -> dict[str, Any]:
    """The document, as JSON has it."""
    document: dict[str, Any] = yaml.safe_load(Path(__file__).with_name("openapi.yaml").read_text())
    return document
