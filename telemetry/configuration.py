"""Reads collector.yaml."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from telemetry.config import CollectorConfig
from telemetry.errors import ConfigurationError
from telemetry.storage.data_folder import default_folder


def read(path: Path | None, overrides: Mapping[str, Any]) -> CollectorConfig:
    """The settings in `path` (the defaults without one), with `overrides` in place of what it says.

    Where they name no `data_dir`, it is the user's.

    Raises:
        ConfigurationError: it names the file, the setting, the rule and what was got.
    """
    given = {"data_dir": default_folder(), **(_content(path) if path else {}), **overrides}
    return parse(given, str(path or "the command line"))


def parse(settings: Mapping[str, Any], where: str) -> CollectorConfig:
    """`settings` as the collector's.

    Raises:
        ConfigurationError: it names `where`, the setting, the rule and what was got.
    """
    try:
        return CollectorConfig.model_validate(dict(settings))
    except ValidationError as error:
        problems = [
            f"{where}: {'.'.join(map(str, item['loc']))}: {item['msg']}{_got(item)}"
            for item in error.errors(include_url=False)
        ]
        raise ConfigurationError("; ".join(problems) + f" (known: {', '.join(CollectorConfig.model_fields)})") from None


def _got(item: Mapping[str, Any]) -> str:
    """What was given, unless a secret may be in it: headers, and what may hold some."""
    is_secret = "headers" in item["loc"] or isinstance(item["input"], dict | list | tuple)
    return "" if is_secret else f", got {item['input']!r}"


def _content(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text())
    except OSError as error:
        raise ConfigurationError(f"{path}: the file must be readable, got {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: the file must be YAML: {' '.join(str(error).split())}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigurationError(f"{path}: the file must be settings by name, got a {type(content).__name__}")
    return {str(name): value for name, value in content.items()}
