"""All that a private Sigstore makes is accepted under its own root, by us and by sigstore-python; a certificate that
differs from a good one in one thing is not.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID
from sigstore.models import Bundle, TrustedRoot
from sigstore.verify import Verifier, policy

from tests.private_sigstore import authority
from tests.private_sigstore.asked import (
    IMAGE,
    KEYS,
    LOGGED,
    MINUTE,
    OURS,
    SLSA,
    STRAIGHT,
    STRANGER,
    Asked,
    bundle,
    judge,
    leaf,
    of_image,
    rows,
    told,
)
from tests.private_sigstore.authority import Authority, NameKind
from tests.private_sigstore.clock import Clock
from tests.private_sigstore.instance import (
    AT,
    YEAR,
    PrivateSigstore,
    key_of,
)
from tests.private_sigstore.logs import CTLog, RekorV1, RekorV2, Witness
from tests.private_sigstore.recipe import How
from webhook.demo import signing
from webhook.evidence.model import Form

# --- what is right


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("how", [How(), How(entry="intoto 0.0.2"), How(log="v2"), How(timestamp=True, promise=False)],
                         ids=["dsse", "intoto", "rekor2", "stamped"])  # fmt: skip
def test_keyless_bundles(key: str, how: How) -> None:
    with_key: How = {**how, "key": key_of(key)}
    data = bundle(IMAGE, **with_key)
    outcome = judge(Form.BUNDLE, (data, {}), STRAIGHT)
    assert told(outcome) == "verified", outcome.detail
    proof = outcome.proof
    assert proof is not None
    assert proof.claims is not None
    assert proof.claims.subjects == (("email", "dev@example.com"),)
    assert proof.at in (AT + timedelta(seconds=5), AT + timedelta(seconds=7))
    assert proof.logged


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("log", ["v1", "v2", "none"])
def test_key_bundles(key: str, log: str) -> None:
    data = OURS.key_bundle(IMAGE, key=key_of(key), log=log, timestamp=False)  # type: ignore[arg-type]
    outcome = judge(Form.BUNDLE, (data, {}), Asked(key=key_of(key), log=log != "none"))
    assert told(outcome) == "verified", outcome.detail


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("keyless", [True, False], ids=["keyless", "key"])
def test_legacy_signatures(key: str, keyless: bool) -> None:
    layer = OURS.legacy_signature(IMAGE, key=key_of(key), keyless=keyless, annotations={"env": "prod"})
    outcome = judge(Form.LEGACY, layer, STRAIGHT if keyless else Asked(key=key_of(key)))
    assert told(outcome) == "verified", outcome.detail
    assert outcome.proof is not None
    assert outcome.proof.annotations == {"env": "prod"}


@pytest.mark.parametrize("entry", ["dsse", "intoto 0.0.1", "intoto 0.0.2"])
@pytest.mark.parametrize("keyless", [True, False], ids=["keyless", "key"])
def test_legacy_attestations(entry: str, keyless: bool) -> None:
    layer = OURS.legacy_attestation(IMAGE, predicate_type=SLSA, entry=entry, keyless=keyless)  # type: ignore[arg-type]
    asked = Asked(predicates=frozenset({SLSA}), key=None if keyless else key_of("p256"))
    assert told(judge(Form.DSSE, layer, asked)) == "attested"


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (NameKind.EMAIL, "dev@example.com"),
        (NameKind.URI, "https://github.com/o/r/.github/workflows/w.yml@refs/heads/main"),
        (NameKind.USERNAME, "dev!example.com"),
        (NameKind.DNS, "build.example.com"),
    ],
)
def test_names(kind: NameKind, name: str) -> None:
    data = bundle(IMAGE, leaf=OURS.leaf(kind=kind, subject=name, extensions={"buildTrigger": "push"}))
    outcome = judge(Form.BUNDLE, (data, {}), Asked(subject=name))
    assert told(outcome) == "verified", outcome.detail
    assert outcome.proof is not None
    assert outcome.proof.claims is not None
    assert outcome.proof.claims.extensions["buildTrigger"] == "push"
    assert told(judge(Form.BUNDLE, (data, {}), Asked(subject=name[:-1]))) == "identity_mismatch"


@pytest.mark.parametrize("log", ["v1", "v2"])
def test_sigstore_python_accepts_it_too(log: str, tmp_path: Path) -> None:
    trusted = tmp_path / "trusted_root.json"
    trusted.write_bytes(OURS.trusted_root())
    wanted = policy.Identity(identity="dev@example.com", issuer="https://issuer.example.com")
    made = Bundle.from_json(bundle(IMAGE, log=log, timestamp=True))  # type: ignore[arg-type]
    kind, payload = Verifier(trusted_root=TrustedRoot.from_file(str(trusted))).verify_dsse(made, wanted)
    assert (kind, json.loads(payload)["subject"][0]["digest"]["sha256"]) == (
        "application/vnd.in-toto+json", IMAGE.removeprefix("sha256:")
    )  # fmt: skip


TIME_ROOT = authority.root("time root", AT - YEAR, AT + YEAR)
TIME_CA = TIME_ROOT.intermediate("time", AT - YEAR, AT + YEAR, usages=(ExtendedKeyUsageOID.TIME_STAMPING,))


@pytest.mark.parametrize(
    ("part", "value", "expected"),
    [
        ("rekor", RekorV1(kind="p384"), "verified"),
        ("rekor", RekorV1(kind="rsa2048"), "verified"),
        ("rekor", RekorV1(kind="ed25519"), "verified"),
        ("rekor2", RekorV2(kind="p256"), "verified"),
        ("rekor2", RekorV2(witnesses=()), "verified"),
        ("rekor2", RekorV2(witnesses=tuple(Witness(f"w{number}") for number in range(99))), "verified"),
        ("rekor2", RekorV2(witnesses=tuple(Witness(f"w{number}") for number in range(100))), "limit_exceeded"),
        ("ct_log", CTLog(kind="p384"), "verified"),
        ("authority", OURS.root, "verified"),
        ("authority", OURS.root.intermediate("RSA", AT - YEAR, AT + YEAR, kind="rsa2048"), "verified"),
        ("authority", OURS.root.intermediate("any use", AT - YEAR, AT + YEAR, usages=()), "verified"),
        ("clock", Clock(TIME_CA.timestamper("below", AT - YEAR, AT + YEAR)), "verified"),
        ("clock", Clock(TIME_ROOT.timestamper("RSA", AT - YEAR, AT + YEAR, kind="rsa2048")), "verified"),
    ],
    ids=["log-p384", "log-rsa", "log-ed25519", "tiles-p256", "no-witness", "99-witnesses", "100-witnesses", "ct-p384",
         "no-intermediate", "rsa-authority", "authority-without-usage", "clock-below-an-intermediate", "rsa-clock"],
)  # fmt: skip
def test_deployments(part: str, value: object, expected: str) -> None:
    sigstore = PrivateSigstore()
    setattr(sigstore, part, value)
    data = sigstore.keyless_bundle(IMAGE, log="v2" if part in ("rekor2", "clock") else "v1")
    assert told(judge(Form.BUNDLE, (data, {}), Asked(root=sigstore.trusted_root()))) == expected


# --- near misses: certificates


@pytest.mark.parametrize(
    ("make", "expected"),
    rows([
        ("right", leaf(), "verified"),
        ("issuer in the old extension only", leaf(issuer_v2=None), "verified"),
        ("issuer in the new extension only", leaf(issuer_v1=None), "verified"),
        ("issuers differ", leaf(issuer_v1="https://evil.example.com"), "malformed"),
        ("issuers differ, the other way", leaf(issuer_v2="https://evil.example.com"), "malformed"),
        ("no issuer", leaf(issuer_v1=None, issuer_v2=None), "identity_mismatch"),
        ("another issuer", leaf(issuer="https://issuer.example.com.evil.example"), "identity_mismatch"),
        ("another subject", leaf(subject="dev@example.com.evil.example"), "identity_mismatch"),
        ("no subject", leaf(subject=None), "identity_mismatch"),
        ("no timestamp of a log", leaf(logs=()), "untrusted_material"),
        ("timestamp of an unknown log", leaf(logs=(CTLog(),)), "untrusted_material"),
        ("timestamps of an unknown log and ours", leaf(logs=(CTLog(), OURS.ct_log)), "verified"),
        ("timestamp with extensions", leaf(sct_extensions=b"more"), "verified"),
        ("timestamp before the log's key", leaf(sct_at=AT - 2 * YEAR), "untrusted_material"),
        ("an authority", leaf(ca=True), "untrusted_material"),
        ("said to be no authority", leaf(ca=False), "verified"),
        ("signs certificates", leaf(signs_certificates=True), "untrusted_material"),
        ("signs nothing", leaf(digital_signature=False), "untrusted_material"),
        ("for servers", leaf(usages=(ExtendedKeyUsageOID.SERVER_AUTH,)), "untrusted_material"),
        ("for anything", leaf(usages=()), "untrusted_material"),
    ]),
)  # fmt: skip
def test_certificates(make: Callable[[], bytes], expected: str) -> None:
    assert told(judge(Form.BUNDLE, (make(), {}), STRAIGHT)) == expected


def issued_by(authority: Authority) -> bytes:
    return bundle(IMAGE, certificate=OURS.issue(key_of("p256"), by=authority))


def below_a_leaf() -> bytes:
    key = signing.new_key()
    return issued_by(Authority(key, OURS.issue(key), OURS.authority.chain))


def root_of(intermediate: Authority) -> bytes:
    other = copy.copy(OURS)
    other.authority = intermediate
    return other.trusted_root()


SERVERS = OURS.root.intermediate("for servers", AT - YEAR, AT + YEAR, usages=(ExtendedKeyUsageOID.SERVER_AUTH,))
EXPIRING = OURS.root.intermediate("expiring", AT - YEAR, AT + MINUTE)
LONG = OURS.leaf(lifetime=timedelta(hours=1))


def outlives_its_issuer(logged_at: datetime) -> bytes:
    certificate = OURS.issue(key_of("p256"), LONG, by=EXPIRING)
    return bundle(IMAGE, certificate=certificate, logged_at=logged_at)


@pytest.mark.parametrize(
    ("make", "asked", "expected"),
    rows([
        ("of another instance", lambda: bundle(IMAGE, certificate=STRANGER.issue(key_of("p256"))), STRAIGHT,
         "untrusted_material"),
        ("issued by a leaf", below_a_leaf, STRAIGHT, "untrusted_material"),
        ("an authority for servers", lambda: issued_by(SERVERS), Asked(root=root_of(SERVERS)),
         "untrusted_material"),
        ("issuer still valid", lambda: outlives_its_issuer(AT + MINUTE), Asked(root=root_of(EXPIRING)), "verified"),
        ("CVE-2026-24122: issuer expired", lambda: outlives_its_issuer(AT + 2 * MINUTE),
         Asked(root=root_of(EXPIRING)), "untrusted_material"),
        ("authority's window ends then", of_image, Asked(root=OURS.trusted_root(windows={"ca": (None, LOGGED)})),
         "verified"),
        ("authority's window ended", of_image,
         Asked(root=OURS.trusted_root(windows={"ca": (None, AT + timedelta(seconds=4))})), "untrusted_material"),
        ("authority's window not begun", of_image,
         Asked(root=OURS.trusted_root(windows={"ca": (AT + MINUTE, None)})), "untrusted_material"),
        ("no authority", of_image, Asked(root=OURS.trusted_root(without=["ca"])), "untrusted_material"),
        ("no log of certificates", of_image, Asked(root=OURS.trusted_root(without=["ct"])), "untrusted_material"),
        ("none asked for", of_image, Asked(root=OURS.trusted_root(without=["ct"]), sct=False), "verified"),
        ("logged before it", lambda: bundle(IMAGE, logged_at=AT - MINUTE), STRAIGHT, "time_invalid"),
        ("logged at its end", lambda: bundle(IMAGE, logged_at=AT + 10 * MINUTE), STRAIGHT, "verified"),
        ("logged after it", lambda: bundle(IMAGE, logged_at=AT + 11 * MINUTE), STRAIGHT, "time_invalid"),
        ("stamped after it, logged in time", lambda: bundle(IMAGE, timestamp=True, stamped_at=AT + 11 * MINUTE),
         STRAIGHT, "time_invalid"),
    ]),
)  # fmt: skip
def test_authorities_and_times(make: Callable[[], bytes], asked: Asked, expected: str) -> None:
    assert told(judge(Form.BUNDLE, (make(), {}), asked)) == expected
