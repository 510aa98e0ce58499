"""Evidence of a private Sigstore beside images in a registry, judged by a policy as a user writes it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.doubles import verifying
from tests.doubles.verifying import NAME, Cluster, told
from tests.private_sigstore import attach
from tests.private_sigstore.instance import PrivateSigstore
from webhook.errors import Code
from webhook.policy.decision import Result

SIGSTORE = PrivateSigstore()
SLSA = "https://slsa.dev/provenance/v1"
DEV = {"name": "dev", "issuer": "https://issuer.example.com", "subject": "dev@example.com", "trustRoot": "private"}


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    async with verifying.opened() as cluster:
        yield cluster


def policy(cluster: Cluster, **more: object) -> None:
    root = {"name": "private", "trustedRoot": SIGSTORE.trusted_root().decode()}
    spec = {"mode": "enforce", "keyless": [DEV], "trustRoots": [root], **more}
    head = {"apiVersion": "countersign.dev/v1", "kind": "TrustPolicy", "metadata": {"name": "production"}}
    cluster.policies.append({**head, "spec": spec})


@pytest.mark.parametrize("form", ["bundle", "legacy"])
async def test_signature_admits_its_image_and_no_other(cluster: Cluster, form: str) -> None:
    policy(cluster)
    image, other = cluster.image("signed", tag="1"), cluster.image("other", tag="2")
    for beside in (image, other):
        if form == "bundle":
            attach.bundle(cluster.stored, NAME, beside, SIGSTORE.keyless_bundle(image))
        else:
            attach.signatures(cluster.stored, NAME, beside, [SIGSTORE.legacy_signature(image)])
    assert told(await cluster.verify(f"@{image}")) == (Result.VERIFIED, None)
    assert told(await cluster.verify(f"@{other}")) == (Result.DENIED, Code.SUBJECT_MISMATCH)


@pytest.mark.parametrize("form", ["bundle", "legacy"])
async def test_attestation_is_demanded_and_is_no_signature(cluster: Cluster, form: str) -> None:
    policy(cluster, rules=[{"images": ["**"], "require": "none", "attestations": [{"predicateType": SLSA}]}])
    image = cluster.image()
    assert told(await cluster.verify(f"@{image}")) == (Result.DENIED, Code.NO_SIGNATURE)
    if form == "bundle":
        data = SIGSTORE.keyless_bundle(image, predicate_type=SLSA)
        attach.bundle(cluster.stored, NAME, image, data, predicate_type=SLSA)
    else:
        layer = SIGSTORE.legacy_attestation(image, predicate_type=SLSA)
        attach.attestations(cluster.stored, NAME, image, [layer])
    assert told(await cluster.verify(f"@{image}")) == (Result.VERIFIED, None)
    cluster.policies.clear()
    policy(cluster)
    assert (await cluster.verify(f"@{image}")).result is Result.DENIED
