"""What a model is made of, for a candidate that is to be like it."""

from collections.abc import Mapping
from dataclasses import dataclass

from deployments.settings import ModelSettings


@dataclass(frozen=True, kw_only=True)
class Deployed:
    """Of one replica."""

    settings: ModelSettings
    resources: Mapping[str, float]
    """What Ray has given it, such as `CPU` and `GPU`."""
    answering: str | None
    """The version that answers requests that name none."""
