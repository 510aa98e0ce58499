"""Certificates of Sigstore authorities: what is read, what is believed and when, whom they name; and near misses."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import given
from hypothesis import strategies as st

from tests.private_sigstore import authority
from tests.private_sigstore.authority import FULCIO, USERNAME, Authority, NameKind, utf8
from tests.private_sigstore.instance import AT, YEAR, LeafChanges, PrivateSigstore, key_of
from webhook.cosign import bundle, certificate
from webhook.cosign.certificate import Leaf
from webhook.errors import CountersignError
from webhook.trust import root
from webhook.trust.identity import EXTENSIONS
from webhook.trust.root import TrustRoot

VECTORS = Path(__file__).parent.parent / "vectors" / "sigstore"
SECOND, MINUTE, LIFETIME = timedelta(seconds=1), timedelta(minutes=1), timedelta(minutes=10)

SIGSTORE = PrivateSigstore()
STRANGER = PrivateSigstore()
ROOT = root.parse(SIGSTORE.trusted_root())
KEY = key_of("p256")
LEAF_CERTIFICATE = SIGSTORE.issue(KEY)
DER = LEAF_CERTIFICATE.public_bytes(Encoding.DER)


def told(
    leaf: x509.Certificate, trusted: TrustRoot = ROOT, *, at: Sequence[datetime] = (AT,), require_sct: bool = True
) -> str:
    try:
        parsed = certificate.parse(leaf.public_bytes(Encoding.DER))
        certificate.verify(parsed, trusted, at, require_sct=require_sct)
    except CountersignError as error:
        return error.code.value
    return "verified"


def trusted(sigstore: PrivateSigstore, **windows: tuple[datetime | None, datetime | None]) -> TrustRoot:
    return root.parse(sigstore.trusted_root(windows=windows))


# --- real ones


def cases() -> list[Mapping[str, str]]:
    listed = json.loads((VECTORS / "index.json").read_bytes())["cases"]
    return [
        {"id": case["id"], "expect": case["expect"], **case["files"]}
        for case in listed
        if case["kind"] == "bundle" and "identity" in case["policy"] and "+" not in case["id"]
    ]


UNTRUSTED = {"conformance/invalid-ct-key_fail", "conformance/bundle-from-wrong-instance_fail"}


@pytest.mark.parametrize(
    "case",
    [case for case in cases() if case["expect"] == "pass" or case["id"] in UNTRUSTED],
    ids=lambda case: case["id"],
)
def test_real_certificates(case: Mapping[str, str]) -> None:
    leaf = bundle.parse((VECTORS / case["bundle"]).read_bytes()).leaf
    assert leaf is not None
    known = root.parse((VECTORS / case["trusted_root"]).read_bytes())
    at = leaf.certificate.not_valid_before_utc

    expected = "untrusted_material" if case["id"] in UNTRUSTED else "verified"
    assert told(leaf.certificate, known, at=[at, at + LIFETIME]) == expected
    assert told(leaf.certificate, known, at=[at - SECOND]) == "time_invalid"
    assert told(leaf.certificate, known, at=[at, leaf.certificate.not_valid_after_utc + SECOND]) == "time_invalid"


def test_whom_a_real_certificate_names() -> None:
    leaf = bundle.parse((VECTORS / "bundles/cosign3-sign-keyless.sigstore.json").read_bytes()).leaf
    assert leaf is not None

    claims = certificate.claims_of(leaf)

    workflow = "https://github.com/kubewarden/kubewarden-controller/.github/workflows/release.yml@refs/tags/v1.34.0"
    assert claims.issuer == "https://token.actions.githubusercontent.com"
    assert claims.subjects == (("uri", workflow),)
    assert claims.extensions["sourceRepositoryURI"] == "https://github.com/kubewarden/kubewarden-controller"
    assert claims.extensions["githubWorkflowRef"] == "refs/tags/v1.34.0"  # without DER inside
    assert set(claims.extensions) == set(EXTENSIONS) - {"deploymentEnvironment", "tokenSubject"}


def test_a_real_certificate_of_a_user_name() -> None:
    leaf = bundle.parse((VECTORS / "bundles/othername-san.sigstore.json").read_bytes()).leaf
    assert leaf is not None

    assert [kind for kind, _ in certificate.claims_of(leaf).subjects] == ["username"]


# --- parsing


def test_what_is_read() -> None:
    leaf = certificate.parse(DER)

    assert leaf.der == DER
    assert leaf.fingerprint == LEAF_CERTIFICATE.fingerprint(hashes.SHA256()).hex()
    assert leaf.key.algorithm == "ECDSA P-256"


def code_of(der: bytes) -> str:
    try:
        certificate.parse(der)
    except CountersignError as error:
        return error.code.value
    return "read"


def crafted(
    *extensions: x509.ExtensionType,
    key: ec.EllipticCurvePrivateKey | dsa.DSAPrivateKey | rsa.RSAPrivateKey | None = None,
) -> bytes:
    """A certificate that certifies itself, with these extensions and no others."""
    private = key or ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "crafted")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(7)
        .not_valid_before(AT)
        .not_valid_after(AT + LIFETIME)
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(private, hashes.SHA256()).public_bytes(Encoding.DER)


def twice(arc: str) -> bytes:
    """A certificate in which an extension stands twice: what no builder makes, a changed number does."""
    first, second = (x509.UnrecognizedExtension(x509.ObjectIdentifier(f"{FULCIO}.{one}"), b"x") for one in (1, 2))
    number = bytes.fromhex("2b0601040183bf3001")
    return crafted(first, second).replace(number + b"\x02", number + bytes([int(arc)]))


@pytest.mark.parametrize(
    ("der", "expected"),
    [
        (DER, "read"),
        (crafted(), "read"),
        (twice("2"), "read"),
        (twice("1"), "malformed"),
        (b"", "malformed"),
        (DER + b"\x00", "malformed"),
        (DER[:-1], "malformed"),
        (DER * 2, "malformed"),
        (LEAF_CERTIFICATE.public_bytes(Encoding.PEM), "malformed"),
        (b"\x30\x83\x00" + DER[2:], "malformed"),
        (b"\x30\x80" + DER[4:] + b"\x00\x00", "malformed"),
        (bytes(certificate.MAX_CERTIFICATE_BYTES), "malformed"),
        (bytes(certificate.MAX_CERTIFICATE_BYTES + 1), "limit_exceeded"),
        (crafted(x509.SubjectAlternativeName([x509.OtherName(USERNAME, b"\x05\x00")])), "read"),
        (crafted(x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.17"), b"\x30\x03\xa3\x01\x00")), "malformed"),
        (crafted(x509.UnrecognizedExtension(authority.SCTS, b"\x04\x02\x00\x01")), "malformed"),
        (crafted(x509.UnrecognizedExtension(authority.SCTS, b"")), "malformed"),
        (crafted(key=ec.generate_private_key(ec.SECP256K1())), "unsupported"),
        (crafted(key=ec.generate_private_key(ec.SECP224R1())), "unsupported"),
        (crafted(key=dsa.generate_private_key(2048)), "unsupported"),
        (crafted(key=rsa.generate_private_key(65537, 1024)), "unsupported"),
        (crafted(key=rsa.generate_private_key(3, 2048)), "unsupported"),
    ],
    ids=["as issued", "no extensions", "two extensions", "one extension twice", "empty", "a byte behind",
         "cut short", "two", "PEM", "BER, a long length", "BER, no length", "zeros", "too long", "an odd OtherName",
         "an x400Address", "a cut list of timestamps", "an empty list of timestamps", "secp256k1", "P-224", "DSA",
         "RSA 1024", "RSA with exponent 3"],
)  # fmt: skip
def test_certificates_are_read_strictly(der: bytes, expected: str) -> None:
    assert code_of(der) == expected


# --- times


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        ([AT], "verified"),
        ([AT + LIFETIME], "verified"),
        ([AT, AT + MINUTE, AT + LIFETIME], "verified"),
        ([AT - SECOND], "time_invalid"),
        ([AT + LIFETIME + SECOND], "time_invalid"),
        ([AT + MINUTE, AT + YEAR], "time_invalid"),
        ([AT - YEAR, AT + MINUTE], "time_invalid"),
        ([], "time_invalid"),
    ],
    ids=["begins", "ends", "three times", "before", "after", "inside and after", "before and inside", "none"],
)
def test_the_certificate_was_valid_at_every_time(at: list[datetime], expected: str) -> None:
    assert told(LEAF_CERTIFICATE, at=at) == expected


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (None, None, "verified"),
        (AT, AT + MINUTE, "verified"),
        (AT + SECOND, None, "untrusted_material"),
        (None, AT + MINUTE - SECOND, "untrusted_material"),
    ],
    ids=["always", "just then", "begins later", "ended before"],
)
def test_the_window_of_the_authority(start: datetime | None, end: datetime | None, expected: str) -> None:
    assert told(LEAF_CERTIFICATE, trusted(SIGSTORE, ca=(start, end)), at=[AT, AT + MINUTE]) == expected


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (AT, AT + MINUTE, "verified"),
        (AT - YEAR, AT + MINUTE - SECOND, "untrusted_material"),
        (AT + SECOND, AT + YEAR, "untrusted_material"),
    ],
    ids=["just then", "ended before", "begins later"],
)
@pytest.mark.parametrize("order", [1, -1], ids=["in order", "latest first"])
def test_every_issuer_was_valid_at_every_time(start: datetime, end: datetime, order: int, expected: str) -> None:
    """CVE-2026-24122: an intermediate, or a root, that had expired when it signed."""
    at = [AT, AT + MINUTE][::order]
    intermediate = PrivateSigstore(intermediate=(start, end))
    assert told(intermediate.issue(KEY), trusted(intermediate), at=at) == expected

    above = PrivateSigstore()
    above.root = authority.root("short root", start, end)
    above.authority = above.root.intermediate("long intermediate", AT - YEAR, AT + YEAR)
    assert told(above.issue(KEY), trusted(above), at=at) == expected


def test_a_fraction_of_a_second_is_time_too() -> None:
    assert told(LEAF_CERTIFICATE, at=[AT + LIFETIME + timedelta(microseconds=1)]) == "time_invalid"
    short = PrivateSigstore(intermediate=(AT - YEAR, AT + MINUTE))
    assert told(short.issue(KEY), trusted(short), at=[AT + MINUTE]) == "verified"
    late = [AT + MINUTE + timedelta(microseconds=1)]
    assert told(short.issue(KEY), trusted(short), at=late) == "untrusted_material"


def test_an_authority_that_was_renewed_between_two_times() -> None:
    """The same chain stands in the root twice, each with its own window."""
    first, second = trusted(SIGSTORE, ca=(None, AT)), trusted(SIGSTORE, ca=(AT + SECOND, None))
    both = replace(ROOT, certificate_authorities=first.certificate_authorities + second.certificate_authorities)

    assert told(LEAF_CERTIFICATE, both, at=[AT, AT + SECOND]) == "verified"
    assert told(LEAF_CERTIFICATE, both, at=[AT + SECOND, AT]) == "verified"
    assert told(LEAF_CERTIFICATE, first, at=[AT, AT + SECOND]) == "untrusted_material"
    assert told(LEAF_CERTIFICATE, second, at=[AT, AT + SECOND]) == "untrusted_material"
    between = [AT, AT + timedelta(milliseconds=500)]
    assert told(LEAF_CERTIFICATE, both, at=between) == "untrusted_material"


# --- the path


def test_one_of_several_authorities_will_do() -> None:
    strange, own = trusted(STRANGER).certificate_authorities, ROOT.certificate_authorities

    assert told(LEAF_CERTIFICATE, replace(ROOT, certificate_authorities=strange + own)) == "verified"
    assert told(LEAF_CERTIFICATE, replace(ROOT, certificate_authorities=strange)) == "untrusted_material"
    assert told(LEAF_CERTIFICATE, replace(ROOT, certificate_authorities=())) == "untrusted_material"


def test_another_instance_with_the_same_names() -> None:
    """Such as the staging one. It would have the timestamp of its log, too."""
    assert STRANGER.authority.certificate.subject == SIGSTORE.authority.certificate.subject
    assert told(STRANGER.issue(KEY)) == "untrusted_material"
    assert told(STRANGER.issue(KEY, SIGSTORE.leaf())) == "untrusted_material"


def test_an_authority_that_is_its_root_alone() -> None:
    sigstore = PrivateSigstore()
    sigstore.authority = sigstore.root

    assert told(sigstore.issue(KEY), trusted(sigstore)) == "verified"
    assert told(STRANGER.issue(KEY), trusted(sigstore)) == "untrusted_material"


def test_a_path_of_two_intermediates() -> None:
    sigstore = PrivateSigstore()
    top = sigstore.root.intermediate("top", AT - YEAR, AT + YEAR)
    sigstore.authority = top.intermediate("below", AT - YEAR, AT + YEAR)
    # as `top` is made, it may have no authority below it: RFC 5280 4.2.1.9, pathLenConstraint
    assert told(sigstore.issue(KEY), trusted(sigstore)) == "untrusted_material"


def test_an_intermediate_that_the_root_does_not_list() -> None:
    rogue = SIGSTORE.root.intermediate("unlisted", AT - YEAR, AT + YEAR)

    assert told(SIGSTORE.issue(KEY, by=rogue)) == "untrusted_material"


def test_a_certificate_that_certifies_itself() -> None:
    names = x509.SubjectAlternativeName([x509.RFC822Name("dev@example.com")])
    usage = LEAF_CERTIFICATE.extensions.get_extension_for_class(x509.KeyUsage).value
    usages = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING])
    alone = x509.load_der_x509_certificate(crafted(names, usage, usages))

    assert told(alone, require_sct=False) == "untrusted_material"
    own_root = root.Authority((alone,), root.Window())  # a root that lists a leaf gives it nobody who issued it
    assert told(alone, replace(ROOT, certificate_authorities=(own_root,))) == "untrusted_material"


def test_the_name_of_the_authority_without_its_key() -> None:
    forger = Authority(key_of("p384"), SIGSTORE.authority.certificate, SIGSTORE.authority.issuers)

    assert told(SIGSTORE.issue(KEY, by=forger)) == "untrusted_material"


def test_a_leaf_issues_nothing() -> None:
    """Even one that an authority issued, and that is listed beside it."""
    signer = Authority(KEY, LEAF_CERTIFICATE, SIGSTORE.authority.chain)
    below = SIGSTORE.issue(key_of("p384"), by=signer)
    listed = root.Authority((LEAF_CERTIFICATE, *SIGSTORE.authority.chain), root.Window())

    assert told(below, replace(ROOT, certificate_authorities=(listed,))) == "untrusted_material"


@pytest.mark.parametrize(
    ("usages", "expected"),
    [
        ((), "verified"),
        ((ExtendedKeyUsageOID.CODE_SIGNING,), "verified"),
        ((ExtendedKeyUsageOID.TIME_STAMPING, ExtendedKeyUsageOID.CODE_SIGNING), "verified"),
        ((ExtendedKeyUsageOID.TIME_STAMPING,), "untrusted_material"),
        ((ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,), "untrusted_material"),
    ],
    ids=["none said", "code signing", "two", "timestamps", "any"],
)
def test_what_an_intermediate_may_be_used_for(usages: Sequence[x509.ObjectIdentifier], expected: str) -> None:
    sigstore = PrivateSigstore()
    sigstore.authority = sigstore.root.intermediate("usages", AT - YEAR, AT + YEAR, usages=usages)

    assert told(sigstore.issue(KEY), trusted(sigstore)) == expected


@pytest.mark.parametrize("kind", ["p256", "p384", "p521", "rsa2048", "rsa3072", "rsa4096", "ed25519"])
def test_keys_of_leaves(kind: str) -> None:
    assert told(SIGSTORE.issue(key_of(kind))) == "verified"


# --- the profile


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({}, ""),
        ({"ca": False}, ""),
        ({"usages": (ExtendedKeyUsageOID.TIME_STAMPING, ExtendedKeyUsageOID.CODE_SIGNING)}, ""),
        ({"ca": True}, "one of an authority"),
        ({"ca": True, "signs_certificates": True}, "one of an authority"),
        ({"signs_certificates": True}, "key usage is not"),
        ({"digital_signature": False}, "key usage is not"),
        ({"digital_signature": False, "signs_certificates": True}, "key usage is not"),
        ({"usages": ()}, "lacks code signing"),
        ({"usages": (ExtendedKeyUsageOID.TIME_STAMPING,)}, "lacks code signing"),
        ({"usages": (ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,)}, "lacks code signing"),
        ({"subject": None}, "names nobody"),
    ],
    ids=["as issued", "says it is no authority", "two usages", "an authority", "an authority that may sign",
         "may sign certificates", "may sign nothing", "may sign certificates alone", "no extended usage", "timestamps",
         "any usage", "no name"],
)  # fmt: skip
def test_the_profile_of_a_leaf(changes: LeafChanges, problem: str) -> None:
    leaf = certificate.parse(SIGSTORE.issue(KEY, SIGSTORE.leaf(**changes)).public_bytes(Encoding.DER))

    found = ""
    try:
        certificate.verify(leaf, ROOT, [AT], require_sct=True)
    except CountersignError as error:
        assert error.code == "untrusted_material"  # noqa: PT017
        found = error.detail

    assert problem in found
    assert bool(found) == bool(problem)


def test_a_leaf_without_key_usage() -> None:
    names = x509.SubjectAlternativeName([x509.RFC822Name("dev@example.com")])
    usages = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING])

    assert told(x509.load_der_x509_certificate(crafted(names, usages))) == "untrusted_material"


# --- names


def claims_code(leaf: Leaf) -> str:
    try:
        certificate.claims_of(leaf)
    except CountersignError as error:
        return error.code.value
    return "read"


def named(**changes: object) -> Leaf:
    issued = SIGSTORE.issue(KEY, replace(SIGSTORE.leaf(), **changes))  # type: ignore[arg-type]
    return certificate.parse(issued.public_bytes(Encoding.DER))


@pytest.mark.parametrize(
    ("kind", "subject"),
    [
        (NameKind.EMAIL, "dev@example.com"),
        (NameKind.URI, "https://github.com/o/r/.github/workflows/f.yml@refs/heads/main"),
        (NameKind.USERNAME, "jörg"),
        (NameKind.USERNAME, "x" * 127),
        (NameKind.USERNAME, "x" * 128),
        (NameKind.USERNAME, "x" * 256),
        (NameKind.DNS, "builder.example.com"),
    ],
)
def test_kinds_of_names(kind: NameKind, subject: str) -> None:
    claims = certificate.claims_of(named(kind=kind, subject=subject))

    assert claims.subjects == ((kind.value, subject),)
    assert claims.issuer == "https://issuer.example.com"
    assert claims.extensions == {}


def fulcio(arc: int, value: bytes) -> x509.UnrecognizedExtension:
    return x509.UnrecognizedExtension(x509.ObjectIdentifier(f"{FULCIO}.{arc}"), value)


ISSUER = fulcio(8, utf8("https://issuer.example.com"))


def test_every_name_that_could_be_meant_and_no_other() -> None:
    names: list[x509.GeneralName] = [
        x509.IPAddress(ipaddress.ip_address("192.0.2.7")),
        x509.IPAddress(ipaddress.ip_address("2001:db8::7")),
        x509.DirectoryName(x509.Name([])),
        x509.RegisteredID(x509.ObjectIdentifier("1.2.3")),
        x509.OtherName(x509.ObjectIdentifier(f"{FULCIO}.8"), utf8("nobody")),
        x509.RFC822Name("b@example.com"),
        x509.RFC822Name("a@example.com"),
    ]
    leaf = certificate.parse(crafted(ISSUER, x509.SubjectAlternativeName(names)))

    assert certificate.claims_of(leaf).subjects == (
        ("ip", "192.0.2.7"), ("ip", "2001:db8::7"), ("email", "b@example.com"), ("email", "a@example.com"),
    )  # fmt: skip
    nameless = certificate.parse(crafted(ISSUER, x509.SubjectAlternativeName(names[2:5])))
    assert claims_code(nameless) == "identity_mismatch"
    assert claims_code(certificate.parse(crafted(ISSUER))) == "identity_mismatch"


@pytest.mark.parametrize(("count", "expected"), [(32, "read"), (33, "limit_exceeded")])
def test_names_are_bounded(count: int, expected: str) -> None:
    """Each is held against the rule of every signer, before anybody vouches for the certificate."""
    names = [x509.RFC822Name(f"{number}@example.com") for number in range(count)]

    assert claims_code(certificate.parse(crafted(ISSUER, x509.SubjectAlternativeName(names)))) == expected


@pytest.mark.parametrize(
    ("v1", "v2", "expected"),
    [
        ("https://a.example", "https://a.example", "read"),
        (None, "https://a.example", "read"),
        ("https://a.example", None, "read"),
        ("https://a.example", "https://b.example", "malformed"),
        ("https://a.example", "https://a.example/", "malformed"),
        ("https://A.example", "https://a.example", "malformed"),
        (None, None, "identity_mismatch"),
    ],
    ids=["both", "the new one", "the old one", "they differ", "a slash", "case", "neither"],
)
def test_the_two_extensions_of_the_issuer(v1: str | None, v2: str | None, expected: str) -> None:
    leaf = named(issuer_v1=v1, issuer_v2=v2)

    assert claims_code(leaf) == expected
    if expected == "read":
        assert certificate.claims_of(leaf).issuer == "https://a.example"


@pytest.mark.parametrize(
    ("extensions", "expected"),
    [
        ((fulcio(1, b"x"),), "read"),
        ((fulcio(1, b""),), "identity_mismatch"),
        ((fulcio(8, utf8("")),), "identity_mismatch"),
        ((fulcio(1, b"x"), fulcio(8, utf8(""))), "malformed"),
        ((fulcio(1, b""), fulcio(8, utf8("x"))), "malformed"),
        ((fulcio(1, utf8("x")),), "malformed"),
        ((fulcio(8, b"x"),), "malformed"),
        ((fulcio(8, b""),), "malformed"),
        ((fulcio(8, b"\x0c"),), "malformed"),
        ((fulcio(8, b"\x0c\x01x"),), "read"),
        ((fulcio(8, b"\x0c\x02x"),), "malformed"),
        ((fulcio(8, b"\x0c\x01xy"),), "malformed"),
        ((fulcio(8, b"\x13\x01x"),), "malformed"),
        ((fulcio(8, b"\x0c\x81\x01x"),), "malformed"),
        ((fulcio(8, b"\x0c\x80x\x00\x00"),), "malformed"),
        ((fulcio(8, b"\x0c\xff"),), "malformed"),
        ((fulcio(8, b"\x0c\x82\x00\x80" + b"x" * 128),), "malformed"),
        ((fulcio(8, b"\x0c\x81\x80" + b"x" * 128),), "read"),
        ((fulcio(8, b"\x0c\x01\xff"),), "malformed"),
        ((fulcio(1, b"\xff"),), "malformed"),
        ((fulcio(8, utf8("x\n")),), "malformed"),
        ((fulcio(8, utf8("x\x7f")),), "malformed"),
        ((fulcio(8, utf8("x\x85")),), "malformed"),
        ((fulcio(8, utf8("\u00fc")),), "read"),
        ((ISSUER, fulcio(9, b"x")), "malformed"),
        ((ISSUER, fulcio(24, utf8("x\x00"))), "malformed"),
        ((ISSUER, fulcio(6, b"x\r\n")), "malformed"),
        ((ISSUER, fulcio(25, b"x")), "read"),
        ((ISSUER, fulcio(7, b"\x00")), "read"),
    ],
    ids=["old", "old, empty", "new, empty", "new empty, old not", "old empty, new not", "DER in the old one",
         "no DER in the new one", "new, nothing", "tag alone", "shortest", "length too long", "a byte behind",
         "PrintableString", "a length in two bytes", "no length", "length of lengths", "a length with a zero",
         "128 characters", "no UTF-8 in the new one", "no UTF-8 in the old one", "a line feed", "delete",
         "a control character of Unicode", "a letter", "build signer without DER", "a zero byte in the last",
         "line end in the ref", "an extension to come", "a user name that is none"],
)  # fmt: skip
def test_how_extensions_hold_text(extensions: Sequence[x509.ExtensionType], expected: str) -> None:
    names = x509.SubjectAlternativeName([x509.RFC822Name("dev@example.com")])

    assert claims_code(certificate.parse(crafted(names, *extensions))) == expected


@pytest.mark.parametrize(("name", "arc"), EXTENSIONS.items())
def test_each_extension_by_its_name(name: str, arc: int) -> None:
    value = b"said" if arc <= 6 else utf8("said")
    names = x509.SubjectAlternativeName([x509.RFC822Name("dev@example.com")])
    leaf = certificate.parse(crafted(ISSUER, names, fulcio(arc, value)))

    assert certificate.claims_of(leaf).extensions == {name: "said"}


@pytest.mark.parametrize(
    "name",
    [
        x509.RFC822Name("dev@example.com\n"),
        x509.UniformResourceIdentifier("https://example.com/\x00"),
        x509.DNSName("example\x1f.com"),
        x509.OtherName(USERNAME, utf8("dev\r")),
        x509.OtherName(USERNAME, utf8("dev\u009b")),
        x509.OtherName(USERNAME, b"\x13\x03dev"),
    ],
    ids=["email", "URI", "DNS", "user name", "user name, C1", "user name as PrintableString"],
)
def test_names_that_are_no_text(name: x509.GeneralName) -> None:
    good = x509.RFC822Name("dev@example.com")

    leaf = certificate.parse(crafted(ISSUER, x509.SubjectAlternativeName([good, name])))

    assert claims_code(leaf) == "malformed"


# --- whatever it holds


def all_told(der: bytes) -> set[str]:
    try:
        leaf = certificate.parse(der)
    except CountersignError as error:
        return {error.code.value}
    return {claims_code(leaf), told(leaf.certificate), told(leaf.certificate, require_sct=False)}


@given(st.integers(0, len(DER) - 1), st.integers(1, 255))
def test_a_changed_byte_never_verifies(position: int, change: int) -> None:
    changed = bytearray(DER)
    changed[position] ^= change

    assert "verified" not in all_told(bytes(changed))


@given(st.binary(max_size=100) | st.binary(max_size=40).map(lambda tail: DER[: -len(tail) - 1] + tail))
def test_whatever_the_bytes_are(der: bytes) -> None:
    assert "verified" not in all_told(der)
