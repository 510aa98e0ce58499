"""What a record tells people in the cluster: Events, on the object at which they look.

A notice is made of a record and becomes an object of `events.k8s.io/v1` that no API server refuses: names, lengths and
letters are held here, whatever the record says. It is about an object in the namespace of the request, which no object
can contradict: an owner is named by whoever wrote the pod, and so believed only as far as that namespace. Who is told
how often is `backlog`'s.

spec: Kubernetes events.k8s.io/v1, Event, and the API server's strict validation of it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from webhook.audit.denial import IMAGES_MAX, records_in, refuses
from webhook.audit.record import Record
from webhook.policy.message import DOCUMENTATION

CONTROLLER = "countersign.dev/webhook"
TELLING = ("pods", "workloads")  # entries of which reviews are told; the others are told to who asked, and logged
NOTE_MAX_BYTES = 1024
NAME_MAX_CHARS = 253  # RFC 1123, subdomain
INSTANCE_MAX_CHARS = 128
POLICIES_MAX = 3
PLACE_MAX_CHARS = 120

DENIED, ERROR, WARNED = "ImageVerificationFailed", "ImageVerificationError", "ImageVerificationWarning"
EXCEPTION_ENDS = "PolicyExceptionEnds"
# By what became of the review, then of the image; one that is not listed is told with the others of its pod, or not.
_REASONS: Mapping[str, Mapping[str, str]] = {
    "deny": {"denied": DENIED, "error": ERROR},
    "error": {"denied": DENIED, "error": ERROR},
    "warn": {"warned": WARNED, "denied": WARNED, "error": WARNED},
}
_OF_REVIEWS = {"deny": DENIED, "error": ERROR, "warn": WARNED}  # where no image was looked at
_VERBS = {DENIED: "was denied", ERROR: "could not be examined, and was denied", WARNED: "was admitted with a warning"}
# By what became of a policy's ConfigMap: type, reason
_CHANGES: Mapping[str, tuple[str, str]] = {
    "loaded": ("Normal", "PolicyLoaded"),
    "invalid": ("Warning", "PolicyInvalid"),
    "removed": ("Normal", "PolicyRemoved"),
    "repaired": ("Normal", "PolicyRepaired"),
}

_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_KIND = re.compile(r"[A-Za-z][A-Za-z0-9]{0,62}")
_API_VERSION = re.compile(r"([a-z0-9][-a-z0-9.]{0,252}/)?[a-z][a-z0-9]{0,62}")
_UID = re.compile(r"[0-9A-Za-z-]{1,63}")


@dataclass(frozen=True, slots=True)
class Notice:
    """`regarding` and `related` are references to objects. `about` is equal for all notices about one object in its
    namespace, `key` for what is the same told again."""

    key: str
    about: str
    at: datetime
    type: str
    reason: str
    action: str
    regarding: Mapping[str, str]
    related: Mapping[str, str] | None
    note: str

    @property
    def namespace(self) -> str:
        """That of the object."""
        return self.regarding["namespace"]


def notices(record: Record) -> Iterator[Notice]:
    """What people should see of `record`: nothing of a dry run, of what was admitted, or of what names no object."""
    match record.get("event"):
        case "review":
            yield from _of_review(record)
        case "policy":
            yield from _of_change(record)
        case "exception":
            yield from _of_exception(record)


def event(notice: Notice, *, namespace: str, name: str, instance: str, count: int, last: datetime) -> Record:
    """The object that tells `notice` in `namespace`, and that it was so `count` times until `last`."""
    body: dict[str, object] = {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"namespace": namespace, "name": name},
        "eventTime": _micro_time(notice.at),
        "reportingController": CONTROLLER,
        "reportingInstance": instance[:INSTANCE_MAX_CHARS],
        "action": notice.action,
        "reason": notice.reason,
        "type": notice.type,
        "note": notice.note,
        "regarding": notice.regarding,
    }
    if notice.related is not None:
        body["related"] = notice.related
    return {**body, **series(count, last)}


def series(count: int, last: datetime) -> Record:
    """What an Event says of its repetitions: nothing, where there are none."""
    return {"series": {"count": count, "lastObservedTime": _micro_time(last)}} if count > 1 else {}


def name_of(notice: Notice, stamp: int) -> str:
    """A name for its Event; `stamp` is in nanoseconds, and no other Event's about this object."""
    ending = f".{stamp:x}"
    return notice.regarding["name"][: NAME_MAX_CHARS - len(ending)].rstrip("-.") + ending


def _of_review(record: Record) -> Iterator[Notice]:
    word = str(record.get("decision"))
    regarding, related = _objects(record)
    if word not in _REASONS or record.get("dry_run") or record.get("webhook") not in TELLING or regarding is None:
        return
    told = [image for image in records_in(record.get("images")) if image.get("result") in _REASONS[word]]
    for image in told[:IMAGES_MAX] or [{}]:  # the review itself, where no image was looked at
        reason = _REASONS[word].get(str(image.get("result")), _OF_REVIEWS[word])
        policies = [policy for policy in records_in(image.get("policies")) if _speaks(policy, reason)]
        code = str(image.get("code") or record.get("code") or "")
        what = str(image.get("digest") or image.get("reference") or "")
        yield _notice(
            ("Warning", reason, "VerifyImages"),
            regarding,
            related,
            record,
            _why(record, image, reason, code, policies),
            *sorted(str(policy.get("policy")) for policy in policies),
            what,
            code,
        )


def _speaks(policy: Record, reason: str) -> bool:
    return refuses(policy) or (reason == WARNED and policy.get("result") in ("denied", "error", "warned"))


def _why(record: Record, image: Record, reason: str, code: str, policies: list[Record]) -> str:
    """A sentence for a stranger: which image, what became of it, which policies say so, why, and where to read on."""
    what = f"image {image['reference']}" if image.get("reference") else f"{record.get('kind')} {record.get('name')}"
    digest = image.get("digest")
    if digest and str(digest) not in what:
        what = f"{what} ({digest})"
    paths = image.get("paths")
    place = f" of {str(paths[0])[:PLACE_MAX_CHARS]}" if isinstance(paths, list) and paths else ""
    told = [_wish(policy) for policy in policies[:POLICIES_MAX]]
    if len(policies) > POLICIES_MAX:
        told.append(f"{len(policies) - POLICIES_MAX} more policies")
    by = f" by {', '.join(told)}" if told else ""
    detail = str(image.get("detail") or record.get("detail") or "")
    told_why = ": ".join(part for part in (code, detail) if part)
    link = f"; see {DOCUMENTATION}#{code}" if code else ""
    sentence = f"{what}{place} {_VERBS[reason]}{by}: {told_why}"
    return _cut(sentence, NOTE_MAX_BYTES - len(link)) + link


def _wish(policy: Record) -> str:
    wants = f", which wants {policy['wants']}" if policy.get("wants") else ""
    return f'policy "{policy.get("policy")}" (revision {policy.get("revision")}){wants}'


def _of_change(record: Record) -> Iterator[Notice]:
    """That of a change to a ConfigMap of policies."""
    change = str(record.get("change"))
    regarding = _config_map(record)
    if change not in _CHANGES or regarding is None:
        return
    kind, reason = _CHANGES[change]
    revision, before = str(record.get("revision") or ""), str(record.get("previous_revision") or "")
    detail = record.get("detail")
    instead = f" in the place of {before}" if before else ""
    stays = f"revision {before} stays in force" if before else "nothing is in force in its place"
    notes = {
        "loaded": f"revision {revision} of this ConfigMap is in force{instead} ({detail})",
        "invalid": f"revision {revision} of this ConfigMap cannot be used, and {stays}: {detail}",
        "removed": f"revision {before} of this ConfigMap is no longer in force",
        "repaired": f"this ConfigMap can be used again: revision {revision} is in force ({detail})",
    }
    note = _cut(notes[change], NOTE_MAX_BYTES)
    yield _notice((kind, reason, "LoadPolicies"), regarding, None, record, note, revision, before, note)


def _of_exception(record: Record) -> Iterator[Notice]:
    regarding = _config_map(record)
    if regarding is None:
        return
    note = (
        f'policy "{record.get("policy")}" (revision {record.get("revision")}): {record.get("label")} for'
        f" {record.get('digest')} ends at {record.get('until')}, and the image is judged like any other from then on:"
        f" {record.get('detail')}"
    )
    told = ("Warning", EXCEPTION_ENDS, "LoadPolicies")
    yield _notice(told, regarding, None, record, _cut(note, NOTE_MAX_BYTES), note)


def _notice(
    told: tuple[str, str, str],
    regarding: Mapping[str, str],
    related: Mapping[str, str] | None,
    record: Record,
    note: str,
    *same: str,
) -> Notice:
    kind, reason, action = told
    # What was never stored has another uid each time it is tried
    is_new = record.get("operation") == "CREATE" and related is None
    identity = regarding["name"] if is_new else regarding.get("uid", regarding["name"])
    about = "/".join((regarding["namespace"], regarding["kind"], identity))
    key = hashlib.sha256("\n".join((about, reason, *same)).encode(errors="replace")).hexdigest()
    at = datetime.fromisoformat(str(record.get("time")))
    return Notice(key, about, at, kind, reason, action, regarding, related, note)


def _objects(record: Record) -> tuple[Mapping[str, str] | None, Mapping[str, str] | None]:
    """At which object people look for what became of a request, and which other was meant."""
    asked = _reference(record, record.get("api_version"), record.get("object_uid"), namespace=record.get("namespace"))
    owner = record.get("owner")
    # A pod that is there already is looked at itself; one that was to be made was its owner's wish.
    if record.get("operation") != "CREATE" or record.get("resource") != "pods" or not isinstance(owner, dict):
        return asked, None
    found = _reference(owner, owner.get("api_version"), owner.get("uid"), namespace=record.get("namespace"))
    return (found, asked) if found is not None else (asked, None)


def _config_map(record: Record) -> Mapping[str, str] | None:
    named = {"kind": "ConfigMap", "name": record.get("configmap")}
    return _reference(named, "v1", record.get("configmap_uid"), namespace=record.get("namespace"))


def _reference(named: Record, api_version: object, uid: object, *, namespace: object) -> Mapping[str, str] | None:
    """An ObjectReference in `namespace`, or `None` where no such object can exist."""
    kind, name = str(named.get("kind")), str(named.get("name"))
    # A trailing hyphen is that of a `generateName`, where no name was made yet
    if not (_NAMESPACE.fullmatch(str(namespace)) and _KIND.fullmatch(kind) and len(name) <= NAME_MAX_CHARS):
        return None
    if not _SUBDOMAIN.fullmatch(name.rstrip("-.")):
        return None
    reference = {"kind": kind, "namespace": str(namespace), "name": name}
    if isinstance(api_version, str) and _API_VERSION.fullmatch(api_version):
        reference["apiVersion"] = api_version
    if isinstance(uid, str) and _UID.fullmatch(uid):
        reference["uid"] = uid
    return reference


def _micro_time(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _cut(text: str, max_bytes: int) -> str:
    """`text` in one printable line, at most `max_bytes` of UTF-8, cut between two characters."""
    line = "".join(one if one.isprintable() else "?" for one in " ".join(text.split()))
    data = line.encode(errors="replace")
    return line if len(data) <= max_bytes else f"{data[: max_bytes - 3].decode(errors='ignore')}…"
