"""Signatures of Acme, spoiled: in how they lie in the registry, in what they hold, or in when they were made."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta

import cbor2
from cryptography import x509

from tests.bad_input.envelopes import (
    BETWEEN,
    RELEASE,
    STRANGER,
    Change,
    by_certificate,
    described,
    enveloped,
    jws,
    leaf,
    listed,
    refer,
    spec_of,
    store,
)
from tests.bad_input.makers import listing
from tests.doubles.registry import HostileRegistry, on
from tests.doubles.verifying import Shelf
from tests.notation import aws_like, made
from tests.notation.made import CA, LEAF, SIGNED_AT, SPEC, Node, Spec
from tests.private_sigstore.documents import Document, flipped
from tests.private_sigstore.images import Attach
from tests.trust import tokens
from webhook.demo.content import as_json, descriptor
from webhook.evidence.model import NOTARY_SIGNATURE
from webhook.notation.attributes import EXPIRY, PLUGIN, Scheme
from webhook.oci import manifest

ARTIFACT_MANIFEST = "application/vnd.oci.artifact.manifest.v1+json"  # OCI image 1.1-rc1, withdrawn
UNKNOWN = x509.ObjectIdentifier("1.3.6.1.4.1.57264.999")


# --- how it lies in the registry


def layers(*changes: Change) -> Attach:
    """A good envelope, and its layer as each of `changes` has it, one after the other."""
    return listed(lambda body: {**body, "layers": [change(layer) for change in changes for layer in body["layers"]]})  # type: ignore[attr-defined]


def as_it_is(layer: Document) -> object:
    return layer


def members(**changes: object) -> Change:
    return lambda document: {name: value for name, value in {**document, **changes}.items() if value is not None}


def legacy_manifest(body: Document) -> object:
    """As the first signers wrote it."""
    config = {**descriptor(NOTARY_SIGNATURE, b"{}")}
    return {**{name: value for name, value in body.items() if name != "artifactType"}, "config": config}


def withdrawn(body: Document) -> object:
    """As signers wrote it for a while; nothing else was to hold one."""
    kept = {name: body[name] for name in ("artifactType", "subject")}
    return {"mediaType": ARTIFACT_MANIFEST, "blobs": body["layers"], **kept}


def moved(change: Change = as_it_is) -> Attach:
    """The referrer of another image, its manifest changed, listed for this one."""

    def put_beside(shelf: Shelf, image: str) -> None:
        other = shelf.image("another", tag="another")
        digest = refer(shelf, other, made.sign_jws(spec_of(described(shelf, other)), RELEASE), change=change)
        size = len(shelf.stored.repository(shelf.name).manifests[digest].data)
        entry = {"mediaType": manifest.OCI_MANIFEST, "digest": digest, "size": size, "artifactType": NOTARY_SIGNATURE}
        listing(shelf, image, [entry])

    return put_beside


def copied(shelf: Shelf, image: str) -> None:
    """The envelope of another image, in a manifest of this one's."""
    other = shelf.image("another", tag="another")
    refer(shelf, image, made.sign_jws(spec_of(described(shelf, other)), RELEASE))


def unavailable(status: int) -> Attach:
    """A good envelope whose bytes are not to be had."""

    def put_beside(shelf: Shelf, image: str) -> None:
        data = made.sign_jws(spec_of(described(shelf, image)), RELEASE)
        refer(shelf, image, data)
        assert isinstance(shelf.stored, HostileRegistry)
        shelf.stored.rules.append(on(f"blobs/sha256:{hashlib.sha256(data).hexdigest()}", status))

    return put_beside


def served_otherwise(shelf: Shelf, image: str) -> None:
    """Other bytes than the digest of the envelope."""
    data = made.sign_jws(spec_of(described(shelf, image)), RELEASE)
    refer(shelf, image, data)
    shelf.stored.repository(shelf.name).blobs[f"sha256:{hashlib.sha256(data).hexdigest()}"] = flipped(data)


def crowd(others: int, then: Callable[[bytes], bytes] = bytes) -> Attach:
    """The signature of Acme behind so many of a stranger, all whole, of which `then` makes something else."""

    def put_beside(shelf: Shelf, image: str) -> None:
        spec = spec_of(described(shelf, image))
        for number in range(others):
            refer(shelf, image, then(made.sign_jws(replace(spec, agent=f"stranger/{number}"), STRANGER)))
        jws()(shelf, image)

    return put_beside


# --- what is in it


def expiring(text: str) -> Attach:
    return jws(protected={EXPIRY: text})


def with_payload(change: Callable[[Document], object]) -> Callable[[bytes], bytes]:
    """The payload of an envelope in JWS is changed after it was signed."""

    def then(data: bytes) -> bytes:
        document = json.loads(data)
        payload = json.loads(base64.urlsafe_b64decode(document["payload"] + "=="))
        return as_json({**document, "payload": made.base64url(as_json(change(payload)))})

    return then


def with_other_payload(data: bytes) -> bytes:
    """The same in COSE."""
    tag = cbor2.loads(data)
    protected, unprotected, payload, signed = tag.value
    return cbor2.dumps(cbor2.CBORTag(18, [protected, unprotected, payload + b" ", signed]))


def in_another_message(data: bytes) -> bytes:
    """COSE_Sign, which may have several signers, with this one and another: RFC 9052 4.1."""
    protected, unprotected, payload, signed = cbor2.loads(data).value
    signers = [[protected, unprotected, signed], [protected, {}, flipped(signed)]]
    return cbor2.dumps(cbor2.CBORTag(98, [b"", {}, payload, signers]))


def by_two(data: bytes) -> bytes:
    """The general serialization, with this signer and another: RFC 7515 7.2.1."""
    document = json.loads(data)
    payload = document.pop("payload")
    return as_json({"payload": payload, "signatures": [document, document]})


def doubled(name: str, value: str) -> Attach:
    """A protected header in which `name` stands twice, signed so."""

    def make(image: object) -> bytes:
        spec = spec_of(image)  # type: ignore[arg-type]
        protected = json.loads(base64.urlsafe_b64decode(json.loads(made.sign_jws(spec, RELEASE))["protected"] + "=="))
        text = f'{json.dumps(protected)[:-1]}, "{name}": {value}}}'
        return made.sign_jws(spec, RELEASE, protected=text.encode())

    return enveloped(make)


def written_in_cbor(change: Callable[[bytes], bytes]) -> Attach:
    """A protected header in COSE, written otherwise and signed so."""

    def make(image: object) -> bytes:
        spec = spec_of(image)  # type: ignore[arg-type]
        protected = cbor2.loads(made.sign_cose(spec, RELEASE)).value[0]
        return made.sign_cose(spec, RELEASE, protected=change(protected))

    return enveloped(make, made.COSE)


def without_length(protected: bytes) -> bytes:
    return b"\xbf" + protected[1:] + b"\xff"


def at_a_fraction(moment: datetime) -> cbor2.CBORTag:
    return cbor2.CBORTag(1, moment.timestamp() + 0.5)


def x5c(*ders: bytes) -> Mapping[str, object]:
    return {"x5c": [base64.b64encode(der).decode() for der in ders]}


LEAF_DER, BETWEEN_DER, ROOT_DER = made.der_of(RELEASE.chain)
DN = "C=US,ST=WA,O=acme.example,CN="


def of_size(size: int) -> Node:
    """A leaf so large, by an extension that nobody knows."""
    return leaf("large", replace(LEAF, others=[(x509.UnrecognizedExtension(UNKNOWN, bytes(size)), False)]))


SHALLOW = leaf("shallow", replace(CA, constraints=(True, 0)))


def extended(name: str, value: object, *, critical: bool = True, **more: object) -> Spec:
    """With an attribute of somebody's own, and `more`, which are critical."""
    marked = [name, *more] if critical else [*more]
    return replace(SPEC, extended={name: value, **more}, critical=marked)


ASKING = replace(SPEC, extended={PLUGIN: "com.example.plugin"}, critical=[PLUGIN])
BY_AUTHORITY = replace(SPEC, scheme=Scheme.SIGNING_AUTHORITY)


# --- when


def dated(name: str, start: datetime, end: datetime) -> Node:
    """A certificate of Acme's that is valid from `start` to `end`."""
    issuer = aws_like.Node(BETWEEN.certificate, BETWEEN.key)  # type: ignore[arg-type]  # of a curve, as all here
    made_node = aws_like.issue(f"{DN}{name}", issuer, start=start, end=end)
    return Node(made_node.certificate, made_node.key, BETWEEN)


DAY, HOUR = timedelta(days=1), timedelta(hours=1)
ENDED = dated("ended", SIGNED_AT - DAY, SIGNED_AT + HOUR)
CLOCK_KEY = tokens.make_key()
CLOCK = tokens.make_certificate("clock", CLOCK_KEY, ca=True)
STAMPING_KEY = tokens.make_key()
STAMPING = tokens.make_certificate(
    "stamping", STAMPING_KEY, issuer=tokens.Issuer(CLOCK_KEY, CLOCK), ca=False, purposes=[tokens.TIME_STAMPING]
)
OTHER_CLOCK_KEY = tokens.make_key()
OTHER_CLOCK = tokens.make_certificate("clock", OTHER_CLOCK_KEY, ca=True)
STAMPED = by_certificate(store("clock", "tsa", CLOCK), timestamp={"trustStore": "clock"})


def stamp(message: bytes, at: datetime = SIGNED_AT) -> bytes:
    return tokens.make_token(message, key=STAMPING_KEY, certificate=STAMPING, at=at)


def stamped(
    token: Callable[[bytes], bytes] = stamp, by: Node = RELEASE, header: str = "io.cncf.notary.timestampSignature"
) -> Attach:
    """An envelope countersigned by what `token` makes of its signature."""

    def then(data: bytes) -> bytes:
        document = json.loads(data)
        signed = base64.urlsafe_b64decode(document["signature"] + "==")
        document["header"][header] = base64.b64encode(token(signed)).decode()
        return as_json(document)

    return jws(leaf=by, then=then)


def by_another_clock(message: bytes) -> bytes:
    key = tokens.make_key()
    issuer = tokens.Issuer(OTHER_CLOCK_KEY, OTHER_CLOCK)
    certificate = tokens.make_certificate("stamping", key, issuer=issuer, ca=False, purposes=[tokens.TIME_STAMPING])
    return tokens.make_token(message, key=key, certificate=certificate, at=SIGNED_AT)
