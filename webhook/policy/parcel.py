"""One policy ConfigMap: what an object holds that may be one, and the policies in it, or every mistake.

Its data keys that end in `.yaml` or `.yml` are policy files, see `document`; other keys are no policies, and ignored.
A ConfigMap is taken as a whole: one mistake in one file, or binary data, and none of it is. Objects need not come from
an API server, so no type in them is believed. The content is known by a digest of the policy files alone: what else
changes in the object changes no policy.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from webhook import settings, untrusted
from webhook.errors import quote
from webhook.policy import document, shelf
from webhook.policy.model import TrustPolicy
from webhook.policy.syntax.mistakes import Mistake, PolicyErrors

LABEL, LABEL_VALUE = "countersign.dev/policy", "true"
STATUS = "countersign.dev/status"  # the annotation in which we say what became of the ConfigMap
ENDINGS = (".yaml", ".yml")
FILES_MAX = 200  # of one ConfigMap, as of a folder
SIZE_MAX_CHARS = settings.MIB  # of its policy files: no API server stores more, but others reach our port too


@dataclass(frozen=True, slots=True)
class Parcel:
    """`version` is the object's, `content` the SHA-256 of its policy files in hex digits.

    `created` orders ConfigMaps by age, as text. `files` are the policy files by key, `ignored` the other keys, `binary`
    the keys of binary data; `status` is what the annotation says, empty without one. `fault` is why the files do not
    count, whatever they say.
    """

    name: str
    uid: str
    created: str
    version: str
    content: str
    labelled: bool
    files: Mapping[str, str]
    ignored: tuple[str, ...] = ()
    binary: tuple[str, ...] = ()
    status: str = ""
    fault: str = ""

    @property
    def origin(self) -> str:
        """How messages name it."""
        return origin(self.name)

    @property
    def revision(self) -> str:
        """By which people know this content."""
        return shown_revision(self.content)

    @property
    def size(self) -> int:
        """Of its policy files, in characters."""
        return sum(map(len, self.files.values()))


def origin(name: str) -> str:
    """How messages name the ConfigMap `name`."""
    return f"configmap/{name}"


def read(value: object) -> Parcel:
    """What the object `value` holds. Raises: MalformedError, where it is no ConfigMap at all."""
    fields = untrusted.as_object(value, "the object")
    metadata = untrusted.as_object(fields.get("metadata"), "metadata")
    labels = untrusted.as_object(metadata.get("labels") or {}, "metadata.labels")
    annotations = untrusted.as_object(metadata.get("annotations") or {}, "metadata.annotations")
    data = _members(fields, "data")
    files = {
        key: untrusted.as_string(data[key], f"data[{quote(key)}]") for key in sorted(data) if key.endswith(ENDINGS)
    }
    binary = tuple(sorted(_members(fields, "binaryData")))
    status = annotations.get(STATUS)
    return Parcel(
        name=_text(metadata, "name"),
        uid=_text(metadata, "uid"),
        created=_text(metadata, "creationTimestamp"),
        version=_text(metadata, "resourceVersion"),
        content=digest(files, binary),
        labelled=labels.get(LABEL) == LABEL_VALUE,
        files=files,
        ignored=tuple(sorted(key for key in data if not key.endswith(ENDINGS))),
        binary=binary,
        status=status if isinstance(status, str) else "",
    )


def unreadable(name: str) -> Parcel:
    """What stands for an object that is no ConfigMap."""
    return Parcel(name, "", "", "", digest({}), labelled=True, files={})


def parse(parcel: Parcel, *, now: datetime, max_bytes: int) -> tuple[TrustPolicy, ...]:
    """The policies in `parcel`, at least one, in the order of its keys; `max_bytes` bounds each file.

    Raises: PolicyErrors, with all mistakes.
    """
    if fault := parcel.fault or _excess(parcel):
        raise PolicyErrors([_mistake(parcel, fault)])
    mistakes = _check(parcel)
    policies: list[TrustPolicy] = []
    for key, text in list(parcel.files.items())[:FILES_MAX]:
        try:
            place = f"{parcel.origin}: {_shown(key)}"
            policies += document.parse(text.encode(), origin=place, now=now, max_bytes=max_bytes)
        except PolicyErrors as errors:
            mistakes += errors.mistakes
    if mistakes := [*mistakes, *shelf.second_names(policies)]:
        raise PolicyErrors(mistakes)
    return tuple(policies)


def digest(files: Mapping[str, str], binary: tuple[str, ...] = ()) -> str:
    """The SHA-256 of these policy files, in hex digits."""
    found = hashlib.sha256()
    for key, text in sorted(files.items()):
        for part in (key.encode(), text.encode()):
            found.update(b"%d:" % len(part))
            found.update(part)
    for key in binary:
        found.update(b"binary:%s" % key.encode())
    return found.hexdigest()


def shown_revision(content: str) -> str:
    """By which people know a content: 12 digits of it, as of a policy."""
    return content[:12]


def _excess(parcel: Parcel) -> str:
    if parcel.size <= SIZE_MAX_CHARS:
        return ""
    return f"at most {SIZE_MAX_CHARS} characters of policies expected, found {parcel.size}"


def _check(parcel: Parcel) -> list[Mistake]:
    mistakes = [_mistake(parcel, f"binaryData[{_shown(key)}]: policies are text: put it under data")
                for key in parcel.binary[:FILES_MAX]]  # fmt: skip
    if len(parcel.files) > FILES_MAX:
        mistakes.append(_mistake(parcel, f"at most {FILES_MAX} policy files are read, found {len(parcel.files)}"))
    if not parcel.files:
        other = f", found {_listed(parcel.ignored)}" if parcel.ignored else ""
        mistakes.append(_mistake(parcel, f"data: a key that ends in {' or '.join(ENDINGS)} expected{other}"))
    return mistakes


def _mistake(parcel: Parcel, message: str) -> Mistake:
    return Mistake(parcel.origin, 0, 0, "", message)


def _listed(keys: tuple[str, ...]) -> str:
    shown = ", ".join(map(_shown, keys[:3]))
    return f"{shown} and {len(keys) - 3} more" if keys[3:] else shown


def _shown(key: str) -> str:
    """A key as messages name it: the API server takes only what is plain."""
    return key if key.isascii() and key.isprintable() and " " not in key else quote(key, max_chars=60)


def _members(fields: Mapping[str, object], name: str) -> Mapping[str, object]:
    value = fields.get(name)
    return {} if value is None else untrusted.as_object(value, name)


def _text(metadata: Mapping[str, object], key: str) -> str:
    value = metadata.get(key)
    return "" if value is None else untrusted.as_string(value, f"metadata.{key}")
