"""Notary Project signatures that are bad: each code of its specification's taxonomy, and envelopes by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from cryptography.x509.oid import ExtendedKeyUsageOID

from tests.bad_input.envelopes import (
    RELEASE,
    ROOT,
    STRANGER,
    SUBJECT,
    above,
    by_certificate,
    cose,
    enveloped,
    jws,
    leaf,
    listed,
    row,
    spec_of,
    store,
)
from tests.bad_input.makers import Row
from tests.bad_input.spoiled import (
    ARTIFACT_MANIFEST,
    ASKING,
    BETWEEN_DER,
    BY_AUTHORITY,
    DAY,
    ENDED,
    HOUR,
    LEAF_DER,
    ROOT_DER,
    SHALLOW,
    STAMPED,
    as_it_is,
    at_a_fraction,
    by_another_clock,
    by_two,
    copied,
    crowd,
    doubled,
    expiring,
    extended,
    in_another_message,
    layers,
    legacy_manifest,
    members,
    moved,
    of_size,
    served_otherwise,
    stamp,
    stamped,
    unavailable,
    with_other_payload,
    with_payload,
    withdrawn,
    without_length,
    written_in_cbor,
    x5c,
)
from tests.notation import made
from tests.notation.made import CA, LEAF, SIGNED_AT, SPEC
from tests.private_sigstore.asked import OTHER
from tests.private_sigstore.documents import flipped
from tests.private_sigstore.images import all_of, signature
from webhook.demo.registry import OCI_INDEX
from webhook.errors import Code
from webhook.notation.attributes import EXPIRY, PLUGIN_MIN_VERSION, SCHEME
from webhook.settings import KIB, MIB

# --- the codes of the specification, in its order; where it has another word than ours, that stands in front

CODES: Mapping[str, Row] = {
    "notary: retrieval_failed": row(
        Code.REGISTRY_UNAVAILABLE, unavailable(500), "answered 500", status=503
    ),
    "notary: retrieval_failed: too many requests": row(
        Code.RATE_LIMITED, unavailable(429), "(429)", status=503, alone=True
    ),
    "notary: retrieval_failed: another digest": row(
        Code.REGISTRY_VIOLATION, served_otherwise, "has another digest", tampers=True
    ),
    "notary: no_signature": row(Code.NO_SIGNATURE, lambda shelf, image: None, "was found for this digest"),
    "notary: no_signature: cosign's does not count": row(
        Code.NO_SIGNATURE, signature(), "was found for this digest"
    ),
    "notary: envelope_unsupported: media type": row(
        Code.UNSUPPORTED, layers(members(mediaType="application/jose")), "found 'application/jose'"
    ),
    "notary: envelope_unsupported: content type": row(
        Code.UNSUPPORTED, jws(replace(SPEC, content_type="application/vnd.example+json")),
        "found 'application/vnd.example+json'",
    ),
    "notary: envelope_unsupported: content type in COSE": row(
        Code.UNSUPPORTED, cose(replace(SPEC, content_type="application/json")), "found 'application/json'", good=cose()
    ),
    "notary: envelope_malformed": row(Code.MALFORMED, jws(then=lambda data: data[:-1]), "not JSON"),
    "notary: envelope_malformed: the time": row(
        Code.MALFORMED, expiring("2027-02-18 08:30:00Z"), "a time of RFC 3339 expected",
        good=expiring("2027-02-18T08:30:00.5Z"),
    ),
    "notary: envelope_malformed: expires before it was signed": row(
        Code.MALFORMED, jws(replace(SPEC, expires_at=SIGNED_AT)), "a time after that of signing expected"
    ),
    "notary: envelope_malformed: scheme": row(
        Code.MALFORMED, jws(protected={SCHEME: "notary.x509.other"}), "found 'notary.x509.other'"
    ),
    "notary: envelope_malformed: payload": row(
        Code.MALFORMED, jws(target={"size": "942"}), "payload.targetArtifact.size"
    ),
    "notary: signature_invalid": row(
        Code.SIGNATURE_INVALID,
        jws(then=with_payload(lambda payload: {**payload, "more": 1})),
        "changed after it was signed", tampers=True,
    ),
    "notary: signature_invalid: COSE": row(
        Code.SIGNATURE_INVALID, cose(then=with_other_payload), "changed after it was signed",
        good=cose(), tampers=True,
    ),
    "notary: signature_invalid: re-targeted": row(
        Code.SIGNATURE_INVALID,
        jws(target={"digest": OTHER}, then=with_payload(
            lambda payload: {"targetArtifact": {**payload["targetArtifact"], "digest": OTHER[:-1] + "0"}})),  # type: ignore[dict-item]
        "changed after it was signed", tampers=True,
    ),
    "notary: cert_chain_invalid: without its root": row(
        Code.CERT_CHAIN_INVALID, jws(header=x5c(LEAF_DER, BETWEEN_DER)), "a self-signed root expected at the end"
    ),
    "notary: cert_chain_invalid: in another order": row(
        Code.CERT_CHAIN_INVALID, jws(header=x5c(LEAF_DER, ROOT_DER, BETWEEN_DER)), "was not issued by the next one"
    ),
    "notary: cert_chain_invalid: a leaf that may not sign": row(
        Code.CERT_CHAIN_INVALID, jws(leaf=leaf("locked", replace(LEAF, usage=("key_encipherment",)))),
        "digitalSignature is expected",
    ),
    "notary: cert_chain_invalid: a leaf for servers": row(
        Code.CERT_CHAIN_INVALID,
        jws(leaf=leaf("server", replace(LEAF, purposes=[ExtendedKeyUsageOID.SERVER_AUTH]))),
        "extended key usage",
        good=jws(leaf=leaf("coder", replace(LEAF, purposes=[ExtendedKeyUsageOID.CODE_SIGNING]))),
    ),
    "notary: cert_chain_invalid: an authority that is none": row(
        Code.CERT_CHAIN_INVALID, jws(leaf=made.issue("below", RELEASE)), "a CA is expected"
    ),
    "notary: cert_chain_invalid: deeper than the authority allows": row(
        Code.CERT_CHAIN_INVALID,
        jws(leaf=made.issue("leaf", made.issue("deeper", SHALLOW, CA))), "allows 0 CAs below it, found 1",
        good=jws(leaf=made.issue("leaf", SHALLOW)),
    ),
    "notary: cert_chain_invalid: a curve that may not sign": row(
        Code.CERT_CHAIN_INVALID, jws(leaf=leaf("small", kind="p224")), "ECDSA P-256, P-384, P-521 expected",
        good=jws(leaf=leaf("larger", kind="p521")),
    ),
    "notary: subject_mismatch: digest": row(
        Code.SUBJECT_MISMATCH, jws(target={"digest": OTHER}), f"'{OTHER}' was signed"
    ),
    "notary: subject_mismatch: size": row(
        Code.SUBJECT_MISMATCH, jws(target={"size": 7}), "and 7 were signed"
    ),
    "notary: subject_mismatch: media type": row(
        Code.SUBJECT_MISMATCH, jws(target={"mediaType": OCI_INDEX}), f"and '{OCI_INDEX}' was signed"
    ),
    "notary: subject_mismatch: user metadata": row(
        Code.CLAIM_MISMATCH, jws(target={"annotations": {"env": "dev"}}), "env",
        good=jws(target={"annotations": {"env": "prod", "more": "x"}}),
        asked={**by_certificate(), "rules": [{"images": ["**"], "annotations": {"env": "prod"}}]},
    ),
    "notary: verification_plugin_unavailable": row(
        Code.VERIFICATION_PLUGIN_UNAVAILABLE, jws(ASKING), "'com.example.plugin'"
    ),
    "notary: verification_plugin_unavailable: a version without a name": row(
        Code.VERIFICATION_PLUGIN_UNAVAILABLE, jws(extended(PLUGIN_MIN_VERSION, "1.0.0")), "is there without"
    ),
    "notary: critical_attribute_unprocessed": row(
        Code.CRITICAL_ATTRIBUTE_UNPROCESSED, jws(extended("com.example.note", "x")),
        "'com.example.note' is critical", good=jws(extended("com.example.note", "x", critical=False)),
    ),
    "notary: critical_attribute_unprocessed: COSE": row(
        Code.CRITICAL_ATTRIBUTE_UNPROCESSED, cose(extended("com.example.note", "x")),
        "'com.example.note' is critical", good=cose(extended("com.example.note", "x", critical=False)),
    ),
    "notary: not_trusted": row(
        Code.UNTRUSTED_MATERIAL, jws(leaf=STRANGER), "ca:acme"
    ),
    "notary: not_trusted: self-signed": row(
        Code.UNTRUSTED_MATERIAL, jws(leaf=made.issue("leaf", None)), "ca:acme"
    ),
    "notary: not_trusted: a store of another type": row(
        Code.UNTRUSTED_MATERIAL, jws(BY_AUTHORITY), "of the type signingAuthority"
    ),
    "notary: not_trusted: the other way round": row(
        Code.UNTRUSTED_MATERIAL, jws(), "of the type ca", good=jws(BY_AUTHORITY),
        asked=by_certificate(store("acme", "signingAuthority", ROOT.certificate)),
    ),
    "notary: identity_mismatch": row(
        Code.IDENTITY_MISMATCH, jws(leaf=leaf("other")), "CN=other",
        asked=by_certificate(subjects=[f"{SUBJECT}, CN=leaf"]),
    ),
    "notary: identity_mismatch: in other letters": row(
        Code.IDENTITY_MISMATCH, jws(leaf=leaf("Leaf")), "CN=Leaf",
        asked=by_certificate(subjects=[f"{SUBJECT}, CN=leaf"]),
    ),
    "notary: signature_expired": row(
        Code.SIGNATURE_EXPIRED, expiring("2026-11-21T12:00:00Z"), "expired at 2026-11-21T12:00:00Z",
        good=expiring("2026-11-21T12:00:01Z"),
    ),
    "notary: timestamp_invalid: a certificate that has ended": row(
        Code.TIME_INVALID, jws(leaf=ENDED), "was valid from"
    ),
    "notary: timestamp_invalid: not countersigned": row(
        Code.TIME_INVALID, jws(), "has no countersignature", good=stamped(), asked=STAMPED
    ),
    "notary: timestamp_invalid: by another clock": row(
        Code.TIME_INVALID, stamped(by_another_clock), "no path from its signer to a trusted root",
        good=stamped(), asked=STAMPED,
    ),
    "notary: timestamp_invalid: of another signature": row(
        Code.TIME_INVALID, stamped(lambda signed: stamp(flipped(signed))), "about another message",
        good=stamped(), asked=STAMPED,
    ),
    "notary: timestamp_invalid: when the certificate had ended": row(
        Code.TIME_INVALID, stamped(lambda signed: stamp(signed, SIGNED_AT + 2 * HOUR), ENDED), "timestamped at",
        good=stamped(by=ENDED), asked=STAMPED,
    ),
    "notary: attempts_exceeded": row(
        Code.LIMIT_EXCEEDED, crowd(59, then=flipped), "60 candidates listed as referrers, of which 50 were examined",
        good=crowd(49, then=flipped), alone=True,
    ),
    "notary: attempts_exceeded: by others": row(
        Code.UNTRUSTED_MATERIAL, crowd(59), "60 candidates listed as referrers, of which 50 were examined",
        good=crowd(49), alone=True,
    ),
}  # fmt: skip


# --- envelopes by name

BY_NAME: Mapping[str, Row] = {
    "notary: chain of 20": row(
        Code.LIMIT_EXCEEDED, jws(leaf=above(20)), "header.x5c: 20 entries", good=jws(leaf=above(10))
    ),
    "notary: chain of 20: COSE": row(
        Code.LIMIT_EXCEEDED, cose(leaf=above(20)), "20 certificates, at most 10", good=cose(leaf=above(10))
    ),
    "notary: certificate of 1 MiB": row(
        Code.LIMIT_EXCEEDED, jws(leaf=of_size(MIB)), "at most 1048576 are read", good=jws(leaf=of_size(60 * KIB))
    ),
    "notary: certificate of more than 64 KiB": row(
        Code.LIMIT_EXCEEDED, cose(leaf=of_size(64 * KIB)), "65536 bytes of a certificate are read",
        good=cose(leaf=of_size(60 * KIB)),
    ),
    "notary: envelope of two signers": row(
        Code.MALFORMED, jws(then=by_two), "payload, protected, header and signature expected, and nothing else"
    ),
    "notary: envelope of two signers: COSE": row(
        Code.MALFORMED, cose(then=in_another_message), "a COSE_Sign1 with its tag expected", good=cose()
    ),
    "notary: critical header twice": row(
        Code.MALFORMED, jws(protected={"crit": [SCHEME, EXPIRY, EXPIRY]}), "marked critical twice"
    ),
    "notary: critical header twice: COSE": row(
        Code.MALFORMED, cose(protected={2: [SCHEME, EXPIRY, EXPIRY]}), "marked critical twice", good=cose()
    ),
    "notary: list of critical headers twice": row(
        Code.MALFORMED, doubled("crit", '["a"]'), "the name 'crit' stands twice"
    ),
    "notary: algorithm twice": row(Code.MALFORMED, doubled("alg", '"none"'), "the name 'alg' stands twice"),
    "notary: critical header that is not there": row(
        Code.MALFORMED, jws(protected={"crit": [SCHEME, EXPIRY, "com.example.note"]}),
        "'com.example.note' is marked critical and not there",
    ),
    "notary: expiry that is not critical": row(
        Code.MALFORMED, jws(protected={"crit": [SCHEME]}), f"{EXPIRY} is not marked critical"
    ),
    "notary: algorithm none": row(
        Code.SIGNATURE_INVALID, jws(protected={"alg": "none"}), "is ES256, found 'none'", tampers=True
    ),
    "notary: algorithm of a shared secret": row(
        Code.SIGNATURE_INVALID, jws(protected={"alg": "HS256"}), "is ES256, found 'HS256'", tampers=True
    ),
    "notary: algorithm of another key": row(
        Code.SIGNATURE_INVALID, jws(protected={"alg": "PS256"}), "is ES256, found 'PS256'", tampers=True
    ),
    "notary: algorithm of another hash": row(
        Code.SIGNATURE_INVALID, jws(protected={"alg": "ES384"}), "is ES256, found 'ES384'",
        good=jws(leaf=leaf("384", kind="p384")), tampers=True,
    ),
    "notary: algorithm of another key: COSE": row(
        Code.SIGNATURE_INVALID, cose(protected={1: -37}), "is ES256, found 'PS256'", good=cose(), tampers=True
    ),
    "notary: algorithm that COSE does not know": row(
        Code.SIGNATURE_INVALID, cose(protected={1: 0}), "is ES256, found '0'", good=cose(), tampers=True
    ),
    # 11:30 in London, when it is 12:00 there; and 13:30, although it reads earlier
    "notary: expiry in another time zone": row(
        Code.SIGNATURE_EXPIRED, expiring("2026-11-21T17:00:00+05:30"), "expired at 2026-11-21T11:30:00Z",
        good=expiring("2026-11-21T05:30:00-08:00"),
    ),
    "notary: COSE of indefinite length": row(
        Code.MALFORMED, written_in_cbor(without_length), "an indefinite length", good=cose()
    ),
    "notary: COSE with a float": row(
        Code.MALFORMED, cose(protected={EXPIRY: at_a_fraction(SIGNED_AT + 90 * DAY)}), "a floating-point number",
        good=cose(),
    ),
    "notary: COSE with a float: in an attribute": row(
        Code.MALFORMED, cose(protected={"com.example.note": 1.5}), "a floating-point number",
        good=cose(protected={"com.example.note": 15}),
    ),
    "notary: bytes behind it": row(
        Code.MALFORMED, jws(then=lambda data: data + b"{}"), "not JSON", good=jws(then=lambda data: data + b"\n")
    ),
    "notary: bytes behind it: COSE": row(
        Code.MALFORMED, cose(then=lambda data: data + b"\0"), "bytes behind its end", good=cose()
    ),
    "notary: bytes behind the protected header": row(
        Code.MALFORMED, written_in_cbor(lambda protected: protected + b"\0"), "bytes behind its end",
        good=written_in_cbor(bytes),
    ),
    "notary: JWS that says it is COSE": row(
        Code.MALFORMED, layers(members(mediaType=made.COSE)), "a COSE_Sign1 with its tag expected"
    ),
    "notary: envelope of more than 1 MiB": row(
        Code.LIMIT_EXCEEDED, jws(then=lambda data: data.ljust(MIB + 1)), "at most 1048576 are read",
        good=jws(then=lambda data: data.ljust(MIB)),
    ),
    "notary: payload of more than 256 KiB": row(
        Code.LIMIT_EXCEEDED, jws(target={"annotations": {"a": "x" * (256 * KIB)}}), "payload: at most 262144 bytes",
        good=jws(target={"annotations": {"a": "x" * (255 * KIB)}}),
    ),
    "notary: manifest without a layer": row(
        Code.MALFORMED, listed(members(layers=[])), "has 0 layers, one expected"
    ),
    "notary: manifest of two layers": row(
        Code.MALFORMED, layers(as_it_is, as_it_is), "has 2 layers, one expected", good=layers(as_it_is)
    ),
    "notary: manifest of a withdrawn kind": row(
        Code.UNSUPPORTED, enveloped(lambda image: made.sign_jws(spec_of(image), RELEASE), change=withdrawn,
                                    stored_as=ARTIFACT_MANIFEST),
        ARTIFACT_MANIFEST, good=listed(legacy_manifest),
    ),
    "notary: manifest of another image, listed for this one": row(
        Code.MALFORMED, moved(), "as its subject"
    ),
    "notary: manifest without a subject, listed for this one": row(
        Code.MALFORMED, moved(members(subject=None)), "names nothing as its subject"
    ),
    "notary: copied signature": row(Code.SUBJECT_MISMATCH, copied, "expected, and 'sha256:"),
    "notary: an unreadable one beside a good one": row(
        Code.MALFORMED, jws(then=lambda data: b"\0" + data), "not JSON",
        good=all_of(jws(then=lambda data: b"\0" + data), jws(then=flipped), jws()),
    ),
}  # fmt: skip
