"""The main job: a signed image is admitted and runs, any other is denied with a text that stands alone."""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter

import pytest

from tests.cluster.cluster import Cluster
from tests.e2e import api
from tests.e2e.conftest import HELP, Shelf
from tests.e2e.install import SILENT_REGISTRY
from tests.e2e.pods import pod
from tests.e2e.signing import Workshop
from tests.e2e.words import heading

pytestmark = pytest.mark.cluster

SIGNED = ("legacy", "bundle", "index_legacy", "index_bundle")


def test_signed_images_are_admitted_and_run(cluster: Cluster, shelf: Shelf, namespace: str) -> None:
    """Both forms, one platform and several, by tag and by digest."""
    wanted = {}
    for name in SIGNED:
        image = attrgetter(name)(shelf)
        for reference in (image.tagged, image.pinned):
            wanted[f"{name.replace('_', '-')}-{'pinned' if '@' in reference else 'tagged'}"] = reference
    cluster.apply(*(pod(name, reference, namespace=namespace) for name, reference in wanted.items()))
    ended = "--for=jsonpath={.status.phase}=Succeeded"
    cluster.kubectl("wait", ended, "pods", "--all", f"--namespace={namespace}", "--timeout=240s")
    said = {name: cluster.kubectl("logs", name, f"--namespace={namespace}").stdout for name in wanted}
    assert {name: text.startswith("registry.test/shop/") for name, text in said.items()} == dict.fromkeys(wanted, True)


def test_exempt_image_is_admitted_unsigned(cluster: Cluster, shelf: Shelf, namespace: str) -> None:
    cluster.kubectl("run", "exempt", f"--image={shelf.exempt.tagged}", f"--namespace={namespace}")


@dataclass(frozen=True, slots=True)
class Denial:
    """`image` is one of the shelf; `finding` is what the signer's line says, `remedy` the line after it."""

    image: str
    code: str
    finding: str
    remedy: str


NOTHING = "nothing signed with this key was found for this digest"
OTHER_KEY = "1 cosign signature found, it does not verify with this key"
ANOTHER = "a valid signature, but of another image: "
DENIALS = (
    Denial("unsigned", "no_signature", NOTHING, "sign this digest and retry"),
    Denial("listed", "no_signature", NOTHING, "sign this digest and retry"),
    Denial("moved", "no_signature", NOTHING, "sign this digest and retry"),
    Denial("wrong_key", "signature_invalid", OTHER_KEY, "sign this digest with a key that is trusted and retry"),
    Denial("edited", "signature_invalid", OTHER_KEY, "sign this digest with a key that is trusted and retry"),
    Denial("copied", "subject_mismatch", ANOTHER + "'{legacy}'", "sign this digest itself and retry"),
    Denial("redirected_bundle", "subject_mismatch", ANOTHER + "'{bundle}'", "sign this digest itself and retry"),
    Denial(
        "copied_bundle",
        "malformed",
        "the referrer {referrer} names {bundle} as its subject",
        "sign this digest again and retry",
    ),
)


@pytest.mark.parametrize("denial", DENIALS, ids=attrgetter("image"))
@pytest.mark.parametrize("how", ["tagged", "pinned"])
def test_other_image_is_denied_with_this_text(
    cluster: Cluster, workshop: Workshop, shelf: Shelf, namespace: str, revision: str, denial: Denial, how: str
) -> None:
    image = attrgetter(denial.image)(shelf)
    reference = attrgetter(how)(image)
    said = cluster.kubectl("run", "app", f"--image={reference}", f"--namespace={namespace}", check=False)
    finding = denial.finding.format(
        legacy=shelf.legacy.digest,
        bundle=shelf.bundle.digest,
        referrer=workshop.referrer(shelf.bundle),
    )
    assert said.returncode == 1
    assert said.stderr == (
        "Error from server (Forbidden): "
        + heading('container "app" (spec.containers[0])', reference, image)
        + f'  policy "production" (rev {revision[:7]}) wants a signature by release\n'
        f"  - release  {denial.code}   {finding}\n"
        f"  {denial.remedy}: https://countersign.dev/docs/denied.md#{denial.code}\n"
        f"  {HELP}\n"
    )


def test_one_bad_image_denies_the_pod(cluster: Cluster, shelf: Shelf, namespace: str) -> None:
    both = pod("both", shelf.legacy.pinned, shelf.unsigned.pinned, namespace=namespace)
    said = cluster.apply(both, check=False)
    assert said.returncode == 1
    assert 'container "extra1" (spec.containers[1])' in said.stderr
    assert 'container "main"' not in said.stderr


def test_image_that_is_not_there_is_denied(cluster: Cluster, namespace: str) -> None:
    missing = "--image=registry.test/shop/missing:1"
    said = cluster.kubectl("run", "app", missing, f"--namespace={namespace}", check=False)
    assert "image_not_found" in said.stderr


def test_registry_that_does_not_answer_is_no_refusal(cluster: Cluster, namespace: str) -> None:
    """The status is that of a failure, so that alerts can tell it from a policy's denial."""
    silent = pod("app", f"{SILENT_REGISTRY}/shop/app:1", namespace=namespace)
    with api.connect(cluster, connections=1) as server:  # kubectl would come back ten times
        answer = server.create(silent)
    assert answer.code == 503
    assert "registry_unavailable" in answer.message
