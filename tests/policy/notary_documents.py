"""Profiles, certificate rules and trust stores of policy documents, in one line each, for the tests of what is said of
them, and the certificates that stand in them."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

from cryptography import x509

from tests.policy.documents import NOW
from tests.private_sigstore import authority, documents
from tests.private_sigstore.authority import Leaf
from webhook.demo import signing
from webhook.trust.notary import stores

YEAR = timedelta(days=365)
CA = authority.root("Example Root", NOW - YEAR, NOW + YEAR)
CA_PEM = documents.pem(CA.certificate)
OTHER_PEM = documents.pem(authority.root("Other Root", NOW - YEAR, NOW + YEAR).certificate)
EXPIRED_PEM = documents.pem(authority.root("Old Root", NOW - YEAR, NOW - timedelta(seconds=1)).certificate)
ENDING_PEM = documents.pem(authority.root("Ending Root", NOW - YEAR, NOW + timedelta(days=30)).certificate)
LASTING_PEM = documents.pem(authority.root("Root", NOW - YEAR, NOW + timedelta(days=30, seconds=1)).certificate)
LEAF_PEM = documents.pem(CA.issue(signing.new_key(), NOW, Leaf()))
INTERMEDIATE_PEM = documents.pem(CA.intermediate("Below", NOW - YEAR, NOW + YEAR).certificate)


def aws_pem(name: str = "aws-signer") -> str:
    """The root in a built-in store."""
    store = stores.built_in(name)
    assert store is not None
    return documents.pem(x509.load_der_x509_certificate(store.certificates[0]))


ARN = "arn:aws:signer:us-west-2:111122223333:/signing-profiles/ecr_profile"
VERSION = f"{ARN}/AbCdEf1234"
SUBJECT = "C=US, ST=WA, O=acme.example"


def _listed(field: str, entries: tuple[dict[str, Any], ...], defaults: dict[str, Any]) -> str:
    shown = [{name: value for name, value in {**defaults, **one}.items() if value is not None} for one in entries]
    return f"  {field}: {json.dumps(shown)}\n"


def profiles(*entries: dict[str, Any]) -> str:
    """`signerProfiles`; a field that is `None` is left out."""
    return _listed("signerProfiles", entries, {"name": "ecr", "arn": ARN})


def certificates(*entries: dict[str, Any]) -> str:
    return _listed("certificates", entries, {"name": "acme", "trustStore": "acme", "subjects": [SUBJECT]})


def store(*entries: dict[str, Any]) -> str:
    return _listed("trustStores", entries, {"name": "acme", "type": "ca", "certificates": CA_PEM})


def marked(text: str) -> str:
    """`text`, of which its last line is where a mistake is."""
    return text.removesuffix("\n") + " #!\n"


ACME = store({})
TSA = {"name": "clock", "type": "tsa"}
ACME_AND_CLOCK = store({}, TSA)
PROFILES, CERTIFICATES = profiles({}), certificates({}) + ACME
