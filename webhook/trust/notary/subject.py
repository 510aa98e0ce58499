"""`x509.subject` rules: a distinguished name that the subject of a signing certificate must contain.

A rule is read strictly: what can never match, or could be read in two ways, is refused. A subject that cannot be told
without doubt matches no rule. Values are compared exactly, case and white space included.

spec: Notary Project, trust store and trust policy specification, trusted identities; RFC 4514.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations

from cryptography import x509
from cryptography.x509.oid import NameOID

from webhook.errors import Code, MalformedError, RejectedError, quote
from webhook.trust.certificates import UNREADABLE

MAX_CHARS = 1024  # subjects have 50 to 200

_TYPES: Mapping[x509.ObjectIdentifier, str] = {
    NameOID.COUNTRY_NAME: "C",
    NameOID.STATE_OR_PROVINCE_NAME: "ST",
    NameOID.LOCALITY_NAME: "L",
    NameOID.ORGANIZATION_NAME: "O",
    NameOID.ORGANIZATIONAL_UNIT_NAME: "OU",
    NameOID.COMMON_NAME: "CN",
    NameOID.STREET_ADDRESS: "STREET",
    NameOID.SERIAL_NUMBER: "SERIALNUMBER",
    NameOID.POSTAL_CODE: "POSTALCODE",
}
_KNOWN = ", ".join(_TYPES.values())
_REQUIRED = ("C", "ST", "O")
_ALIASES = {"S": "ST"}


@dataclass(frozen=True, slots=True)
class Subject:
    """`pairs` are attribute types and values, as `("C", "US")`, in the order in which they were written."""

    pairs: tuple[tuple[str, str], ...]

    def matches(self, subject: Subject) -> bool:
        """Whether all that this rule names stands in `subject`, of a certificate or of another rule."""
        return set(self.pairs) <= set(subject.pairs)

    def __str__(self) -> str:
        return ", ".join(f"{kind}={_SPECIAL.sub(_escaped, value)}" for kind, value in self.pairs)


def parse(text: str) -> Subject:
    """The rule that `text` is: RFC 4514, one attribute to an RDN, separated by `,` or `;`, with C, ST and O among them.

    Raises: MalformedError: `malformed`, `limit_exceeded`.
    """
    if len(text) > MAX_CHARS:
        raise MalformedError(Code.LIMIT_EXCEEDED, f"{len(text)} characters, at most {MAX_CHARS} are read")
    pairs: dict[str, str] = {}
    position, more = 0, True
    while more:
        found = _ATTRIBUTE.match(text, position)
        if found is None:
            raise _malformed(
                f"TYPE=value expected, found {quote(text[position:], max_chars=60)}{_hint(text[position:])}"
            )
        kind, value = _ALIASES.get(found["type"], found["type"]), _unescape(found["value"])
        if kind not in _TYPES.values():
            raise _malformed(f"{quote(kind, max_chars=40)} is no attribute type that is looked at; known are {_KNOWN}")
        if kind in pairs:
            raise _malformed(f"{kind} stands twice")
        pairs[kind] = value
        position, more = found.end(), bool(found["end"])
    if missing := [kind for kind in _REQUIRED if kind not in pairs]:
        raise _malformed(f"C, ST and O are required, and missing is {', '.join(missing)}")
    return Subject(tuple(pairs.items()))


def overlap(subjects: Sequence[Subject]) -> tuple[Subject, Subject] | None:
    """Two rules of which the first matches whatever the second does, so that one of them says nothing."""
    return next(((one, other) for one, other in permutations(subjects, 2) if one.matches(other)), None)


def of_certificate(certificate: x509.Certificate) -> Subject:
    """The subject of `certificate`, which is plain enough to be held against rules.

    Raises: RejectedError, `identity_mismatch`.
    """
    try:
        rdns = certificate.subject.rdns
    except UNREADABLE as error:
        raise _mismatch(f"cannot be read: {type(error).__name__}") from error
    pairs: dict[str, str] = {}
    for rdn in rdns:
        attribute, *others = rdn
        kind, value = _TYPES.get(attribute.oid), attribute.value
        if others:
            raise _mismatch("has an RDN of several attributes")
        if kind is None or not isinstance(value, str):
            raise _mismatch(f"has an attribute that is not looked at, {attribute.oid.dotted_string}")
        if kind in pairs:
            raise _mismatch(f"names {kind} twice")
        pairs[kind] = value
    if not all(pairs.get(kind) for kind in _REQUIRED):
        raise _mismatch("lacks C, ST or O")
    return Subject(tuple(pairs.items()))


# RFC 4514 3, of a value: pairs behind backslashes, and all that needs none; blanks around it are not its own. An
# unescaped # at its beginning would make it hexadecimal BER, which is not taken.
_CHARACTER = r'(?:\\[ "#+,;<=>\\]|\\[0-9A-Fa-f]{2}|[^\\"+,;<>\x00])'
_ATTRIBUTE = re.compile(
    rf" *(?P<type>[A-Za-z0-9.-]+) *= *+(?!#)(?P<value>{_CHARACTER}+?) *(?:(?P<end>[,;])|\Z)", re.DOTALL
)
_SPECIAL = re.compile(r'["+,;<>\\=#\x00]|\A | \Z')


def _hint(rest: str) -> str:
    before = re.split(r"(?<!\\)[,;]", rest, maxsplit=1)[0]
    if re.search(r"(?<!\\)\+", before):
        return "; several attributes in one RDN are not supported, and a + in a value is written \\+"
    if re.search(r"= *#", before):
        return "; hexadecimal values are not supported, and a # that begins a value is written \\#"
    return '; in values " + , ; < > and \\ are written with a backslash before them'


def _unescape(text: str) -> str:
    try:
        return re.sub(rb"\\([0-9A-Fa-f]{2}|.)", _unescaped, text.encode()).decode()
    except UnicodeError:
        raise _malformed(f"a value is not UTF-8: {quote(text, max_chars=60)}") from None


def _unescaped(pair: re.Match[bytes]) -> bytes:
    return bytes.fromhex(pair[1].decode()) if len(pair[1]) == 2 else pair[1]


def _escaped(special: re.Match[str]) -> str:
    return "\\00" if special[0] == "\0" else f"\\{special[0]}"


def _malformed(problem: str) -> MalformedError:
    return MalformedError(Code.MALFORMED, problem)


def _mismatch(problem: str) -> RejectedError:
    return RejectedError(Code.IDENTITY_MISMATCH, f"the certificate's subject {problem}: no rule matches it")
