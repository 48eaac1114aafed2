"""Labels of a series, as pairs that can key a dict."""

from collections.abc import Collection, Iterable

Labels = tuple[tuple[str, str], ...]
"""In the order of their names, `__name__` among them; none is empty."""

NAME = "__name__"


def labels_of(pairs: Iterable[tuple[str, str]]) -> Labels:
    """In order; an empty value is no label, and of a name that comes twice the last one counts."""
    return tuple(sorted((name, value) for name, value in dict(pairs).items() if value))


def without(labels: Labels, names: Collection[str]) -> Labels:
    """All but those of `names`."""
    return tuple(pair for pair in labels if pair[0] not in names)


def only(labels: Labels, names: Collection[str]) -> Labels:
    """Those of `names`."""
    return tuple(pair for pair in labels if pair[0] in names)


def nameless(labels: Labels) -> Labels:
    """All but the metric's name."""
    return without(labels, (NAME,))


def shown(labels: Labels) -> str:
    """As Prometheus writes them: `{a="b", c="d"}`."""
    return "{" + ", ".join(f'{name}="{value}"' for name, value in labels) + "}"
