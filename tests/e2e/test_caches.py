"""Countersign in a cluster through an outage of its registry, a restart, and with the cache that replicas share.

What was verified goes on being admitted while nobody can look again, and says so; what was not is denied as something
that could not be examined, whether it runs or not. docs/failures.md and docs/cache.md tell it. Alone in its cluster.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.cluster import components, images
from tests.cluster.cluster import Cluster
from tests.e2e import api, install
from tests.e2e.alone import HERE, Alone
from tests.e2e.install import ENFORCED, NAME, wait_until
from tests.e2e.pods import pod
from tests.e2e.signing import Image, Key, Workshop

pytestmark = [pytest.mark.cluster, pytest.mark.packages("valkey-server", "valkey-cli")]

JUDGED, UNJUDGED = "cached", "uncached"  # namespaces: whether the webhook is asked about their pods
OPERATIONS_PORT = 8080
FRESH_SECONDS = 240.0  # a registry that is back is noticed within half a minute
LIFETIME = "COUNTERSIGN_CACHE_LIFETIME"
VALKEY = f"{NAME}-valkey"
VALKEY_IMAGE = {"registry": "localhost", "repository": "valkey", "tag": "test", "pullPolicy": "Never"}
_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Stage:
    """One image of each sort runs: `signed` by its digest, `tagged` by its tag, and `unsigned` where nobody asks."""

    alone: Alone
    workshop: Workshop
    key: Key
    tagged: Image

    @property
    def signed(self) -> Image:
        return self.alone.signed

    @property
    def unsigned(self) -> Image:
        return self.alone.unsigned

    def new(self, name: str) -> Image:
        """A signed image that nobody has asked about."""
        return self.workshop.sign_legacy(self.workshop.image(f"cached/{name}"), self.key)


@pytest.fixture(scope="module")
def stage(vacant_cluster: Cluster, image_archive: Path) -> Iterator[Stage]:
    """Findings are looked at again after a second, so that each review is one without an answer in an outage."""
    made = _set(vacant_cluster, image_archive)
    yield made
    for namespace in (JUDGED, UNJUDGED):
        vacant_cluster.kubectl("delete", "pods", "--all", f"--namespace={namespace}", "--grace-period=0", "--force")
    made.alone.helm("uninstall", NAME, "--wait")
    vacant_cluster.kubectl("delete", "namespaces", JUDGED, UNJUDGED, "inside", "--wait=false")


def _set(cluster: Cluster, image_archive: Path) -> Stage:
    directory = cluster.node.root / "tests/caches"
    (directory / "policies").mkdir(parents=True)
    workshop = Workshop(cluster, directory)
    key = workshop.key("release")
    signed, tagged = (workshop.sign_legacy(workshop.image(f"cached/{name}"), key) for name in ("signed", "tagged"))
    alone = Alone(cluster, directory, signed, workshop.image("cached/unsigned"))
    (directory / "policies/cached.yaml").write_text(install.policy("cached", {"release": key.pem}))
    install.inside(cluster, directory / "policies", directory, image_archive, settings={LIFETIME: "1"})
    for name, labels in ((JUDGED, {ENFORCED: "true"}), (UNJUDGED, {})):
        cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
        cluster.kubectl("wait", "--for=create", "serviceaccount/default", f"--namespace={name}", "--timeout=240s")
    wait_until(lambda: "no_signature" in alone.dry_run(alone.unsigned.pinned, namespace=JUDGED)[1], "it judges")
    for namespace, image in ((JUDGED, signed.pinned), (JUDGED, tagged.tagged), (UNJUDGED, alone.unsigned.pinned)):
        _run(cluster, namespace, image)
    for namespace in (JUDGED, UNJUDGED):
        cluster.kubectl("wait", "--for=condition=Ready", "pods", "--all", f"--namespace={namespace}", "--timeout=240s")
    return Stage(alone, workshop, key, tagged)


def _run(cluster: Cluster, namespace: str, image: str) -> None:
    made = pod(f"app-{next(_numbers)}", image, namespace=namespace)
    made["spec"]["containers"][0]["command"] = ["sleep", "infinity"]
    cluster.apply(made)


def test_a_digest_that_was_verified_is_admitted_while_its_registry_is_down(stage: Stage) -> None:
    new = stage.new("unseen")
    _all_examine(stage.alone, stage.signed)
    before = _counted_by_all(stage.alone, "stale_admissions", kind="presence")
    with _registry_down(stage.alone.cluster):
        wait_until(lambda: "stale" in _admitted(stage.alone, stage.signed), "nobody says anything newer", seconds=10)
        said = _admitted(stage.alone, stage.signed)["stale"]
        assert re.match(r"presence: \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ: registry_unavailable: ", said)
        _assert_not_examined(stage.alone, new)
    assert _counted_by_all(stage.alone, "stale_admissions", kind="presence") > before
    wait_until(lambda: "stale" not in _admitted(stage.alone, stage.signed), "it is asked again", seconds=FRESH_SECONDS)
    wait_until(lambda: _may_run(stage.alone, new), "so is what it was not asked", seconds=FRESH_SECONDS)


def test_what_runs_is_verified_again_after_a_restart_and_survives_the_next_outage(stage: Stage) -> None:
    _restart(stage.alone)
    _warmed(stage.alone, {"verified": 2, "denied": 1})
    with _registry_down(stage.alone.cluster):
        _assert_not_examined(stage.alone, stage.unsigned)  # that it runs says nothing
        for image in (stage.signed, stage.tagged):
            assert _may_run(stage.alone, image)


def test_replicas_share_documents_and_survive_a_restart_in_an_outage_but_need_no_valkey(stage: Stage) -> None:
    alone = stage.alone
    archive = alone.directory / "valkey.tar"
    images.write_archive(archive, images.of_host("localhost/valkey:test", "valkey-server", "valkey-cli"))
    alone.cluster.load(archive)
    values = {"enabled": "true"} | {f"image.{name}": value for name, value in VALKEY_IMAGE.items()}
    alone.upgrade(*(f"--set=valkey.{name}={value}" for name, value in values.items()))
    wait_until(lambda: len(alone.replicas()) == 2, "old replicas are gone")
    wait_until(lambda: _reach_valkey(alone, stage.unsigned), "both reach it")
    new = stage.new("shared")
    _all_examine(alone, new)
    assert sum(_counted_by_all(alone, "shared_cache", result=word) for word in ("hit", "joined")) > 0
    with _registry_down(alone.cluster):
        _restart(alone)
        _assert_not_examined(alone, stage.unsigned)
        assert _admitted(alone, stage.signed)  # by documents that were shared, verified again
    alone.cluster.kubectl("scale", f"deployment/{VALKEY}", "--replicas=0", HERE)
    alone.cluster.kubectl("wait", "--for=delete", "pods", "--selector=app.kubernetes.io/name=valkey", HERE)
    _all_examine(alone, stage.new("alone"))
    wait_until(lambda: "it answers" not in _notes(alone), "both say so")


def _restart(alone: Alone) -> None:
    """Other replicas run, and nobody has asked them anything."""
    alone.cluster.kubectl("rollout", "restart", f"deployment/{NAME}", HERE)
    alone.wait_until_ready()
    wait_until(lambda: len(alone.replicas()) == 2, "old replicas are gone")


def _warmed(alone: Alone, expected: Mapping[str, int]) -> None:
    """Each replica has looked at what runs."""
    for result, images_looked_at in expected.items():
        both = [images_looked_at] * 2
        is_so = functools.partial(_is_counted, alone, both, "warm_start_images", result=result)
        wait_until(is_so, f"each replica has found {images_looked_at} images {result}")


def _is_counted(alone: Alone, expected: list[int], metric: str, **labels: str) -> bool:
    return list(_counted(alone, metric, **labels).values()) == expected


def _all_examine(alone: Alone, image: Image) -> None:
    """Each replica was asked about `image`, which it admits, if not at once."""
    bundle = _bundle(alone)

    def admits(address: str) -> bool:
        allowed: bool = alone.ask(address, bundle, image.pinned, namespace=JUDGED)["allowed"]
        return allowed

    for address in alone.replicas().values():
        wait_until(functools.partial(admits, address), "it is admitted", seconds=FRESH_SECONDS)


def _bundle(alone: Alone) -> str:
    path = "--output=jsonpath={.webhooks[0].clientConfig.caBundle}"
    bundle: str = alone.cluster.kubectl("get", "validatingwebhookconfiguration", NAME, path).stdout
    return bundle


def _may_run(alone: Alone, image: Image) -> bool:
    return alone.dry_run(image.pinned, namespace=JUDGED)[0] == 0


def _admitted(alone: Alone, image: Image) -> Mapping[str, str]:
    """What the API server's audit log has of a new pod of `image`, which is admitted."""
    name = f"asked-{next(_numbers)}"
    options = (f"--image={image.pinned}", f"--namespace={JUDGED}", "--dry-run=server")
    alone.cluster.kubectl("run", name, *options)
    (event,) = (event for event in alone.cluster.audit() if event["objectRef"].get("name") == name)
    assert event["annotations"]["pods.countersign.dev/decision"] == "allow"
    return {key.rpartition("/")[2]: value for key, value in event["annotations"].items()}


def _assert_not_examined(alone: Alone, image: Image) -> None:
    with api.connect(alone.cluster, connections=1) as server:
        answer = server.create(pod("app", image.pinned, namespace=JUDGED), dry_run=True)
    assert answer.code == 503
    assert "registry_unavailable" in answer.message


@contextmanager
def _registry_down(cluster: Cluster) -> Iterator[None]:
    """While entered, nothing listens where replicas look for images."""
    cluster.node.end("registry-tls")
    try:
        yield
    finally:
        cluster.node.spawn("registry-tls", *components.REGISTRY_TLS)


def _counted(alone: Alone, metric: str, **labels: str) -> dict[str, float]:
    """What each replica has counted so far, by its name."""
    return {name: _total(text, metric, labels) for name, text in _said(alone, "/metrics").items()}


def _counted_by_all(alone: Alone, metric: str, **labels: str) -> float:
    return sum(_counted(alone, metric, **labels).values())


def _total(text: str, metric: str, labels: Mapping[str, str]) -> float:
    samples = (sample for family in text_string_to_metric_families(text) for sample in family.samples)
    wanted = f"countersign_{metric}_total"
    return sum(one.value for one in samples if one.name == wanted and labels.items() <= one.labels.items())


def _reach_valkey(alone: Alone, unsigned: Image) -> bool:
    """Whether each replica finds that the shared cache answers, now that it looks for the documents of an image."""
    for address in alone.replicas().values():
        alone.ask(address, _bundle(alone), unsigned.pinned, namespace=JUDGED)
    return _notes(alone) == ["it answers", "it answers"]


def _notes(alone: Alone) -> list[str]:
    """How each replica says that the shared cache answers."""
    texts = _said(alone, "/readyz?verbose").values()
    return [httpx.Response(200, text=text).json()["notes"]["shared-cache"] for text in texts]


def _said(alone: Alone, path: str) -> dict[str, str]:
    found = {}
    for name, address in alone.replicas().items():
        with alone.cluster.reach(OPERATIONS_PORT, address) as (host, port):
            found[name] = httpx.get(f"http://{host}:{port}{path}", timeout=5).text
    return found
