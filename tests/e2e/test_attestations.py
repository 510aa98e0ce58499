"""Attestations by the real cosign, admitted and denied by condition; each image has a legacy signature besides."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.cluster.cluster import Cluster
from tests.e2e.conftest import BUILDER, PROVENANCE
from tests.e2e.pods import pod
from tests.e2e.signing import Image, Key, Workshop

pytestmark = pytest.mark.cluster

OTHER_BUILDER = {"runDetails": {"builder": {"id": "https://laptop.example/mallory"}}}
RIGHT = {"runDetails": {"builder": {"id": BUILDER}}}

Make = Callable[[str], Image]


@pytest.fixture(scope="session")
def make(workshop: Workshop, keys: dict[str, Key]) -> Make:
    """An image of this name, with a legacy signature that its policies want besides any attestation."""
    return lambda name: workshop.sign_legacy(workshop.image(f"attested/{name}"), keys["release"])


@pytest.mark.parametrize("legacy", [False, True], ids=["bundle", "att-tag"])
def test_attestation_that_holds_is_admitted(
    cluster: Cluster, workshop: Workshop, keys: dict[str, Key], make: Make, namespace: str, legacy: bool
) -> None:
    image = workshop.attest(make(f"good-{namespace}"), keys["release"], RIGHT, kind="slsaprovenance1", legacy=legacy)
    cluster.apply(pod("app", image.tagged, namespace=namespace))


@pytest.mark.parametrize("legacy", [False, True], ids=["bundle", "att-tag"])
def test_attestation_whose_condition_is_false_is_denied(
    cluster: Cluster, workshop: Workshop, keys: dict[str, Key], make: Make, namespace: str, legacy: bool
) -> None:
    image = make(f"bad-{namespace}")
    workshop.attest(image, keys["release"], OTHER_BUILDER, kind="slsaprovenance1", legacy=legacy)
    said = denied(cluster, image, namespace)
    assert "claim_mismatch" in said
    assert "laptop.example/mallory" in said


def test_attestation_that_is_missing_is_denied(cluster: Cluster, make: Make, namespace: str) -> None:
    said = denied(cluster, make(f"bare-{namespace}"), namespace)
    assert "no_signature" in said
    assert f"no attestation of type {PROVENANCE}" in said


def test_attestation_of_another_type_is_denied(
    cluster: Cluster, workshop: Workshop, keys: dict[str, Key], make: Make, namespace: str
) -> None:
    image = workshop.attest(make(f"type-{namespace}"), keys["release"], RIGHT, kind="slsaprovenance", legacy=False)
    assert "no_signature" in denied(cluster, image, namespace)


def test_attestation_by_a_stranger_is_denied(
    cluster: Cluster, workshop: Workshop, keys: dict[str, Key], make: Make, namespace: str
) -> None:
    image = workshop.attest(make(f"who-{namespace}"), keys["stranger"], RIGHT, kind="slsaprovenance1", legacy=False)
    assert "signature_invalid" in denied(cluster, image, namespace)


def test_attestation_copied_from_another_image_is_denied(
    cluster: Cluster, workshop: Workshop, keys: dict[str, Key], make: Make, namespace: str
) -> None:
    source = workshop.attest(make(f"from-{namespace}"), keys["release"], RIGHT, kind="slsaprovenance1", legacy=True)
    target = workshop.copy_attestation(source, make(f"to-{namespace}"))
    said = denied(cluster, target, namespace)
    assert "subject_mismatch" in said
    assert source.digest in said


def denied(cluster: Cluster, image: Image, namespace: str) -> str:
    """What the API server says to whoever creates a pod of `image`, which it refuses."""
    said = cluster.apply(pod("app", image.pinned, namespace=namespace), check=False)
    assert said.returncode == 1
    assert "Forbidden" in said.stderr
    return said.stderr
