"""Signatures by the real notation, admitted and denied next to cosign's, in one policy.

In one registry they are listed by the fallback tag, in the other by the referrers API. Pods are never scheduled: what
is asked for is the API server's answer.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import pytest

from tests.cluster.cluster import Cluster
from tests.cluster.components import REGISTRY
from tests.doubles.registry import running
from tests.e2e import install
from tests.e2e.conftest import new_namespace
from tests.e2e.pods import pod
from tests.e2e.signing import Certificate, Image, Key, Workshop
from webhook.demo.registry import MemoryRegistry

pytestmark = pytest.mark.cluster

PORT = 5050
LISTING = f"127.0.0.1:{PORT}"  # the registry with the referrers API, as the node sees it
FORMS = ("jws", "cose")
SUBJECT = "C=US, ST=WA, L=Seattle, O=Notary"  # of test certificates: notation's own

Admit = Callable[[Image], str]


class Make(Protocol):
    def __call__(self, path: str, *, referrers: bool = False) -> Image: ...


@pytest.fixture(scope="module")
def listing(cluster: Cluster) -> Iterator[str]:
    """A registry with the referrers API runs on the host, and is offered to the node."""
    loop, stop, ready = asyncio.new_event_loop(), asyncio.Event(), threading.Event()
    found: list[str] = []

    async def serve() -> None:
        async with running(MemoryRegistry()) as host:
            found.append(host)
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), daemon=True)
    thread.start()
    assert ready.wait(10)
    with cluster.offer(PORT, int(found[0].rpartition(":")[2])):
        yield LISTING
    loop.call_soon_threadsafe(stop.set)
    thread.join(10)
    loop.close()


@pytest.fixture(scope="module")
def certificates(workshop: Workshop) -> dict[str, Certificate]:
    return {name: workshop.certificate(name) for name in ("acme", "partner", "stranger")}


@pytest.fixture(scope="module")
def admit(
    cluster: Cluster, workshop: Workshop, keys: dict[str, Key], certificates: dict[str, Certificate], listing: str
) -> Iterator[Admit]:
    """What a webhook of its own, under one policy of cosign and Notary Project signers, says to a pod of an image."""
    directory = cluster.node.root / "tests" / "notation"
    policies = directory / "policies"
    policies.mkdir(parents=True)
    (policies / "notary.yaml").write_text(_policy(keys["release"], certificates, listing))
    webhook = install.outside(cluster, policies, directory, by="notary", ports=(9543, 8180), plain=listing)
    new_namespace(cluster, "notary-pods", webhook.by)
    names = (f"pod-{number}" for number in itertools.count(1))

    def said(image: Image) -> str:
        done = cluster.apply(pod(next(names), image.pinned, namespace="notary-pods", scheduled=False), check=False)
        assert done.returncode == 0 or "Forbidden" in done.stderr, done.stderr
        return done.stderr

    unsigned, deadline = workshop.image("any/unsigned"), time.monotonic() + install.READY_SECONDS
    while not said(unsigned):  # the API server hears of a webhook a moment later
        assert time.monotonic() < deadline
        time.sleep(0.1)
    yield said
    cluster.kubectl("delete", "namespace", "notary-pods", "--wait=false")


def _policy(release: Key, certificates: dict[str, Certificate], listing: str) -> str:
    """A repository's path says which rule it has; signers are one key of cosign's, and two certificates."""
    trusted = [certificates["acme"], certificates["partner"]]
    registries = (REGISTRY, listing)
    demands: dict[str, object] = {"any": "any", "all": "all", "two": 2}
    rules = [{"images": [f"{host}/{path}" for host in registries], "require": many} for path, many in demands.items()]
    return install.policy(
        "notary",
        {"release": release.pem},
        trustStores=[{"name": one.name, "type": "ca", "certificates": one.pem} for one in trusted],
        certificates=[
            {"name": one.name, "trustStore": one.name, "subjects": [f"{SUBJECT}, CN={one.name}"]} for one in trusted
        ],
        rules=rules,
    )


@pytest.fixture(scope="module")
def make(workshop: Workshop, listing: str) -> Make:
    """A new image below that path: in the registry without referrers API, or the one with it."""
    numbers = itertools.count(1)

    def new(path: str, *, referrers: bool = False) -> Image:
        image = workshop.image(f"{path}/notation-{next(numbers)}")
        return workshop.copy(image, listing) if referrers else image

    return new


@pytest.mark.parametrize("referrers", [False, True], ids=["fallback-tag", "referrers-api"])
@pytest.mark.parametrize("form", FORMS)
def test_an_image_signed_by_notation_is_admitted(
    workshop: Workshop, certificates: dict[str, Certificate], make: Make, admit: Admit, form: str, referrers: bool
) -> None:
    assert admit(workshop.sign_notary(make("any", referrers=referrers), certificates["acme"], form=form)) == ""


@pytest.mark.parametrize("referrers", [False, True], ids=["fallback-tag", "referrers-api"])
@pytest.mark.parametrize("form", FORMS)
def test_another_certificate_is_denied(
    workshop: Workshop, certificates: dict[str, Certificate], make: Make, admit: Admit, form: str, referrers: bool
) -> None:
    image = workshop.sign_notary(make("any", referrers=referrers), certificates["stranger"], form=form)
    assert "untrusted_material" in admit(image)


@pytest.mark.parametrize("referrers", [False, True], ids=["fallback-tag", "referrers-api"])
def test_an_unsigned_image_is_denied(make: Make, admit: Admit, referrers: bool) -> None:
    assert "no_signature" in admit(make("any", referrers=referrers))


@pytest.mark.parametrize("form", FORMS)
def test_a_signature_copied_from_another_image_is_denied(
    workshop: Workshop, certificates: dict[str, Certificate], make: Make, admit: Admit, form: str
) -> None:
    source = workshop.sign_notary(make("any"), certificates["acme"], form=form)
    said = admit(workshop.redirect_bundle(source, make("any")))
    assert "subject_mismatch" in said
    assert source.digest in said


@pytest.mark.parametrize("form", FORMS)
def test_an_envelope_that_was_edited_is_denied(
    workshop: Workshop, certificates: dict[str, Certificate], make: Make, admit: Admit, form: str
) -> None:
    source = workshop.sign_notary(make("any"), certificates["acme"], form=form)
    assert "signature_invalid" in admit(workshop.edit_envelope(source, make("any")))


@dataclass(frozen=True, slots=True)
class Mixed:
    """Whose signatures there are, and whether that is enough for the rule of that name."""

    rule: str
    signers: tuple[str, ...]
    code: str = ""  # of the denial

    def __str__(self) -> str:
        return f"{self.rule}-{'+'.join(self.signers)}"


MIXED = (
    Mixed("any", ("release",)),
    Mixed("any", ("partner",)),
    Mixed("any", ("stranger",), "untrusted_material"),
    Mixed("two", ("release", "acme")),
    Mixed("two", ("acme", "partner")),
    Mixed("two", ("acme", "acme"), "not_enough_signers"),
    Mixed("two", ("release", "stranger"), "not_enough_signers"),
    Mixed("all", ("release", "acme", "partner")),
    Mixed("all", ("release", "acme"), "not_enough_signers"),
)


@pytest.mark.parametrize("mixed", MIXED, ids=str)
def test_signatures_of_both_kinds_count_together(
    workshop: Workshop,
    keys: dict[str, Key],
    certificates: dict[str, Certificate],
    make: Make,
    admit: Admit,
    mixed: Mixed,
) -> None:
    image = make(mixed.rule)
    for name in mixed.signers:
        if name in certificates:
            workshop.sign_notary(image, certificates[name])
        else:
            workshop.sign_legacy(image, keys[name])
    said = admit(image)
    assert mixed.code in said
    assert bool(said) is bool(mixed.code)
