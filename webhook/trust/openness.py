"""What a pattern for issuers or subjects leaves open to whoever may choose a host, an account or a name.

A pattern matches the whole text, so anchors add nothing: it is anchored *in effect* when what decides who signed is
written out in it. That is, of an issuer: the last two labels of its host, and its end; of a subject that is a URL: the
last two labels of its host and the first segment of its path, which names the owner; of one that is an e-mail address:
the last two labels behind the `@`; of any other: something. Written out is what a text cannot vary: two characters in
a row, each of which can be one of three or more, are free, and a lone unescaped `.` is not. Every question is asked of
all texts that a pattern matches, by running its automaton against that of the texts which must not be among them.

spec: CVE-2026-22772, CVE-2025-29778; fulcio, OID information.
"""

from __future__ import annotations

import re

from webhook.trust.automaton import (
    EVERY,
    Automaton,
    Characters,
    Choice,
    Node,
    Repeat,
    Sequence,
    bits,
    build,
    characters,
)

FREE = 3  # as many characters to choose from, twice in a row, are a name of somebody's choice; `[Gg][Ii]` is none
ANYTHING = 80  # of the 95 that are printable: `.`, `[^/]`, `\S`; not `\w`


def issuer_problem(automaton: Automaton) -> str:
    """Why a pattern says too little about an issuer, or nothing."""
    if _meet(automaton, _ALL):
        return "matches everything"
    if automaton.empty:
        return "matches the empty text"
    if _meet(automaton, _ISSUER_HOST):
        return "leaves the host open: write out its last two labels, as in https://[a-z0-9-]+\\.example\\.com"
    if _meet(automaton, _ISSUER_END):
        return "leaves the end open: write out how the issuer ends"
    return ""


def subject_problem(automaton: Automaton) -> str:
    """Why a pattern says too little about a subject, or nothing."""
    if _meet(automaton, _ALL):
        return "matches everything"
    if automaton.empty:
        return "matches the empty text"
    if _meet(automaton, _SUBJECT_ALL):
        return "matches every subject that is a plain name: write out what tells yours from others"
    if _meet(automaton, _SUBJECT_HOST):
        return "leaves the beginning open: write out the host of a URL, and for e-mail [^@/]+@example\\.com"
    if _meet(automaton, _SUBJECT_DOMAIN):
        return "leaves the domain of an e-mail address open: write out its last two labels"
    if _meet(automaton, _SUBJECT_OWNER):
        return "leaves the owner open: write out the first segment of the path, up to the slash behind it"
    return ""


def is_any_tenant(automaton: Automaton) -> bool:
    """Whether the path of an issuer has a part that can be anything of its kind: a tenant, a cluster."""
    return _meet(automaton, _ISSUER_PATH)


def is_any_repository(automaton: Automaton) -> bool:
    """Whether the second segment of a URL's path, which names the repository, is not written out."""
    return _meet(automaton, _SUBJECT_REPOSITORY)


def is_no_address(automaton: Automaton) -> bool:
    """Whether it matches neither a URL nor an e-mail address, which is what certificates name: a part of one, say."""
    return not _meet(automaton, _ADDRESS)


def has_loose_dot(pattern: str) -> bool:
    """Whether in the host that `pattern` writes out an unescaped dot stands for any character."""
    plain = _SINGLE.sub(lambda one: one[1] or "x", pattern)
    return any(_LOOSE_DOT.search(host[1]) is not None for host in _HOST_TEXT.finditer(plain))


_SINGLE = re.compile(r"\[(?:\\.|[^\]\\])*\]|\\([/:@])|\\.")  # classes and escapes: one character each
_HOST_TEXT = re.compile(r"(?://|@)([^/@]*)")
_LOOSE_DOT = re.compile(r"\.(?![*+{])")


def _meet(pattern: Automaton, question: Automaton) -> bool:
    """Whether some text is matched by both."""
    reading = [pattern.reading(one.mask) for one in question.reads]
    reached = [0] * len(question.reads)
    fresh = dict.fromkeys(bits(question.first), 0)
    for place in fresh:
        if pattern.choices(pattern.first) >= question.reads[place].choices:
            fresh[place] = pattern.first & reading[place]
    while fresh:
        place, positions = fresh.popitem()
        positions &= ~reached[place]
        reached[place] |= positions
        if not positions:
            continue
        for following in bits(question.follow[place]):
            then = _step(pattern, positions, question.reads[following].choices) & reading[following]
            if then & ~reached[following]:
                fresh[following] = fresh.get(following, 0) | then
    ends = any(reached[place] & pattern.last for place in bits(question.last))
    return ends or (pattern.empty and question.empty)


def _step(pattern: Automaton, positions: int, choices: int) -> int:
    """Where `pattern` may go on from `positions`, from those alone that leave so many choices."""
    then = 0
    for position in bits(positions):
        following = pattern.follow[position]
        if not choices or pattern.choices(following) >= choices:
            then |= following
    return then


def _text(text: str) -> Node:
    return Sequence(tuple(Characters(characters(one)) for one in text))


def _maybe(*nodes: Node) -> Node:
    return Choice((Sequence(nodes), Sequence()))


def _some(mask: int) -> Node:
    return Repeat(Characters(mask), 1, None)


def _any(mask: int) -> Node:
    return Repeat(Characters(mask), 0, None)


def _question(*nodes: Node) -> Automaton:
    return build(Sequence(nodes))


_LABEL = characters("a-z", "A-Z", "0-9", "-", "_")
_SEGMENT = EVERY & ~characters("/")
_NAME = EVERY & ~characters("/", "@", ":")
_SCHEME: Node = Sequence((_some(characters("a-z", "A-Z", "0-9", "+", "-", ".")), _text("://")))
_FREE_LABEL: Node = Sequence((_any(_LABEL), Characters(_LABEL, FREE), Characters(_LABEL, FREE), _any(_LABEL)))
_FREE_SEGMENT: Node = Sequence((_any(_SEGMENT), Characters(_SEGMENT, FREE), Characters(_SEGMENT, FREE), _any(EVERY)))

# A host in which one of the last two labels is free. Text before an `@` is no part of the name that is dialled.
_FREE_HOST: Node = Sequence(
    (
        _maybe(_any(_SEGMENT), Characters(characters(".", "@"))),
        _FREE_LABEL,
        _maybe(_text("."), _some(_LABEL)),
    )
)
_FREE_AUTHORITY: Node = Sequence(
    (_FREE_HOST, _maybe(_text(":"), _any(characters("0-9"))), _maybe(_text("/"), _any(EVERY)))
)
_HOST_AND_SLASH: Node = Sequence((_SCHEME, _some(_SEGMENT), _text("/")))

_ALL = _question(Characters(EVERY, ANYTHING), Characters(EVERY, ANYTHING), Repeat(Characters(EVERY, ANYTHING), 0, None))
_ISSUER_HOST = _question(_maybe(_SCHEME), _FREE_AUTHORITY)
_ISSUER_END = _question(_any(EVERY), Characters(EVERY, ANYTHING), Characters(EVERY, ANYTHING))
_ISSUER_PATH = _question(_HOST_AND_SLASH, _any(EVERY), Characters(EVERY, FREE), Characters(EVERY, FREE), _any(EVERY))
_SUBJECT_ALL = _question(Characters(_NAME, FREE), Characters(_NAME, FREE), Repeat(Characters(_NAME, FREE), 0, None))
_SUBJECT_HOST = _question(_SCHEME, _FREE_AUTHORITY)
_SUBJECT_DOMAIN = _question(_some(_NAME), _text("@"), _FREE_HOST)
_SUBJECT_OWNER = _question(_HOST_AND_SLASH, _FREE_SEGMENT)
_ADDRESS = _question(_any(EVERY), Choice((_text("://"), _text("@"))), _any(EVERY))
_SUBJECT_REPOSITORY = _question(_HOST_AND_SLASH, _some(_SEGMENT), _text("/"), _FREE_SEGMENT)
