"""The manifest as JSON: what an artifact's `manifest.json` holds."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import cast

from ferrylm.errors import ArtifactError
from ferrylm.runtime.manifest import FORMAT_NAME, FORMAT_VERSION, Manifest
from ferrylm.runtime.manifest_checks import check_manifest
from ferrylm.runtime.manifest_codec import FIX, decode, encode, refuse, show
from ferrylm.runtime.strict_json import JsonValue, dumps_canonical


def to_json(manifest: Manifest) -> dict[str, JsonValue]:
    """Turn a manifest into JSON, checked as strictly as when it is read.

    Raises ArtifactError, also if `artifact_id` is not that of the rest.
    """
    value = _encode(manifest)
    _check_id(value)
    return value


def from_json(value: JsonValue) -> Manifest:
    """Read a manifest from JSON and check all of it; `value` is not changed.

    Raises ArtifactError naming the field, what it holds and what it should hold.
    """
    if type(value) is not dict or value.get("format") != FORMAT_NAME:
        refuse("format", "another or missing", f"the text {FORMAT_NAME}")
    version = value.get("format_version")
    if type(version) is not int or version < 1:
        refuse("format_version", show(version), f"the integer {FORMAT_VERSION}")
    if version > FORMAT_VERSION:
        raise ArtifactError(
            f"manifest.json: format_version is {version}, of a newer ferrylm",
            wanted=f"format_version {FORMAT_VERSION}",
            fix="update ferrylm, or compile the model again with this version",
        )
    if version < FORMAT_VERSION:
        raise ArtifactError(
            f"manifest.json: format_version is {version}, of an older ferrylm",
            wanted=f"format_version {FORMAT_VERSION}",
            fix="compile the model again with this version",
        )
    fields = {k: item for k, item in value.items() if k not in ("format", "format_version")}
    manifest = cast(Manifest, decode(Manifest, fields, ""))
    check_manifest(manifest)
    _check_id(value)
    return manifest


def with_artifact_id(manifest: Manifest) -> Manifest:
    """Return the manifest with the `artifact_id` of its other fields; the old one is ignored."""
    return dataclasses.replace(manifest, artifact_id=_id_of(_encode(manifest)))


def _encode(manifest: Manifest) -> dict[str, JsonValue]:
    encoded = cast(dict[str, JsonValue], encode(Manifest, manifest, ""))
    check_manifest(manifest)
    return {"format": FORMAT_NAME, "format_version": FORMAT_VERSION, **encoded}


def _id_of(value: dict[str, JsonValue]) -> str:
    rest = {key: item for key, item in value.items() if key != "artifact_id"}
    try:
        return hashlib.sha256(dumps_canonical(rest)).hexdigest()
    except (TypeError, ValueError) as problem:
        raise ArtifactError(
            f"manifest.json: {problem}", wanted="values that JSON can hold", fix=FIX
        ) from None


def _check_id(value: dict[str, JsonValue]) -> None:
    found, wanted = value.get("artifact_id"), _id_of(value)
    if found != wanted:
        refuse("artifact_id", show(found), f"{wanted}, the SHA-256 of the rest")
