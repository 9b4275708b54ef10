"""Ways to change one field of the sample manifest."""

from __future__ import annotations

from typing import Any

from artifact_samples import sample_json, with_right_id

Path = tuple[str | int, ...]
REMOVE = object()


def changed(path: Path, new: object) -> dict[str, Any]:
    """Change one field of the sample and give it an id that fits, so that only the rule refuses."""
    value = sample_json()
    holder: Any = value
    for key in path[:-1]:
        holder = holder[key]
    if new is REMOVE:
        del holder[path[-1]]
    else:
        holder[path[-1]] = new
    return value if path == ("artifact_id",) else with_right_id(value)


def every_path(value: Any, path: Path = ()) -> list[Path]:
    """List the paths of all values, the top one aside."""
    items: list[tuple[str | int, Any]] = []
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list):
        items = list(enumerate(value))
    paths: list[Path] = []
    for key, inner in items:
        paths += [(*path, key), *every_path(inner, (*path, key))]
    return paths
