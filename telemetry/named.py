"""Settings that are told apart by their names."""

from typing import Protocol, TypeVar


class Named(Protocol):
    """What has a name."""

    @property
    def name(self) -> str:
        """What logs and the page call it."""
        ...


N = TypeVar("N", bound=Named)


def each_name_once(settings: list[N]) -> list[N]:
    """`settings`, for pydantic to check.

    Raises:
        ValueError: two have one name.
    """
    names = [each.name for each in settings]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"each must have a name of its own, got {', '.join(twice)} more than once")
    return settings
