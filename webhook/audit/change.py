"""What became of a ConfigMap of policies, as a record: which revision is in force now, and what is wrong with it.

A record like those of reviews, for the same trail: bounded, printable, without secrets. Who changed the ConfigMap is
known to the API server alone, in whose audit log it stands.
"""

from __future__ import annotations

from datetime import datetime

from webhook.audit.record import NAME_MAX_CHARS, Record, clean
from webhook.policy.configmaps import PolicyChange

DETAIL_MAX_CHARS = 1000  # of what is wrong: some five mistakes


def compose(change: PolicyChange, *, at: datetime, namespace: str) -> Record:
    """The record of `change`, which was seen `at` that time."""
    return {
        "time": at.isoformat(timespec="milliseconds"),
        "event": "policy",
        "change": change.kind,
        "namespace": namespace,
        "configmap": clean(change.configmap, NAME_MAX_CHARS),
        "configmap_uid": clean(change.uid),
        "revision": clean(change.after),
        "previous_revision": clean(change.before),
        "detail": clean("; ".join(change.detail.splitlines()), DETAIL_MAX_CHARS),
    }
