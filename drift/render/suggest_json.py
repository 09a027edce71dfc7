"""A suggestion as the JSON object `drift.suggest/1`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from drift.report import Entry
    from drift.suggestion import Owner, SuggestedDirectory, SuggestedFile, Suggestion

SCHEMA = "drift.suggest/1"


def render_json(suggestion: Suggestion) -> str:
    """One object, its strings ASCII: bytes that are not UTF-8 are lone surrogates."""
    return json.dumps(suggestion_object(suggestion), indent=2) + "\n"


def suggestion_object(suggestion: Suggestion) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        **_store(suggestion),
        "review": [_review(entry) for entry in suggestion.review],
        "advice": [{"path": _text(advice.path), "say": advice.say} for advice in suggestion.advice],
        **({} if suggestion.cache is None else {"cache": _store(suggestion.cache)}),
    }


def _store(suggestion: Suggestion) -> dict[str, Any]:
    return {
        "persist": _text(suggestion.persist),
        "directories": _directories(suggestion.directories),
        "files": _files(suggestion.files),
        "users": {
            user.name: {
                "directories": _directories(user.directories),
                "files": _files(user.files),
            }
            for user in suggestion.users
        },
    }


def _directories(directories: Iterable[SuggestedDirectory]) -> list[dict[str, Any]]:
    return [
        {
            "directory": _text(directory.path),
            **_owner(directory.owner),
            "service": directory.service,
            "why": directory.why,
            "files": directory.files,
            "bytes": directory.bytes,
        }
        for directory in directories
    ]


def _files(files: Iterable[SuggestedFile]) -> list[dict[str, Any]]:
    return [
        {
            "file": _text(file.path),
            "parentDirectory": _owner(file.parent),
            "method": file.method,
            "service": file.service,
            "why": file.why,
            "bytes": file.bytes,
        }
        for file in files
    ]


def _review(entry: Entry) -> dict[str, Any]:
    """As in `drift.scan/1`, with the service and the names that the ids have."""
    finding = entry.finding
    return {
        "path": _text(entry.path),
        "kind": str(entry.kind),
        "status": str(entry.status),
        "verdict": str(finding.verdict),
        "service": finding.service,
        "why": finding.why,
        "rule": finding.rule,
        "files": entry.files,
        "bytes": entry.bytes,
        "newest": entry.newest / 1e9,
        "uid": entry.uid,
        "gid": entry.gid,
        "user": finding.user,
        "group": finding.group,
        "mode": f"{entry.mode & 0o7777:04o}",
    }


def _owner(owner: Owner) -> dict[str, str]:
    return {"user": owner.user, "group": owner.group, "mode": f"{owner.mode:04o}"}


def _text(path: bytes) -> str:
    return path.decode(errors="surrogateescape")
