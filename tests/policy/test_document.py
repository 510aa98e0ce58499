from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.policy.documents import (
    KEY_A,
    KEY_C,
    KEYS,
    NOW,
    head,
    key,
    mistakes_of,
    parse,
    parse_one,
    policy,
    refused,
)
from webhook.errors import OperatorError, quote
from webhook.oci import reference
from webhook.policy.document import Mistake, PolicyErrors
from webhook.policy.model import Mode, Namespaces, OnUnavailable, Tags, TrustPolicy
from webhook.policy.syntax.mistakes import MAX_MISTAKES

DIGEST = "sha256:" + "ab" * 32
EMPTY_LIST = "an empty list says nothing: leave the field out, or name at least one"
A_NAME = "a name of at most 63 characters, a-z, 0-9 and inner - expected"
HUB = "'docker.io/*' can never match: repositories of Docker Hub have two segments, such as docker.io/library/nginx"
A_MOMENT = "a date, 2026-12-01, or a time with its zone, 2026-12-01T08:00:00Z, expected"
SAYS_NOTHING = "says nothing: trustedKeys, keyless, signerProfiles, certificates, exemptRegistries or deny expected"
PROFILE_ARN = "arn:<partition>:signer:<region>:<account>:/signing-profiles/<name>[/<version>]"
ONE_DENIED = "exactly one of digest, image, keyFingerprint, certificateFingerprint and logIndex expected"
UNCLEAR = "is read as text by some and as another value by others: put it in quotes"
EXACT = ": a glob here would let whoever may create namespaces choose what is enforced"
GHCR = "anybody may push to ghcr.io: name what is yours below it, or list it under unsafeExemptRegistries"


def exception(until: str, more: str = "") -> str:
    return f"""  exceptions:
    - digest: {DIGEST}
      namespaces: [batch]
      reason: vendor
      until: {until} #!
{more}"""


# What is refused: the text after `mode: enforce`, and path and message of each mistake. Its line carries `#!`.
REFUSED: dict[str, tuple[str, list[tuple[str, str]]]] = {
    "unknown field, misspelt": (
        KEYS + "  trustedkeys: [] #!\n",
        [("spec.trustedkeys", "unknown field; did you mean trustedKeys?")],
    ),
    "unknown field, like none": (
        KEYS + "  namespaces: {zzz: [a]} #!\n",
        [("spec.namespaces.zzz", "unknown field; known here are include, exclude")],
    ),
    "nothing in spec": ("  tags: deny\n", [("spec", SAYS_NOTHING)]),
    "exceptions from nothing": (
        exception("2026-12-01").replace(" #!", ""),
        [("spec", SAYS_NOTHING)],
    ),
    "empty trustedKeys": ("  trustedKeys: [] #!\n", [("spec.trustedKeys", EMPTY_LIST)]),
    "empty exemptRegistries": ("  exemptRegistries: [] #!\n", [("spec.exemptRegistries", EMPTY_LIST)]),
    "empty unsafeExemptRegistries": (
        "  unsafeExemptRegistries: [] #!\n",
        [("spec.unsafeExemptRegistries", EMPTY_LIST)],
    ),
    "empty include": (KEYS + "  namespaces: {include: []} #!\n", [("spec.namespaces.include", EMPTY_LIST)]),
    "empty exclude": (KEYS + "  namespaces: {exclude: []} #!\n", [("spec.namespaces.exclude", EMPTY_LIST)]),
    "empty rules": (KEYS + "  rules: [] #!\n", [("spec.rules", EMPTY_LIST)]),
    "empty images": (KEYS + "  rules:\n    - images: [] #!\n", [("spec.rules[0].images", EMPTY_LIST)]),
    "empty signers": (
        KEYS + "  rules:\n    - images: [a.io]\n      signers: [] #!\n",
        [("spec.rules[0].signers", EMPTY_LIST)],
    ),
    "empty deny": (KEYS + "  deny: [] #!\n", [("spec.deny", EMPTY_LIST)]),
    "empty exceptions": (KEYS + "  exceptions: [] #!\n", [("spec.exceptions", EMPTY_LIST)]),
    "empty enforceIn": (KEYS + "  enforceIn: [] #!\n", [
        ("spec.enforceIn", EMPTY_LIST),
        ("spec.enforceIn", "means nothing in mode enforce, which enforces everywhere: leave it out"),
    ]),
    "no value": (KEYS + "  rules: #!\n", [("spec.rules", "a value is missing; write one, or leave the field out")]),
    "null": (KEYS + "  help: null #!\n", [("spec.help", "a value is missing; write one, or leave the field out")]),
    "name with upper case": (
        "  trustedKeys:\n" + key("Release #!", KEY_A),
        [("spec.trustedKeys[0].name", f"{A_NAME}, found 'Release'")],
    ),
    "name that is a number": (
        "  trustedKeys:\n" + key("4711 #!", KEY_A),
        [("spec.trustedKeys[0].name", "a name expected, found the number 4711; put it in quotes")],
    ),
    "two signers of one name": (
        KEYS + key("release #!", KEY_C),
        [("spec.trustedKeys[2].name", "a second signer named 'release', first in line 8")],
    ),
    "one key under two names": (
        KEYS + key("other", KEY_A, after=" #!"),
        [("spec.trustedKeys[2].publicKey", "the same key as release in line 8: one key is one signer")],
    ),
    "no key": (
        "  trustedKeys:\n    - name: release #!\n",
        [(
            "spec.trustedKeys[0].publicKey",
            "required, and missing: one PEM block, -----BEGIN PUBLIC KEY-----; or kms, a key in AWS KMS; or secret",
        )],
    ),
    "not PEM": (
        "  trustedKeys:\n" + key("release", "hello\n", after=" #!"),
        [("spec.trustedKeys[0].publicKey", "a PEM block expected, -----BEGIN PUBLIC KEY-----, found none")],
    ),
    "padding of an ECDSA key": (
        "  trustedKeys:\n" + key("release", KEY_A) + "      padding: pkcs1v15 #!\n",
        [("spec.trustedKeys[0].padding", "for RSA keys only, and this is ECDSA P-256")],
    ),
    "PSS of an ECDSA key": (
        "  trustedKeys:\n" + key("release", KEY_A, after=" #!") + "      padding: pss\n",
        [("spec.trustedKeys[0].publicKey", "the option padding: pss is for RSA keys only")],
    ),
    "unknown hash": (
        "  trustedKeys:\n" + key("release", KEY_A) + "      hash: md5 #!\n",
        [("spec.trustedKeys[0].hash", "'sha256', 'sha384' or 'sha512' expected, found 'md5'")],
    ),
    "require more than there are": (
        KEYS + "  rules:\n    - images: [a.io]\n      require: 3 #!\n",
        [("spec.rules[0].require", "can never be met: 3 of 2 signers")],
    ),
    "require more than the rule names": (
        KEYS + "  rules:\n    - images: [a.io]\n      signers: [release]\n      require: 2 #!\n",
        [("spec.rules[0].require", "can never be met: 2 of 1 signers")],
    ),
    "require nothing": (
        KEYS + "  rules:\n    - images: [a.io]\n      require: 0 #!\n",
        [(
            "spec.rules[0].require",
            "require: 0 would demand nothing: leave the rule's images to exemptRegistries, or name a number from 1",
        )],
    ),
    "require a negative number": (
        KEYS + "  rules:\n    - images: [a.io]\n      require: -1 #!\n",
        [("spec.rules[0].require", "any, all, none or a number from 1 expected, found the number -1")],
    ),
    "require true": (
        KEYS + "  rules:\n    - images: [a.io]\n      require: true #!\n",
        [("spec.rules[0].require", "any, all, none or a number from 1 expected, found true")],
    ),
    "require false": (
        KEYS + "  rules:\n    - images: [a.io]\n      require: false #!\n",
        [("spec.rules[0].require", "any, all, none or a number from 1 expected, found false")],
    ),
    "unknown signer": (
        KEYS + "  rules:\n    - images: [a.io]\n      signers: [relaese] #!\n",
        [("spec.rules[0].signers[0]", "no signer is named relaese; there are pipeline, release")],
    ),
    "signer named twice": (
        KEYS + "  rules:\n    - images: [a.io]\n      signers: [release, release] #!\n",
        [("spec.rules[0].signers[1]", "release stands twice")],
    ),
    "rules without signers": (
        "  exemptRegistries: [a.io]\n  rules: #!\n    - images: [b.io]\n      signers: [release]\n",
        [("spec.rules", "rules need signers, and this policy has none")],
    ),
    "rule without images": (
        KEYS + "  rules:\n    - require: all #!\n",
        [(
            "spec.rules[0].images",
            "required, and missing: patterns of repositories; the first rule that matches decides",
        )],
    ),
    "pattern without a host": (
        KEYS + "  rules:\n    - images: [nginx] #!\n",
        [(
            "spec.rules[0].images[0]",
            "pattern 'nginx': a host expected first, found 'nginx'; for Docker Hub write `docker.io/…`",
        )],
    ),
    "pattern that can never match": (
        KEYS + "  rules:\n    - images: [docker.io/*] #!\n",
        [(
            "spec.rules[0].images[0]",
            HUB,
        )],
    ),
    "pattern too long to match": (
        KEYS + f"  rules:\n    - images: [a.io/{'a' * 252}] #!\n",
        [("spec.rules[0].images[0]", f"{quote('a.io/' + 'a' * 252, max_chars=80)} can never match")],
    ),
    "denied pattern that can never match": (
        "  deny:\n    - image: docker.io/* #!\n      reason: x\n",
        [(
            "spec.deny[0].image",
            HUB,
        )],
    ),
    "shared registry": ("  exemptRegistries: [ghcr.io] #!\n", [("spec.exemptRegistries[0]", GHCR)]),
    "shared registry by another name": (
        "  exemptRegistries: ['GHCR.IO:443'] #!\n",
        [("spec.exemptRegistries[0]", GHCR)],
    ),
    "shared registry, all of it": ("  exemptRegistries: [ghcr.io/**] #!\n", [("spec.exemptRegistries[0]", GHCR)]),
    "shared registry, anybody's": ("  exemptRegistries: [ghcr.io/*/app] #!\n", [("spec.exemptRegistries[0]", GHCR)]),
    "regional shared registry": (
        "  exemptRegistries: [europe-west4-docker.pkg.dev] #!\n",
        [("spec.exemptRegistries[0]", GHCR.replace("ghcr.io", "europe-west4-docker.pkg.dev"))],
    ),
    "exempt host with wildcard": (
        "  exemptRegistries: ['*.example.com'] #!\n",
        [("spec.exemptRegistries[0]", "one registry expected, by its name; '*.example.com' stands for several")],
    ),
    "exempt everything": (
        "  exemptRegistries: ['**'] #!\n",
        [("spec.exemptRegistries[0]", "one registry expected, by its name; '**' stands for several")],
    ),
    "unsafe, host with wildcard": (
        "  unsafeExemptRegistries: ['**'] #!\n",
        [("spec.unsafeExemptRegistries[0]", "one registry expected, by its name; '**' stands for several")],
    ),
    "tag in an exemption": (
        "  exemptRegistries: ['a.io/x:1'] #!\n",
        [("spec.exemptRegistries[0]", "pattern 'a.io/x:1': patterns have no tag and no digest")],
    ),
    "glob in exclude": (
        KEYS + "  namespaces:\n    exclude: [kube-*] #!\n",
        [("spec.namespaces.exclude[0]", "an exact name expected, found 'kube-*'" + EXACT)],
    ),
    "namespace that cannot be": (
        KEYS + "  namespaces:\n    include: [Prod] #!\n",
        [(
            "spec.namespaces.include[0]",
            "can never match: 'Prod' is no name of a namespace; a glob has * and ? beside it",
        )],
    ),
    "enforceIn of an enforcing policy": (
        KEYS + "  enforceIn: [a] #!\n",
        [("spec.enforceIn", "means nothing in mode enforce, which enforces everywhere: leave it out")],
    ),
    "allow without rules": (
        KEYS + "  onUnavailable: allow #!\n",
        [(
            "spec.onUnavailable",
            "allow is only for rules whose images name their registries literally; there are none",
        )],
    ),
    "allow, with a rule for many registries": (
        KEYS + "  onUnavailable: allow #!\n  rules:\n    - images: [a.io]\n    - images: [b.io, '*/c']\n",
        [(
            "spec.onUnavailable",
            "allow is only for rules whose images name their registries literally, not spec.rules[1]",
        )],
    ),
    "rule that allows, for many registries": (
        KEYS + "  rules:\n    - images: ['*.b.io']\n      onUnavailable: allow #!\n",
        [("spec.rules[0].onUnavailable", "allow is only for images of registries named literally")],
    ),
    "deny nothing": (
        "  deny:\n    - reason: x #!\n",
        [("spec.deny[0]", f"{ONE_DENIED}, found none")],
    ),
    "deny two": (
        f"  deny:\n    - digest: {DIGEST} #!\n      image: a.io/x\n      reason: x\n",
        [("spec.deny[0]", f"{ONE_DENIED}, found 2")],
    ),
    "deny without reason": (
        f"  deny:\n    - digest: {DIGEST} #!\n",
        [("spec.deny[0].reason", "required, and missing: said in every denial")],
    ),
    "deny a short digest": (
        "  deny:\n    - digest: sha256:00 #!\n      reason: x\n",
        [("spec.deny[0].digest", "digest: sha256 or sha512 in lower-case hex expected, found 'sha256:00'")],
    ),
    "deny by a digest that is evaded": (
        f"  deny:\n    - digest: sha512:{'ab' * 64} #!\n      reason: x\n",
        [
            (
                "spec.deny[0].digest",
                "sha256 expected, by which an image is known: the same bytes would run under that digest",
            )
        ],
    ),
    "deny an upper-case fingerprint": (
        f"  deny:\n    - keyFingerprint: {'AB' * 32} #!\n      reason: x\n",
        [(
            "spec.deny[0].keyFingerprint",
            f"the SHA-256 of a key's SPKI as 64 lower-case hex digits expected, found '{'AB' * 32}'",
        )],
    ),
    "reason of two lines": (
        f'  deny:\n    - digest: {DIGEST}\n      reason: "a\\nb" #!\n',
        [("spec.deny[0].reason", "one line of 1 to 200 printable characters expected, found 'a\\nb'")],
    ),
    "help too long": (
        KEYS + f"  help: {'x' * 201} #!\n",
        [("spec.help", f"one line of 1 to 200 printable characters expected, found {quote('x' * 201, max_chars=60)}")],
    ),
    "help that hides": (
        KEYS + '  help: "a\\u202eb" #!\n',
        [("spec.help", "one line of 1 to 200 printable characters expected, found 'a\\u202eb'")],
    ),
    "exception for too long": (
        KEYS + exception("2026-12-21T12:00:01Z"),
        [(
            "spec.exceptions[0].until",
            "at most 30 days ahead, 2026-12-21T12:00:00Z, expected, found 2026-12-21T12:00:01Z",
        )],
    ),
    "exception without a zone": (
        KEYS + exception("2026-12-01T08:00:00"),
        [(
            "spec.exceptions[0].until",
            f"{A_MOMENT}, found '2026-12-01T08:00:00'",
        )],
    ),
    "exception until a day that is none": (
        KEYS + exception("2026-02-30"),
        [(
            "spec.exceptions[0].until",
            f"{A_MOMENT}, found '2026-02-30'",
        )],
    ),
    "exception until before all time": (
        KEYS + exception("'0001-01-01T00:00:00+14:00'"),
        [(
            "spec.exceptions[0].until",
            f"{A_MOMENT}, found '0001-01-01T00:00:00+14:00'",
        )],
    ),
    "exception without namespaces": (
        KEYS + f"  exceptions:\n    - digest: {DIGEST} #!\n      until: 2026-12-01\n      reason: x\n",
        [(
            "spec.exceptions[0].namespaces",
            "required, and missing: names or globs of the namespaces where it is admitted",
        )],
    ),
    "unknown tags": (KEYS + "  tags: denied #!\n", [("spec.tags", "'allow' or 'deny' expected, found 'denied'")]),
    "tampered, another word": (
        KEYS + "  tampered: enforce #!\n",
        [("spec.tampered", "'deny' or 'warn' expected, found 'enforce'")],
    ),
    "list where a mapping is": (
        KEYS + "  namespaces: [a] #!\n",
        [("spec.namespaces", "a mapping of fields expected, found a list")],
    ),
    "mapping where a list is": (KEYS + "  rules: {a: b} #!\n", [("spec.rules", "a list expected, found a mapping")]),
    "number where text is": (
        "  trustedKeys:\n    - name: a\n      publicKey: 5 #!\n",
        [("spec.trustedKeys[0].publicKey", "text expected, found the number 5")],
    ),
    "deny an upper-case certificate": (
        f"  deny:\n    - certificateFingerprint: {'AB' * 32} #!\n      reason: x\n",
        [(
            "spec.deny[0].certificateFingerprint",
            f"the SHA-256 of a certificate's DER as 64 lower-case hex digits expected, found '{'AB' * 32}'",
        )],
    ),
    "deny an entry before the first": (
        "  deny:\n    - logIndex: -1 #!\n      reason: x\n",
        [("spec.deny[0].logIndex", "a number from 0 expected, found the number -1")],
    ),
    "deny an entry by text": (
        "  deny:\n    - logIndex: '5' #!\n      reason: x\n",
        [("spec.deny[0].logIndex", "a number from 0 expected, found '5'")],
    ),
    "deny an entry by a truth": (
        "  deny:\n    - logIndex: true #!\n      reason: x\n",
        [("spec.deny[0].logIndex", "a number from 0 expected, found true")],
    ),
    "a rule that names a signer that is wrong": (
        KEYS
        + "  signerProfiles: [{name: ci, arn: x}] #!\n  rules:\n    - images: [a.io]\n      signers: [ci, release]\n",
        [(
            "spec.signerProfiles[0].arn",
            f"an ARN expected, {PROFILE_ARN}, found 'x'",
        )],
    ),
    # YAML
    "name that stands twice": (
        KEYS + "  tags: deny\n  tags: allow #!\n",
        [("spec.tags", "stands twice: first in line 20")],
    ),
    "anchor": (
        KEYS + "  help: &x hello #!\n",
        [("spec.help", "the anchor '&x' is not taken: a policy says what it means in place")],
    ),
    "alias": (
        KEYS + "  help: *x #!\n",
        [(
            "spec.help",
            "the alias '*x' is not taken: a policy says what it means in place; a pattern must stand in quotes",
        )],
    ),
    "merge key": (
        KEYS + "  <<: {tags: deny} #!\n",
        [("spec['<<']", "a merge key is not taken: a policy says what it means in place")],
    ),
    "tag": (
        KEYS + "  help: !!binary aGVsbG8= #!\n",
        [("spec.help", "the tag 'tag:yaml.org,2002:binary' is not taken: write the plain value")],
    ),
    "custom tag": (KEYS + "  help: !env X #!\n", [("spec.help", "the tag '!env' is not taken: write the plain value")]),
    "wildcard without quotes": (
        KEYS + "  rules:\n    - images:\n        - ** #!\n",
        [("", "a pattern that starts with * must stand in quotes")],
    ),
    "tab": (KEYS + "  namespaces:\n\tinclude: [a] #!\n", [("", "a tab, where YAML takes only spaces")]),
    "name that is a number, in YAML": (
        KEYS + "  5: x #!\n",
        [("spec['5']", "a name must be plain text: put it in quotes")],
    ),
    "name that is a list, in YAML": (KEYS + "  ? [a] #!\n  : b\n", [("spec", "a name must be plain text")]),
    "no": (
        KEYS + "  namespaces:\n    include: [no] #!\n",
        [("spec.namespaces.include[0]", f"'no' {UNCLEAR}")],
    ),
    "on": (KEYS + "  tags: on #!\n", [("spec.tags", f"'on' {UNCLEAR}")]),
    "octal": (KEYS + "  help: 010 #!\n", [("spec.help", f"'010' {UNCLEAR}")]),
    "base 60": (KEYS + "  help: 1:30 #!\n", [("spec.help", f"'1:30' {UNCLEAR}")]),
    "exponent": (KEYS + "  help: 1e3 #!\n", [("spec.help", f"'1e3' {UNCLEAR}")]),
    "fraction": (KEYS + "  help: 1.5 #!\n", [("spec.help", f"'1.5' {UNCLEAR}")]),
    "not YAML": (KEYS + "  help: a: b #!\n", [("", "not YAML: mapping values are not allowed in this context")]),
    "cannot be seen": (KEYS + "  help: a\u202eb #!\n", [("", "the character U+202E cannot be seen")]),
    "ends a line for YAML 1.1 alone": (KEYS + "  help: a\u2028b #!\n", [("", "the character U+2028 cannot be seen")]),
    "NUL": (KEYS + "  help: a\0b #!\n", [("", "the character U+0000 cannot be seen")]),
    "too deep": (
        KEYS + f"  help: {'[' * 20}{']' * 20} #!\n",
        [("spec.help" + "[0]" * 14, "too much: at most 16 levels are read")],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("more", "expected"), REFUSED.values(), ids=REFUSED)
def test_mistake_is_named_with_its_path_and_line(more: str, expected: list[tuple[str, str]]) -> None:
    assert refused(more) == expected


@pytest.mark.parametrize(
    ("text", "path", "line", "message"),
    [
        pytest.param("", "", 1, "no TrustPolicy found: the file is empty", id="empty"),
        pytest.param("# nothing\n---\n---\n", "", 1, "no TrustPolicy found: the file is empty", id="only comments"),
        pytest.param("hello", "", 1, "a mapping of fields expected, found 'hello'", id="text"),
        pytest.param("- a\n", "", 1, "a mapping of fields expected, found a list", id="list"),
        pytest.param("kind: ConfigMap\n", "kind", 1, "a TrustPolicy expected, found 'ConfigMap'", id="another kind"),
        pytest.param(
            policy().replace("/v1", "/v2"),
            "apiVersion",
            1,
            "'countersign.dev/v1' expected, found 'countersign.dev/v2'",
            id="another version",
        ),
        pytest.param(
            policy().replace("  mode: enforce\n", ""),
            "spec.mode",
            5,
            "required, and missing: enforce denies; warn admits, and says what would have been denied",
            id="no mode",
        ),
        pytest.param(policy(mode="audit"), "spec.mode", 6, "'enforce' or 'warn' expected, found 'audit'", id="mode"),
        pytest.param(
            policy() + "extra: 1\n",
            "extra",
            20,
            "unknown field; known here are apiVersion, kind, metadata, spec",
            id="unknown at the top",
        ),
        pytest.param(
            policy("Pay.Team"),
            "metadata.name",
            4,
            "a name of at most 63 characters, a-z, 0-9 and inner - expected, found 'Pay.Team'",
            id="name",
        ),
        pytest.param(
            policy() + "---\n" + policy(),
            "metadata.name",
            24,
            "a second policy named 'production', first in line 4",
            id="one name, two policies",
        ),
        pytest.param(
            policy(mode="warn") + "  enforceIn: [pay-*]\n",
            "spec.enforceIn[0]",
            20,
            "an exact name expected, found 'pay-*'" + EXACT,
            id="glob in enforceIn",
        ),
    ],
)
def test_mistake_of_a_whole_document(text: str, path: str, line: int, message: str) -> None:
    (mistake,) = mistakes_of(text)
    assert (mistake.path, mistake.line, mistake.message) == (path, line, message)


@pytest.mark.parametrize(
    ("data", "line", "message"),
    [
        pytest.param(b"kind: x\n# \xff\n", 2, "not UTF-8 text: the byte 0xff", id="no text"),
        pytest.param("kind: TrustPolicy\n".encode("utf-16"), 1, "not UTF-8 text: the byte 0xff", id="UTF-16"),
        pytest.param(b"#" * (10 << 20), 1, "too large: at most 1048576 bytes are read", id="10 MiB"),
        pytest.param(b"a: b\rc: d\n", 1, "the character U+000D cannot be seen", id="old Mac lines"),
    ],
)
def test_bytes_that_are_no_text(data: bytes, line: int, message: str) -> None:
    (mistake,) = mistakes_of(data)
    assert (mistake.line, mistake.message) == (line, message)


def test_all_mistakes_of_all_documents_are_told_at_once() -> None:
    text = policy() + "  tags: maybe\n  helb: x\n---\nkind: Pod\n---\n" + policy("second") + "  deny: []\n"
    assert [(mistake.line, mistake.path) for mistake in mistakes_of(text)] == [
        (20, "spec.tags"), (21, "spec.helb"), (23, "kind"), (44, "spec.deny"),
    ]  # fmt: skip


def test_mistakes_of_one_entry_are_told_at_once() -> None:
    text = policy() + key("release", KEY_A) + "      padding: pkcs1v15\n"
    assert [mistake.path for mistake in mistakes_of(text)] == [
        "spec.trustedKeys[2].name", "spec.trustedKeys[2].publicKey", "spec.trustedKeys[2].padding",
    ]  # fmt: skip


def test_a_field_that_nobody_may_choose_is_told_along_with_what_is_wrong_in_it() -> None:
    rule = "{name: a, trustStore: acme, subjects: ['C=US, ST=WA, O=a'], override: {integrity: {a: y}}}"
    text = policy() + f"  certificates: [{rule}]\n"
    assert [mistake.path for mistake in mistakes_of(text)] == [
        "spec.certificates[0].override.integrity", "spec.certificates[0].override.integrity.a",
    ]  # fmt: skip


def test_mistakes_before_a_syntax_error_are_told() -> None:
    text = policy() + "  tags: maybe\n---\na: b: c\n"
    assert [mistake.path for mistake in mistakes_of(text)] == ["spec.tags", ""]


def test_errors_read_like_a_compiler_s() -> None:
    with pytest.raises(OperatorError) as caught:
        parse(policy() + "  tags: maybe\n")
    assert str(caught.value) == "production.yaml:20:3: spec.tags: 'allow' or 'deny' expected, found 'maybe'"


def test_smallest_policy() -> None:
    parsed = parse_one(policy() + "  exemptRegistries: [registry.k8s.io]\n")
    assert (parsed.name, parsed.mode, parsed.tags, parsed.tampered) == (
        "production", Mode.ENFORCE, Tags.ALLOW, Mode.ENFORCE,
    )  # fmt: skip
    assert [signer.name for signer in parsed.signers] == ["release", "pipeline"]
    assert parsed.exempt == (reference.parse_pattern("registry.k8s.io"),)
    assert parsed.default is not None
    assert (parsed.default.label, parsed.default.signers, parsed.default.needed) == ("signers", parsed.signers, 1)
    assert parsed.default.on_unavailable is OnUnavailable.DENY
    assert (parsed.namespaces, parsed.rules, parsed.deny, parsed.help) == (Namespaces(), (), (), "")
    assert parsed.origin == "production.yaml:1"
    assert parsed.lines["spec.exemptRegistries[0]"] == 20


def test_policy_of_only_exemptions_has_no_default() -> None:
    assert parse_one(policy(more="  exemptRegistries: [a.io]\n")).default is None


def test_every_field_is_taken() -> None:
    parsed = parse_one(
        policy(mode="warn")
        + f"""  namespaces:
    include: [prod-*, pay]
    exclude: [prod-x]
  unsafeExemptRegistries: [quay.io]
  exemptRegistries: [a.io, ghcr.io/me]
  rules:
    - images: [b.io, c.io/*/x]
      require: all
    - images: ['**']
      require: 2
      signers: [pipeline, release]
      onUnavailable: known
    - images: [d.io]
      signers: [pipeline]
  deny:
    - {{digest: {DIGEST}, reason: one}}
    - {{image: d.io/bad, reason: two}}
    - {{keyFingerprint: "sha256:{"cd" * 32}", reason: three}}
    - {{keyFingerprint: "{"ef" * 32}", reason: "vier, größer"}}
    - {{certificateFingerprint: "sha256:{"12" * 32}", reason: five}}
    - {{logIndex: 0, reason: six}}
  exceptions:
    - {{digest: {DIGEST}, namespaces: [batch-*], until: 2026-12-01, reason: vendor}}
    - {{digest: {DIGEST}, namespaces: [x], until: "2026-12-01T08:00:00+02:00", reason: vendor}}
  enforceIn: [pay]
  help: "ask #platform"
  tags: deny
  onUnavailable: deny
  tampered: warn
"""
    )
    release, pipeline = parsed.signers
    assert parsed.mode is Mode.WARN
    assert (parsed.tags, parsed.tampered, parsed.help) == (Tags.DENY, Mode.WARN, "ask #platform")
    assert parsed.namespaces == Namespaces(("prod-*", "pay"), ("prod-x",))
    assert [pattern.text for pattern in parsed.exempt] == ["a.io", "ghcr.io/me", "quay.io"]
    assert [(rule.label, rule.needed, rule.signers, rule.on_unavailable) for rule in parsed.rules] == [
        ("rules[0]", 2, (release, pipeline), OnUnavailable.DENY),
        ("rules[1]", 2, (pipeline, release), OnUnavailable.KNOWN),
        ("rules[2]", 1, (pipeline,), OnUnavailable.DENY),
    ]
    assert [str(entry.digest) for entry in parsed.deny if entry.digest] == [DIGEST]
    assert [entry.key_fingerprint for entry in parsed.deny if entry.key_fingerprint] == ["cd" * 32, "ef" * 32]
    assert [entry.reason for entry in parsed.deny] == ["one", "two", "three", "vier, größer", "five", "six"]
    assert (parsed.deny[4].certificate_fingerprint, parsed.deny[5].log_index) == ("12" * 32, 0)
    assert [entry.until for entry in parsed.exceptions] == [
        datetime(2026, 12, 1, tzinfo=UTC), datetime(2026, 12, 1, 6, tzinfo=UTC),
    ]  # fmt: skip
    assert parsed.exceptions[0].namespaces == ("batch-*",)
    assert parsed.enforce_in == ("pay",)


@pytest.mark.parametrize(
    "more",
    [
        pytest.param("  exemptRegistries: [ghcr.io/me]\n", id="path in a shared registry"),
        pytest.param("  exemptRegistries: [docker.io/library]\n", id="official images"),
        pytest.param("  unsafeExemptRegistries: [ghcr.io]\n", id="shared, said to be unsafe"),
        pytest.param("  exemptRegistries: ['a.io/*/app']\n", id="wildcard in the path"),
        pytest.param(KEYS + "  rules:\n    - images: [docker.io/*/*]\n", id="two segments of Docker Hub"),
        pytest.param(KEYS + "  rules:\n    - images: [a.io]\n      require: 2\n", id="as many as there are"),
        pytest.param(KEYS + exception("2026-12-21T12:00:00Z"), id="30 days ahead"),
        pytest.param(KEYS + exception("2020-01-01"), id="exception that is over"),
        pytest.param(KEYS + "      requireLog: false\n", id="no log"),
        pytest.param(KEYS + "  namespaces: {include: ['no']}\n", id="no, in quotes"),
        pytest.param(KEYS + "  namespaces: {include: [2026-12-01]}\n", id="a name like a date"),
        pytest.param(KEYS + "  rules: [{images: ['*/x']}]\n  onUnavailable: known\n", id="known for any registry"),
        pytest.param(
            KEYS + f"  exceptions: [{{digest: 'sha512:{'ab' * 64}', namespaces: [a], until: 2026-12-01, reason: x}}]\n",
            id="sha512",
        ),
    ],
)
def test_near_misses_are_taken(more: str) -> None:
    assert parse_one(head() + more).name == "production"


def test_allow_never_reaches_the_default() -> None:
    parsed = parse_one(policy() + "  rules: [{images: [a.io]}, {images: [b.io], onUnavailable: deny}]\n"
                       "  onUnavailable: allow\n")  # fmt: skip
    assert [rule.on_unavailable for rule in parsed.rules] == [OnUnavailable.ALLOW, OnUnavailable.DENY]
    assert parsed.default is not None
    assert parsed.default.on_unavailable is OnUnavailable.DENY


def test_known_reaches_the_default() -> None:
    parsed = parse_one(policy() + "  onUnavailable: known\n")
    assert parsed.default is not None
    assert parsed.default.on_unavailable is OnUnavailable.KNOWN


def test_empty_documents_are_skipped_and_lines_go_on() -> None:
    first, second = parse("---\n" + policy() + "---\n# nothing\n---\n" + policy("second"))
    assert [first.name, second.name] == ["production", "second"]
    assert [first.origin, second.origin] == ["production.yaml:2", "production.yaml:24"]
    assert (first.lines["spec.mode"], second.lines["spec.mode"]) == (7, 29)


def test_revision_is_of_the_content() -> None:
    plain = parse_one(policy())
    other_text = parse_one("# a comment\n" + policy().replace("kind: TrustPolicy\n", "") + "kind: TrustPolicy\n")
    other = parse_one(policy("other"))
    assert len(plain.revision) == 12
    assert plain.revision == other_text.revision
    assert plain.revision != other.revision


def test_lines_may_end_as_on_windows() -> None:
    assert parse_one("\ufeff" + policy().replace("\n", "\r\n")).name == "production"


def test_many_mistakes_are_cut() -> None:
    found = mistakes_of(head() + "".join(f"  a{number}: 1\n" for number in range(5000)))
    assert len(found) == MAX_MISTAKES + 1
    assert "more mistakes follow, which are not shown" in {mistake.message for mistake in found}


BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [{','.join([f'*{chr(97 + n)}'] * 9)}]\n" for n in range(24)
)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(BOMB, id="anchors bomb"),
        pytest.param("[" * 1_000_000, id="deep, flow"),
        pytest.param("- " * 500_000, id="deep, block"),
        pytest.param("[" + "a," * 500_000 + "]", id="wide"),
        pytest.param("".join(f"k{number}: 1\n" for number in range(80_000)), id="many fields"),
        pytest.param(head() + "".join(f"  {'trustedKey' * 3}{number}: 1\n" for number in range(25_000)), id="typos"),
        pytest.param("---\na: 1\n" * 100_000, id="many documents"),
        pytest.param(head() + "  rules:\n" + "    - {}\n" * 90_000, id="many empty rules"),
        pytest.param(head() + "  help: " + "x" * 1_000_000, id="long line"),
        pytest.param(head() + "  " + "x" * 1_000_000 + ": 1", id="long name"),
        pytest.param(head() + "  help: " + "9" * 1_000_000, id="long number"),
        pytest.param(
            head() + "  keyless:\n" + "    - {name: a, issuer: b, subjectRegex: '.{0,99}'}\n" * 19_000, id="identities"
        ),
        pytest.param(head() + "  deny: [{image: '" + "*/" * 400_000 + "', reason: x}]", id="long pattern"),
    ],
)
def test_hostile_files_cost_little(text: str) -> None:
    started = time.process_time()
    assert mistakes_of(text)
    assert time.process_time() - started < 5


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=400))
def test_any_bytes(data: bytes) -> None:
    _parse_or_refuse(data)


YAML_SCRAPS = st.sampled_from([
    "a", "- ", ": ", "\n", "  ", "[", "]", "{", "}", "&a ", "*a", "!!str ", "'", '"', "|\n", "#", "---\n", "? ", ",",
    "\t", "spec", "kind: TrustPolicy\n", "1", "true", "null", "<<", "%YAML 1.1\n", "...\n", "\\", "é", "\r", ">-\n",
    "0o7", "~",
])  # fmt: skip


@settings(max_examples=500, deadline=None)
@given(st.lists(YAML_SCRAPS, max_size=40).map("".join))
def test_any_scraps_of_yaml(text: str) -> None:
    _parse_or_refuse(text.encode())


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=20)
    | st.sampled_from(["any", "a.io/*", DIGEST, KEY_A]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
FIELDS = ["mode", "namespaces", "trustedKeys", "exemptRegistries", "unsafeExemptRegistries", "rules", "deny",
          "exceptions", "enforceIn", "help", "tags", "onUnavailable", "tampered", "keyless", "trustRoots"]  # fmt: skip
ENTRY = st.dictionaries(
    st.sampled_from(
        [
            "name",
            "publicKey",
            "images",
            "require",
            "signers",
            "digest",
            "image",
            "reason",
            "until",
            "kms",
            "issuer",
            "issuerRegex",
            "subject",
            "subjectGlob",
            "subjectRegex",
            "extensions",
            "trustRoot",
            "requireLog",
            "trustedRoot",
            "file",
            "tuf",
            "material",
            "attestations",
            "annotations",
            "maxAge",
            "logIndex",
        ]
    ),
    JSON,
    max_size=5,
)


@settings(max_examples=500, deadline=None)
@given(st.dictionaries(st.sampled_from(FIELDS), JSON | st.lists(ENTRY, max_size=3), max_size=6))
def test_any_values_in_a_spec(spec: dict[str, object]) -> None:
    whole = {"apiVersion": "countersign.dev/v1", "kind": "TrustPolicy", "metadata": {"name": "x"}, "spec": spec}
    _parse_or_refuse(json.dumps(whole).encode())


def _parse_or_refuse(data: bytes) -> None:
    parsed: tuple[TrustPolicy, ...] = ()
    mistakes: tuple[Mistake, ...] = ()
    try:
        parsed = parse(data)
    except PolicyErrors as errors:
        mistakes = errors.mistakes
    assert bool(parsed) != bool(mistakes)
    assert all(mistake.line >= 1 and mistake.message for mistake in mistakes)


def test_an_exception_is_measured_from_now() -> None:
    text = policy() + exception("2026-12-21T12:00:00Z")
    assert parse_one(text, NOW + timedelta(days=60)).exceptions
    (mistake,) = mistakes_of(text, NOW - timedelta(seconds=1))
    assert mistake.path == "spec.exceptions[0].until"
