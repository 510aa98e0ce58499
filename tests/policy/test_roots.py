"""Trust roots of a policy: parsed when it loads, or refused where they stand."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime

import pytest

from tests.policy.documents import KEY_A, KEYS, head, parse_one, refused
from tests.private_sigstore import authority, documents
from webhook import addresses
from webhook.trust import mirror, root
from webhook.trust.root import PUBLIC_GOOD, RootKind, RootSource

DOCUMENT = mirror.packaged_document().decode()
TUF_ROOT = mirror.packaged_tuf_root().decode()
MIRROR = "https://tuf.example.com/repository"
START, END = datetime(2026, 1, 1, tzinfo=UTC), datetime(2036, 1, 1, tzinfo=UTC)
CHAIN = documents.pem(authority.root("Example Root", START, END).certificate)


def roots(*entries: Mapping[str, object]) -> str:
    """The list in one line, with `#!` behind it."""
    return f"{KEYS}  trustRoots: {json.dumps([{'name': 'own', **entry} for entry in entries])} #!\n"


def one(entry: dict[str, object]) -> RootSource:
    (source,) = parse_one(head() + roots(entry)).trust_roots
    return source


def test_trusted_root_is_read_when_the_policy_loads() -> None:
    source = one({"trustedRoot": DOCUMENT})
    fingerprint = root.parse(DOCUMENT.encode()).fingerprint
    assert (source.name, source.kind, source.key) == ("own", RootKind.INLINE, f"inline sha256:{fingerprint}")
    assert source.inline is not None
    assert source.inline.certificate_authorities
    assert (source.require_log, source.require_sct, source.require_timestamp) == (True, True, False)


def test_of_a_file_only_the_name_is_known() -> None:
    source = one({"file": "own.json"})
    assert (source.kind, source.key, source.inline) == (RootKind.FILE, "file own.json", None)


def test_of_a_repository_its_address_and_where_trust_begins_are_known() -> None:
    source = one({"tuf": {"mirror": MIRROR, "root": TUF_ROOT}})
    digest = hashlib.sha256(TUF_ROOT.encode()).hexdigest()
    assert (source.kind, source.key) == (RootKind.TUF, f"tuf {MIRROR} sha256:{digest}")
    assert (source.url, source.tuf_root, source.inline) == (MIRROR, TUF_ROOT.encode(), None)


def test_material_by_hand_makes_a_root() -> None:
    source = one(
        {
            "material": {
                "certificateAuthorities": [CHAIN],
                "transparencyLogs": [{"publicKey": KEY_A, "url": "https://rekor.example.com"}],
                "ctLogs": [{"publicKey": KEY_A}],
                "timestampAuthorities": [CHAIN],
            }
        }
    )
    assert source.inline is not None
    assert source.key == f"inline sha256:{source.inline.fingerprint}"
    assert [log.url for log in source.inline.logs] == ["https://rekor.example.com"]
    assert (len(source.inline.ct_logs), len(source.inline.certificate_authorities)) == (1, 1)
    assert len(source.inline.timestamp_authorities) == 1


@pytest.mark.parametrize("flag", ["requireLog", "requireSct", "requireTimestamp"])
def test_each_flag_is_that_root_s_alone(flag: str) -> None:
    default = {"requireLog": True, "requireSct": True, "requireTimestamp": False}
    entry: dict[str, object] = {"file": "a", "requireTimestamp": flag == "requireLog" or flag == "requireTimestamp"}
    entry[flag] = not default[flag]
    changed, other = parse_one(head() + roots(entry, {"name": "other", "file": "b"})).trust_roots
    found = {"requireLog": changed.require_log, "requireSct": changed.require_sct,
             "requireTimestamp": changed.require_timestamp}  # fmt: skip
    assert found[flag] is not default[flag]
    assert (other.require_log, other.require_sct, other.require_timestamp) == (True, True, False)
    assert (PUBLIC_GOOD.require_log, PUBLIC_GOOD.require_sct, PUBLIC_GOOD.require_timestamp) == (True, True, False)


def test_a_policy_without_roots_has_none_of_its_own() -> None:
    assert parse_one(head() + KEYS).trust_roots == ()


NOT_PUBLIC = "COUNTERSIGN_TUF_HOSTS must list a host that is not public"
OWN = "spec.trustRoots[0]"
ONE_OF = "exactly one of trustedRoot, file, tuf, material, secret and configMap expected, found "
A_FILE = "a plain file name, without a folder, expected, found "
A_MIRROR = "an https URL without user, query and fragment (http only for loopback) expected, found "
NO_TIME = "without a log entry or a timestamp no time is proved: requireLog or requireTimestamp must be true"
EMPTY = "text expected, found ''"
EMPTY_LIST = "an empty list says nothing: leave the field out, or name at least one"

REFUSED: dict[str, tuple[str, list[tuple[str, str]]]] = {
    "nothing": (roots({}), [(OWN, f"{ONE_OF}none")]),
    "two": (roots({"file": "a", "trustedRoot": DOCUMENT}), [(OWN, f"{ONE_OF}trustedRoot and file")]),
    "a name twice": (
        roots({"file": "a"}, {"file": "b"}),
        [("spec.trustRoots[1].name", "a second trust root named 'own', first in line 20")],
    ),
    "the reserved name": (
        roots({"name": "public-good", "file": "a"}),
        [(f"{OWN}.name", "public-good is the public instance of Sigstore: choose another name")],
    ),
    "no list": (f"{KEYS}  trustRoots: [] #!\n", [("spec.trustRoots", EMPTY_LIST)]),
    "too many": (
        roots(*({"name": f"r{n}", "file": "a"} for n in range(17))),
        [("spec.trustRoots", "at most 16 expected, found 17")],
    ),
    "unknown field": (
        roots({"file": "a", "requireSCT": False}),
        [(f"{OWN}.requireSCT", "unknown field; did you mean requireSct?")],
    ),
    "flag by a word": (
        roots({"file": "a", "requireSct": "no"}),
        [(f"{OWN}.requireSct", "true or false expected, found 'no'")],
    ),
    "no time": (roots({"file": "a", "requireLog": False}), [(f"{OWN}.requireLog", NO_TIME)]),
    "empty document": (roots({"trustedRoot": ""}), [(f"{OWN}.trustedRoot", EMPTY)]),
    "another document": (
        roots({"trustedRoot": "{}"}),
        [(
            f"{OWN}.trustedRoot",
            "mediaType: application/vnd.dev.sigstore.trustedroot+json;version=0.1 expected",
        )],
    ),
    "file in a folder": (roots({"file": "a/b.json"}), [(f"{OWN}.file", f"{A_FILE}'a/b.json'")]),
    "file in the folder above": (roots({"file": ".."}), [(f"{OWN}.file", f"{A_FILE}'..'")]),
    "hidden file": (roots({"file": ".x"}), [(f"{OWN}.file", f"{A_FILE}'.x'")]),
    "repository without its root": (
        roots({"tuf": {"mirror": MIRROR}}),
        [(f"{OWN}.tuf.root", "required, and missing: its root.json, with which trust in it begins")],
    ),
    "repository without an address": (
        roots({"tuf": {"root": TUF_ROOT}}),
        [(f"{OWN}.tuf.mirror", f"required, and missing: the https URL of the repository; {NOT_PUBLIC}")],
    ),
    "root.json that is none": (
        roots({"tuf": {"mirror": MIRROR, "root": '{"signed": {"_type": "targets"}}'}}),
        [(f"{OWN}.tuf.root", "root.signed._type: root expected, the first role of a TUF repository")],
    ),
    "chain that is none": (
        roots({"material": {"certificateAuthorities": ["x"]}}),
        [(f"{OWN}.material", "certificate authority 1: certificates in PEM expected")],
    ),
    "no chains": (
        roots({"material": {"certificateAuthorities": []}}),
        [(f"{OWN}.material.certificateAuthorities", EMPTY_LIST)],
    ),
    "log without a key": (
        roots({"material": {"ctLogs": [{"url": "https://ct.example.com"}]}}),
        [(
            f"{OWN}.material.ctLogs[0].publicKey",
            "required, and missing: one PEM block, -----BEGIN PUBLIC KEY-----",
        )],
    ),
    "empty material": (
        roots({"material": {}}),
        [(f"{OWN}.material", "chains or keys expected, found none")],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("more", "expected"), REFUSED.values(), ids=REFUSED)
def test_mistake_is_named_with_its_path_and_line(more: str, expected: list[tuple[str, str]]) -> None:
    assert refused(more) == expected


@pytest.mark.parametrize(
    "url",
    ["http://tuf.example.com", "https://", "tuf.example.com", "https://user@tuf.example.com", "https://a.b/?x",
     "https://a.b/#x", "file:///etc/passwd", "https://a b.c", "https://a.b:x", "http://10.0.0.1/", "https://ä.example"],
)  # fmt: skip
def test_a_mirror_is_an_https_url(url: str) -> None:
    assert refused(roots({"tuf": {"mirror": url, "root": TUF_ROOT}})) == [(f"{OWN}.tuf.mirror", f"{A_MIRROR}{url!a}")]
    assert addresses.url_problem(url)


@pytest.mark.parametrize("url", [MIRROR, "https://tuf.example.com:8443", "http://127.0.0.1:8080/x", "http://localhost"])
def test_a_mirror_that_is_taken(url: str) -> None:
    assert one({"tuf": {"mirror": url, "root": TUF_ROOT}}).url == url
    assert addresses.url_problem(url) == ""
