"""What stands in Secrets and ConfigMaps: keys, trust roots and certificates, or why not, with nothing of it shown."""

from __future__ import annotations

import base64
import functools
import pickle
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.policy.notary_documents import CA_PEM, INTERMEDIATE_PEM, LEAF_PEM, OTHER_PEM
from webhook.demo import signing
from webhook.errors import Code, InconclusiveError, MalformedError
from webhook.trust import contents, mirror, root
from webhook.trust.at_hand import Trust
from webhook.trust.contents import Place, Reading, State
from webhook.trust.material import Hash, Padding, PublicKey
from webhook.trust.notary.stores import StoredCertificates, StoreKind, TrustStore
from webhook.trust.root import PUBLIC_GOOD, RootKind, RootSource
from webhook.trust.stored import Entry, ObjectKind, StoredKey, StoredObject, StoredRoot

key_of = functools.cache(signing.new_key)

IN_SECRET = Entry(StoredObject(ObjectKind.SECRET, "release"), "cosign.pub")
IN_MAP = Entry(StoredObject(ObjectKind.CONFIG_MAP, "corp"), "text")
KEY, ROOT = StoredKey(IN_SECRET), StoredRoot(IN_MAP)
STORE, CLOCK = StoredCertificates(IN_MAP, StoreKind.CA), StoredCertificates(IN_MAP, StoreKind.TSA)
PEM, RSA_PEM = key_of("p256").public_pem, key_of("rsa2048").public_pem
ENCRYPTED = "-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\nc2VjcmV0\n-----END ENCRYPTED SIGSTORE PRIVATE KEY-----\n"
DOCUMENT = mirror.packaged_document().decode()
NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


def secret(text: str | bytes, *, key: str = "cosign.pub") -> dict[str, object]:
    data = text if isinstance(text, bytes) else text.encode()
    return {"kind": "Secret", "data": {key: base64.b64encode(data).decode()}}


def config_map(text: str) -> dict[str, object]:
    return {"kind": "ConfigMap", "data": {"text": text}}


@pytest.mark.parametrize(
    ("place", "found", "described"),
    [
        pytest.param(KEY, secret(PEM), "ECDSA P-256, sha256:", id="key"),
        pytest.param(StoredKey(IN_SECRET, padding=Padding.PSS), secret(RSA_PEM), "RSA 2048, sha256:", id="padding"),
        pytest.param(StoredKey(IN_SECRET, hash=Hash.SHA384), secret(PEM), "ECDSA P-256, sha256:", id="hash"),
        pytest.param(ROOT, config_map(DOCUMENT), "trust root sha256:", id="trust root"),
        pytest.param(STORE, config_map(CA_PEM), "1 certificate", id="store"),
        pytest.param(STORE, config_map(CA_PEM + OTHER_PEM), "2 certificates", id="two certificates"),
        pytest.param(CLOCK, config_map(CA_PEM), "1 certificate", id="clock"),
    ],
)
def test_what_is_right_is_at_hand(place: Place, found: dict[str, object], described: str) -> None:
    reading = contents.read(place, found)
    assert (reading.problem, reading.material is not None) == ("", True)
    assert reading.material is not None
    assert contents.describe(reading.material).startswith(described)


NO_PEM = "a PEM block expected, -----BEGIN PUBLIC KEY-----, found none"
SHOWN = "key cosign.pub of the Secret release: "
SHOWN_MAP = "key text of the ConfigMap corp: "


@pytest.mark.parametrize(
    ("place", "found", "problem"),
    [
        pytest.param(KEY, None, "there is no Secret release", id="no Secret"),
        pytest.param(ROOT, None, "there is no ConfigMap corp", id="no ConfigMap"),
        pytest.param(KEY, {}, "the Secret release has no key cosign.pub, or not as text", id="no data"),
        pytest.param(KEY, {"data": None}, "the Secret release has no key cosign.pub, or not as text", id="null"),
        pytest.param(KEY, {"data": []}, "the Secret release has no key cosign.pub, or not as text", id="a list"),
        pytest.param(
            KEY, secret(PEM, key="other"), "the Secret release has no key cosign.pub, or not as text", id="other key"
        ),
        pytest.param(
            ROOT, {"binaryData": {"text": "aGk="}}, "the ConfigMap corp has no key text, or not as text", id="binary"
        ),
        pytest.param(
            KEY, {"data": {"cosign.pub": 7}}, "the Secret release has no key cosign.pub, or not as text", id="a number"
        ),
        pytest.param(
            KEY, {"data": {"cosign.pub": "hunter2"}}, f"{SHOWN}not base64, as in every Secret", id="not base64"
        ),
        pytest.param(KEY, secret(""), f"{SHOWN}{NO_PEM}", id="empty"),
        pytest.param(KEY, secret("hunter2"), f"{SHOWN}{NO_PEM}", id="garbage"),
        pytest.param(
            KEY, secret(PEM + PEM), f"{SHOWN}one PEM block expected, found 2: name each key by itself", id="two"
        ),
        pytest.param(
            KEY,
            secret(key_of("p256").private_pem),
            f"{SHOWN}this is a private key: use the public one (cosign public-key --key KEY)",
            id="private key",
        ),
        pytest.param(
            KEY,
            secret(ENCRYPTED),
            f"{SHOWN}this is a private key: use the public one (cosign public-key --key KEY)",
            id="private key, encrypted",
        ),
        pytest.param(
            KEY,
            secret(key_of("p256").private_pem + PEM),
            f"{SHOWN}this is a private key: use the public one (cosign public-key --key KEY)",
            id="private key before the public one",
        ),
        pytest.param(
            STORE,
            config_map(CA_PEM + key_of("p256").private_pem),
            f"{SHOWN_MAP}there is a private key among the certificates: nobody but its owner may have it",
            id="private key in a store",
        ),
        pytest.param(
            KEY, secret(b"A" * (1 << 20)), f"{SHOWN}1048576 bytes, at most 65536 are read", id="1 MiB"
        ),
        pytest.param(
            STORE,
            config_map("A" * (1 << 20)),
            f"{SHOWN_MAP}1048576 characters, at most 262144 are read",
            id="1 MiB store",
        ),
        pytest.param(
            ROOT, config_map("A" * (3 << 20)), f"{SHOWN_MAP}more than 2097152 characters", id="more than there can be"
        ),
        pytest.param(
            StoredKey(IN_SECRET, padding=Padding.PKCS1V15),
            secret(PEM),
            f"{SHOWN}the option padding is for RSA keys only, and this is ECDSA P-256",
            id="option of another kind of key",
        ),
        pytest.param(
            StoredKey(IN_SECRET, padding=Padding.PSS),
            secret(PEM),
            f"{SHOWN}the option padding: pss is for RSA keys only",
            id="padding of another kind of key",
        ),
        pytest.param(
            ROOT,
            config_map("{}"),
            f"{SHOWN_MAP}mediaType: {root.MEDIA_TYPES[0]} expected",
            id="another document",
        ),
        pytest.param(
            CLOCK,
            config_map(INTERMEDIATE_PEM),
            f"{SHOWN_MAP}certificate 1, 'CN=Below,O=private.test': a store of the type tsa holds self-signed CAs only",
            id="a clock's authority that is no root",
        ),
        pytest.param(
            STORE,
            config_map(LEAF_PEM),
            f"{SHOWN_MAP}certificate 1, '': neither a CA nor self-signed",
            id="a certificate that issues nothing",
        ),
        pytest.param(
            StoredCertificates(IN_SECRET, StoreKind.CA),
            secret(b"\xff"),
            f"{SHOWN}text expected, found other bytes",
            id="other bytes",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_and_not_shown(place: Place, found: dict[str, object] | None, problem: str) -> None:
    reading = contents.read(place, found)
    assert reading.material is None
    assert reading.problem == problem
    for hidden in ("hunter2", key_of("p256").private_pem.splitlines()[1]):
        assert hidden not in reading.problem


@pytest.mark.parametrize(("found", "code"), [
    pytest.param(secret("garbage"), Code.MALFORMED, id="garbage"),
    pytest.param(secret(b"A" * (1 << 20)), Code.LIMIT_EXCEEDED, id="large"),
    pytest.param(secret(key_of("ed25519").public_pem), Code.UNSUPPORTED, id="options"),
])  # fmt: skip
def test_codes(found: dict[str, object], code: Code) -> None:
    place = StoredKey(IN_SECRET, hash=Hash.SHA256)
    with pytest.raises(MalformedError) as caught:
        contents.parse(place, contents.extract(place.entry, found))
    assert caught.value.code is code


def test_the_same_bytes_are_not_parsed_again() -> None:
    first = contents.read(KEY, secret(PEM))
    assert contents.read(KEY, secret(PEM) | {"metadata": {"labels": {"a": "b"}}}, first) is first
    other = contents.read(KEY, secret(key_of("p384").public_pem), first)
    assert isinstance(other.material, PublicKey)
    assert other.material.algorithm == "ECDSA P-384"
    gone = contents.read(KEY, None, first)
    assert (gone.material, contents.read(KEY, secret(PEM), gone).material) == (None, first.material)


@given(st.one_of(st.none(), st.dictionaries(st.text(max_size=3), st.one_of(st.none(), st.text(), st.integers()))))
def test_any_data_of_an_object(data: object) -> None:
    assert isinstance(contents.read(KEY, {"data": data}), Reading)


@given(st.sampled_from([KEY, StoredRoot(IN_SECRET), StoredCertificates(IN_SECRET, StoreKind.CA)]), st.binary())
def test_any_bytes(place: Place, data: bytes) -> None:
    assert contents.read(place, secret(data)).material is None


# --- what is at hand of it

SOURCE = RootSource("own", RootKind.OBJECT, str(IN_MAP), place=ROOT)
NAMED = TrustStore("acme", StoreKind.CA, (), STORE)


def state(place: Place, found: dict[str, object] | None) -> State:
    reading = contents.read(place, found)
    return State(place, reading.material, NOW if reading.material is not None else None, reading.problem)


def test_each_is_found_by_those_who_name_it() -> None:
    whole = contents.at_hand(
        [state(KEY, secret(PEM)), state(ROOT, config_map(DOCUMENT)), state(STORE, config_map(CA_PEM))]
    )
    trust: Trust = pickle.loads(pickle.dumps(whole))
    assert trust == whole
    assert trust.key_of(KEY).algorithm == "ECDSA P-256"
    assert trust.root_of(SOURCE) == root.parse(DOCUMENT.encode())
    assert len(trust.store_of(NAMED).certificates) == 1
    assert (trust.store_of(NAMED).name, trust.store_of(NAMED).kind) == ("acme", StoreKind.CA)
    for missing in (StoredKey(IN_SECRET, hash=Hash.SHA512), StoredKey(IN_MAP)):
        with pytest.raises(InconclusiveError):
            trust.key_of(missing)
    with pytest.raises(InconclusiveError):
        trust.store_of(TrustStore("acme", StoreKind.TSA, (), CLOCK))


@pytest.mark.parametrize(
    ("trust", "said"),
    [
        pytest.param(
            contents.at_hand([state(KEY, None), state(ROOT, None), state(STORE, None)]), "there is no ", id="gone"
        ),
        pytest.param(Trust(), "which only a server in its cluster reads", id="on a command line"),
    ],
)
def test_what_is_not_at_hand_is_not_available(trust: Trust, said: str) -> None:
    for ask in (lambda: trust.key_of(KEY), lambda: trust.root_of(SOURCE), lambda: trust.store_of(NAMED)):
        with pytest.raises(InconclusiveError, match=said) as caught:
            ask()
        assert caught.value.code is Code.TRUST_UNAVAILABLE


def test_what_is_at_hand_here_and_there_is_at_hand() -> None:
    public = Trust({PUBLIC_GOOD.key: root.parse(DOCUMENT.encode())})
    both = public | contents.at_hand([state(KEY, secret(PEM))])
    assert both.root_of(PUBLIC_GOOD) == root.parse(DOCUMENT.encode())
    assert both.key_of(KEY).algorithm == "ECDSA P-256"


def test_a_state_is_described() -> None:
    good = state(STORE, config_map(CA_PEM))
    assert good.describe(NOW + timedelta(seconds=90)) == "1 certificate, read 90 s ago"
    assert state(STORE, None).describe(NOW) == "not at hand; there is no ConfigMap corp"
