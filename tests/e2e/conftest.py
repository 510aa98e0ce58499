"""The stage of the end-to-end tests: images with and without signatures, and Countersign outside and inside a cluster.

All of it is made once. A test asks for a `namespace`, which belongs to one of the two webhooks (`by`), and is alone
in it; by default a test is run with each of them in turn.
"""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.cluster.cluster import Cluster
from tests.e2e import install
from tests.e2e.alone import Alone, install_alone
from tests.e2e.install import ENFORCED, LABEL, Webhook
from tests.e2e.signing import Image, Key, Workshop
from webhook.policy import document

HELP = "ask in #platform, or see the runbook"
REACHED_SECONDS = 30.0
PROVENANCE = "https://slsa.dev/provenance/v1"
BUILDER = "https://builder.example/release"
_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Shelf:
    """What the registry holds. The key `release` is trusted, `stranger` is not."""

    legacy: Image
    bundle: Image
    index_legacy: Image
    index_bundle: Image
    listed: Image  # what the signed index lists for one platform has no signature of its own
    unsigned: Image
    wrong_key: Image  # signed, by `stranger`
    edited: Image  # the signature's payload was edited to name this digest
    copied: Image  # the signature is another image's
    copied_bundle: Image  # and so is this one, a bundle
    redirected_bundle: Image  # and this one, in a referrer that was made for this image
    moved: Image  # the tag was signed; then another image was pushed under it
    exempt: Image
    retired: Image  # signed by the key `retired`, which one policy trusts until a test changes it


@pytest.fixture(scope="session")
def workshop(cluster: Cluster) -> Workshop:
    return Workshop(cluster, _directory(cluster, "signing"))


@pytest.fixture(scope="session")
def keys(workshop: Workshop) -> dict[str, Key]:
    return {name: workshop.key(name) for name in ("release", "retired", "stranger")}


@pytest.fixture(scope="session")
def shelf(workshop: Workshop, keys: dict[str, Key]) -> Shelf:
    def image(name: str) -> Image:
        return workshop.image(f"shop/{name}")

    release = keys["release"]
    legacy = workshop.sign_legacy(image("legacy"), release)
    bundle = workshop.sign_bundle(image("bundle"), release)
    index = workshop.sign_legacy(workshop.index("shop/index-legacy"), release)
    workshop.sign_legacy(image("moved"), release)
    return Shelf(
        legacy=legacy,
        bundle=bundle,
        index_legacy=index,
        index_bundle=workshop.sign_bundle(workshop.index("shop/index-bundle"), release),
        listed=workshop.listed(index),
        unsigned=image("unsigned"),
        wrong_key=workshop.sign_legacy(image("wrong-key"), keys["stranger"]),
        edited=workshop.edit_signature(legacy, image("edited")),
        copied=workshop.copy_signature(legacy, image("copied")),
        copied_bundle=workshop.copy_bundle(bundle, image("copied-bundle")),
        redirected_bundle=workshop.redirect_bundle(bundle, image("redirected-bundle")),
        moved=workshop.image("shop/moved", text="something else"),
        exempt=workshop.image("addons/exempt"),
        retired=workshop.sign_legacy(workshop.image("retired/app"), keys["retired"]),
    )


@pytest.fixture(scope="session")
def policies(cluster: Cluster, keys: dict[str, Key]) -> Path:
    """Three policies: `production` for most namespaces, `retirement` for the one called so, `provenance` besides."""
    directory = _directory(cluster, "policies")
    production = install.policy(
        "production",
        {"release": keys["release"].pem},
        namespaces={"exclude": ["retirement"]},
        exemptRegistries=["registry.test/addons"],
        help=HELP,
    )
    (directory / "production.yaml").write_text(production)
    (directory / "provenance.yaml").write_text(provenance({"release": keys["release"].pem}))
    (directory / "retirement.yaml").write_text(retirement({"retired": keys["retired"].pem}))
    return directory


@pytest.fixture(scope="session")
def revision(policies: Path) -> str:
    """Of the policy `production`, as messages name it."""
    data = (policies / "production.yaml").read_bytes()
    (policy,) = document.parse(data, origin="production.yaml", now=datetime.now(UTC))
    return policy.revision


def retirement(keys: dict[str, str]) -> str:
    return install.policy("retirement", keys, namespaces={"include": ["retirement"]})


def provenance(keys: dict[str, str]) -> str:
    """For the namespaces of tests of attestations, where `production` wants a signature already."""
    demand = {"predicateType": PROVENANCE, "condition": f'predicate.runDetails.builder.id == "{BUILDER}"'}
    rule = {"images": ["registry.test/attested/**"], "require": "none", "attestations": [demand]}
    return install.policy("provenance", keys, namespaces={"include": ["test-attestation-*"]}, rules=[rule])


@pytest.fixture(scope="session")
def outside(cluster: Cluster, policies: Path, shelf: Shelf) -> Webhook:
    webhook = install.outside(cluster, policies, _directory(cluster, "outside"))
    _wait_until_reached(cluster, webhook, shelf)
    return webhook


@pytest.fixture(scope="session")
def inside(cluster: Cluster, policies: Path, shelf: Shelf, image_archive: Path) -> Webhook:
    webhook = install.inside(cluster, policies, _directory(cluster, "inside"), image_archive)
    _wait_until_reached(cluster, webhook, shelf)
    return webhook


@pytest.fixture(scope="session")
def alone(another_cluster: Cluster, image_archive: Path) -> Alone:
    return install_alone(another_cluster, image_archive)


@pytest.fixture(params=["outside", "inside"])
def by(request: pytest.FixtureRequest) -> str:
    """Which webhook is asked; it runs."""
    webhook: Webhook = request.getfixturevalue(request.param)
    return webhook.by


@pytest.fixture
def namespace(request: pytest.FixtureRequest, cluster: Cluster, by: str) -> Iterator[str]:
    """A new namespace whose pods are judged; it is named after the test, and gone afterwards."""
    words = re.sub("[^a-z0-9]+", "-", request.node.name.lower()).strip("-")
    name = f"{words[:50]}-{next(_numbers)}"
    new_namespace(cluster, name, by)
    yield name
    cluster.kubectl("delete", "namespace", name, "--wait=false")


def new_namespace(cluster: Cluster, name: str, by: str) -> None:
    labels = {LABEL: by} | ({ENFORCED: "true"} if by == "inside" else {})
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
    cluster.kubectl("wait", "--for=create", "serviceaccount/default", f"--namespace={name}", "--timeout=240s")


def _wait_until_reached(cluster: Cluster, webhook: Webhook, shelf: Shelf) -> None:
    """Pods that are ready are not yet reached: kube-proxy hears of them a moment later."""
    namespace = f"{webhook.by}-first"
    new_namespace(cluster, namespace, webhook.by)
    probe = ("run", "probe", f"--image={shelf.exempt.pinned}", f"--namespace={namespace}", "--dry-run=server")
    deadline = time.monotonic() + REACHED_SECONDS
    while (done := cluster.kubectl(*probe, check=False)).returncode:
        assert time.monotonic() < deadline, done.stderr
        time.sleep(0.1)


def _directory(cluster: Cluster, name: str) -> Path:
    """A new directory that the node sees too."""
    directory = cluster.node.root / "tests" / name
    directory.mkdir(parents=True)
    return directory
