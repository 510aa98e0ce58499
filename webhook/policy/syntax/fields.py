"""The single values of a TrustPolicy document: text to a value that cannot be wrong, or what to say of it.

Each type here checks one scalar and gives what the model needs (a pattern, a digest, a moment), together with the JSON
schema of what an editor may check. Nothing is converted: a number is no name, and `yes` is not `true`.
Specs: RFC 1123 2.1 (names), Kubernetes, object names and ConfigMap of core/v1 (objects), RFC 3339 (moments), OCI image
1.1 (digests), in-toto attestation 1.0 (predicate types).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Literal, NoReturn

from pydantic import PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from webhook import addresses
from webhook.addresses import MAX_URL_CHARS
from webhook.errors import MalformedError, quote
from webhook.evidence.model import SIGN_PREDICATE
from webhook.oci import reference
from webhook.oci.reference import Digest, Pattern
from webhook.policy.model import PREDICATE_TYPES
from webhook.trust.notary.levels import Level
from webhook.trust.root import PLAIN_NAME

MAX_LINE_CHARS = 200
MAX_TEXT_CHARS = 1024  # of an annotation, of a predicate type
LONGEST_AGE = timedelta(days=3650)


def found(value: object) -> str:
    """A plain value as a message may name it."""
    match value:
        case bool():
            return str(value).lower()
        case int():
            return f"the number {value}"
        case str():
            return quote(value, max_chars=60)
        case list():
            return "a list"
        case dict():
            return "a mapping"
    return "nothing"


def _refuse(message: str) -> NoReturn:
    raise PydanticCustomError("said", "{message}", {"message": message})


def _text(value: object, expected: str) -> str:
    if not isinstance(value, str):
        _refuse(f"{expected} expected, found {found(value)}" + ("; put it in quotes" if isinstance(value, int) else ""))
    return value


def _name(value: object) -> str:
    text = _text(value, "a name")
    if not _NAME.fullmatch(text):
        _refuse(f"a name of at most 63 characters, a-z, 0-9 and inner - expected, found {quote(text, max_chars=80)}")
    return text


def _glob(value: object) -> str:
    text = _text(value, "the name of a namespace, or a glob")
    if not _GLOB.fullmatch(text) or ("*" not in text and len(text) > MAX_NAME_CHARS):
        _refuse(f"can never match: {quote(text, max_chars=80)} is no name of a namespace; a glob has * and ? beside it")
    return text


def _exact_namespace(value: object) -> str:
    text = _text(value, "the name of a namespace")
    if _GLOB.fullmatch(text) and not _NAME.fullmatch(text):
        _refuse(
            f"an exact name expected, found {quote(text, max_chars=80)}: a glob here would let whoever may create "
            "namespaces choose what is enforced"
        )
    return _name(text)


def _line(value: object) -> str:
    text = _text(value, "a line of text")
    if not text.strip() or len(text) > MAX_LINE_CHARS or not text.isprintable():
        _refuse(f"one line of 1 to {MAX_LINE_CHARS} printable characters expected, found {quote(text, max_chars=60)}")
    return text


def _pattern(value: object) -> Pattern:
    text = _text(value, "a registry, a repository or a pattern")
    try:
        return reference.parse_pattern(text)
    except MalformedError as error:
        _refuse(error.detail)


def _digest(value: object) -> Digest:
    text = _text(value, "a digest, sha256:<hex>,")
    try:
        return reference.parse_digest(text)
    except MalformedError as error:
        _refuse(error.detail)


def _fingerprint_of(what: str) -> Callable[[object], str]:
    def fingerprint(value: object) -> str:
        text = _text(value, f"the SHA-256 of {what}")
        match = _FINGERPRINT.fullmatch(text)
        if match is None:
            _refuse(f"the SHA-256 of {what} as 64 lower-case hex digits expected, found {quote(text, max_chars=80)}")
        return match[1]

    return fingerprint


def _plain(value: object) -> str:
    text = _text(value, "text")
    if not text:
        _refuse("text expected, found ''")
    return text


def _signed_text(value: object) -> str:
    text = _text(value, "text")
    if not text or len(text) > MAX_TEXT_CHARS or not text.isprintable():
        _refuse(f"1 to {MAX_TEXT_CHARS} printable characters expected, found {quote(text, max_chars=60)}")
    return text


def _predicate_type(value: object) -> str:
    text = _text(value, "the type of a predicate")
    uri = PREDICATE_TYPES.get(text, text)
    if not _URI.fullmatch(uri) or len(uri) > MAX_TEXT_CHARS:
        known = ", ".join(PREDICATE_TYPES)
        _refuse(f"a URI, https://slsa.dev/provenance/v1, or one of {known} expected, found {quote(text, max_chars=60)}")
    if uri == SIGN_PREDICATE:
        _refuse("that is what a signature says, not an attestation: the rule's signers demand it")
    return uri


def _duration(value: object) -> timedelta:
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    age = timedelta(**{_UNITS[match[2]]: int(match[1])}) if match else None
    if age is None or not timedelta() < age <= LONGEST_AGE:
        _refuse(f"a time such as 30m, 24h or 90d, at most {LONGEST_AGE.days}d, expected, found {found(value)}")
    return age


def _time_field(value: object) -> tuple[str, ...]:
    text = _text(value, "the path of a time, predicate.metadata.scanFinishedOn,")
    if not _TIME_FIELD.fullmatch(text):
        _refuse(
            "names below the predicate with dots between them, predicate.metadata.scanFinishedOn, expected, "
            f"found {quote(text, max_chars=60)}"
        )
    return tuple(text.split("."))


def _log_index(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        _refuse(f"a number from 0 expected, found {found(value)}")
    return value


def _file_name(value: object) -> str:
    text = _text(value, "the name of a file")
    if not PLAIN_NAME.fullmatch(text):
        _refuse(f"a plain file name, without a folder, expected, found {quote(text, max_chars=60)}")
    return text


def _object_name(value: object) -> str:
    text = _text(value, "the name of an object")
    if not _OBJECT_NAME.fullmatch(text):
        _refuse(
            "the name of an object, at most 253 characters, a-z, 0-9 and inner - and ., expected, "
            f"found {quote(text, max_chars=80)}"
        )
    return text


def _data_key(value: object) -> str:
    text = _text(value, "a key of an object's data")
    if not _DATA_KEY.fullmatch(text):
        _refuse(f"a key of an object's data, A-Z, a-z, 0-9, -, _ and ., expected, found {quote(text, max_chars=80)}")
    return text


def _mirror(value: object) -> str:
    text = _text(value, "the URL of a TUF repository")
    if addresses.url_problem(text):
        _refuse(
            "an https URL without user, query and fragment (http only for loopback) expected, "
            f"found {quote(text, max_chars=60)}"
        )
    return text


def _moment(value: object) -> datetime:
    text = _text(value, "a date, 2026-12-01, or a time, 2026-12-01T08:00:00Z,")
    try:
        if _DATE.fullmatch(text):
            return datetime.combine(date.fromisoformat(text), time(), UTC)
        if _TIME.fullmatch(text):
            return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    _refuse(f"a date, 2026-12-01, or a time with its zone, 2026-12-01T08:00:00Z, expected, found {quote(text)}")


def _require(value: object) -> str | int:
    if value == 0 and value is not False:
        _refuse("require: 0 would demand nothing: leave the rule's images to exemptRegistries, or name a number from 1")
    if value in ("any", "all", "none") or (isinstance(value, int) and not isinstance(value, bool) and value > 0):
        return value
    _refuse(f"any, all, none or a number from 1 expected, found {found(value)}")


def _level(value: object) -> str:
    if value == "skip":
        _refuse("skip would verify nothing: list what needs no signature under exemptRegistries")
    if not isinstance(value, str) or value not in _LEVELS:
        _refuse(f"strict, permissive or audit expected, found {found(value)}")
    return value


MAX_NAME_CHARS = 63
_LEVELS = tuple(level.value for level in Level if level is not Level.SKIP)
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)  # RFC 1123 2.1, as Kubernetes names namespaces
_OBJECT_NAME = re.compile(  # RFC 1123 2.1, as Kubernetes names Secrets and ConfigMaps
    r"(?=.{1,253}$)[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*", re.ASCII
)
_DATA_KEY = re.compile(r"[A-Za-z0-9._-]{1,253}", re.ASCII)  # Kubernetes, ConfigMap, data
_GLOB = re.compile(r"[a-z0-9*?]([a-z0-9*?-]{0,125}[a-z0-9*?])?", re.ASCII)
_FINGERPRINT = re.compile(r"(?:sha256:)?([0-9a-f]{64})", re.ASCII)
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[!-~]+", re.ASCII)  # RFC 3986 3.1, and no spaces
_DURATION = re.compile(r"([1-9][0-9]{0,6})([mhd])", re.ASCII)
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}
_TIME_FIELD = re.compile(r"predicate(?:\.[A-Za-z0-9_-]{1,63}){1,8}", re.ASCII)
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
_TIME = re.compile(  # RFC 3339 5.6, in upper case
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,6})?(?:Z|[+-][0-9]{2}:[0-9]{2})", re.ASCII
)


def _string(pattern: re.Pattern[str] | None = None, **more: object) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", **({"pattern": f"^{pattern.pattern}$"} if pattern else {}), **more})


Name = Annotated[str, PlainValidator(_name), _string(_NAME)]
Glob = Annotated[str, PlainValidator(_glob), _string(_GLOB)]
ExactNamespace = Annotated[str, PlainValidator(_exact_namespace), _string(_NAME)]
Line = Annotated[str, PlainValidator(_line), _string(minLength=1, maxLength=MAX_LINE_CHARS)]
ImagePattern = Annotated[Pattern, PlainValidator(_pattern), _string(minLength=1)]
ImageDigest = Annotated[
    Digest,
    PlainValidator(_digest),
    _string(re.compile(r"(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})")),
]
KeyFingerprint = Annotated[str, PlainValidator(_fingerprint_of("a key's SPKI")), _string(_FINGERPRINT)]
CertificateFingerprint = Annotated[str, PlainValidator(_fingerprint_of("a certificate's DER")), _string(_FINGERPRINT)]
LogIndex = Annotated[int, PlainValidator(_log_index), WithJsonSchema({"type": "integer", "minimum": 0})]
Text = Annotated[str, PlainValidator(_plain), _string(minLength=1)]
SignedText = Annotated[str, PlainValidator(_signed_text), _string(minLength=1, maxLength=MAX_TEXT_CHARS)]
PredicateType = Annotated[
    str, PlainValidator(_predicate_type), _string(examples=["https://slsa.dev/provenance/v1", *PREDICATE_TYPES])
]
Duration = Annotated[timedelta, PlainValidator(_duration), _string(_DURATION, examples=["30m", "24h", "90d"])]
TimeField = Annotated[tuple[str, ...], PlainValidator(_time_field), _string(_TIME_FIELD)]
FileName = Annotated[str, PlainValidator(_file_name), _string(PLAIN_NAME)]
ObjectName = Annotated[str, PlainValidator(_object_name), _string(_OBJECT_NAME)]
DataKey = Annotated[str, PlainValidator(_data_key), _string(_DATA_KEY)]
Mirror = Annotated[str, PlainValidator(_mirror), _string(minLength=1, maxLength=MAX_URL_CHARS)]
Moment = Annotated[
    datetime, PlainValidator(_moment), WithJsonSchema({"type": "string", "examples": ["2026-12-01T08:00:00Z"]})
]
Require = Annotated[
    str | int,
    PlainValidator(_require),
    WithJsonSchema({"oneOf": [{"enum": ["any", "all", "none"]}, {"type": "integer", "minimum": 1}]}),
]
LevelName = Annotated[str, PlainValidator(_level), WithJsonSchema({"enum": list(_LEVELS)})]
Unavailable = Literal["deny", "known", "allow"]
