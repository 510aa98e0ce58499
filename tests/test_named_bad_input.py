"""Bad signatures and attestations by name, each as an image in a registry, judged whole by the policy of a user.

Every row is a near miss with the acceptance beside it: the same policy, and evidence that differs in the one thing that
the row is named after. A row says by which code the near miss is refused and whether it proves tampering, by which a
policy that only warns denies too; and neither of the two hides the other where both are beside one image. The names of
vulnerabilities are those of verifiers that took such a thing for good; what no image can show is in `ELSEWHERE`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from tests.bad_input import aws, limits, notary, revocation, traps, vulnerabilities
from tests.bad_input import listed as named
from tests.bad_input.makers import Row
from tests.bad_input.world import World, surrounded
from tests.doubles.registry import Given, HostileRegistry, client, listed, on, running
from tests.doubles.verifying import NAME, Cluster, opened, told
from tests.private_sigstore import images
from tests.private_sigstore.images import (
    bundle,
    signature,
)
from webhook import settings
from webhook.demo.registry import Incoming, Outgoing, StoredManifest
from webhook.errors import Code
from webhook.evidence.collect import Collector
from webhook.evidence.model import Evidence
from webhook.judging import Judgement, Question
from webhook.oci.authn import Credential
from webhook.policy import decide
from webhook.policy.decision import ImageDecision, Result
from webhook.settings import NoMatch
from webhook.verification import Verifier

NOTATION = (notary.CODES, notary.BY_NAME, revocation.REVOCATION, aws.AWS)
TABLES = (named.NAMED, vulnerabilities.VULNERABILITIES, traps.TRAPS, limits.LIMITS, limits.CODES, *NOTATION)
ROWS: Mapping[str, Row] = {name: row for table in TABLES for name, row in table.items()}


def opening(name: str) -> AbstractAsyncContextManager[Cluster]:
    """The world of a row: with all who are asked about revocation, where signatures are that they are asked about."""
    if any(name in table for table in NOTATION):
        return surrounded()
    return opened(NoMatch.ALLOW, stored=HostileRegistry())


async def judged(cluster: Cluster, row: Row, image: str, *, mode: str = "enforce") -> ImageDecision:
    fields = images.spec(**row.asked, mode=mode)
    head = {"apiVersion": "countersign.dev/v1", "kind": "TrustPolicy", "metadata": {"name": "production"}}
    cluster.policies[:] = [{**head, "spec": fields}]
    return await cluster.verify(f"@{image}")


@pytest.mark.parametrize("name", ROWS)
async def test_near_miss_is_refused_by_its_code_and_the_acceptance_beside_it_is_verified(name: str) -> None:
    row = ROWS[name]
    async with opening(name) as cluster:
        good, bad = cluster.image("good", tag="1"), cluster.image("bad", tag="2")
        row.good(cluster, good)
        admitted = await judged(cluster, row, good)
        assert told(admitted) == (Result.VERIFIED, None), admitted.detail

        row.bad(cluster, bad)
        before = asked_of(cluster)
        refused = await judged(cluster, row, bad)
        result = Result.DENIED if row.status == 403 else Result.ERROR
        assert (*told(refused), decide.image_status(refused)) == (result, row.code, row.status), refused.detail
        assert row.words in everything_told(refused)
        # Or anybody who may push could spend what AWS grants us, and have us ask wherever he likes
        assert asked_of(cluster) == before or row.code in (Code.REVOKED, Code.REVOCATION_UNKNOWN)

        warned = await judged(cluster, row, bad, mode="warn")
        assert told(warned) == (Result.DENIED if row.tampers else Result.WARNED, row.code), warned.detail

        if not row.alone:
            row.good(cluster, bad)
            both = await judged(cluster, row, bad)
            assert told(both) == (Result.VERIFIED, None), f"beside what is bad: {both.detail}"


def asked_of(cluster: Cluster) -> int:
    return cluster.asked if isinstance(cluster, World) else 0


def everything_told(decision: ImageDecision) -> str:
    outcomes = [outcome.detail for policy in decision.policies for outcome in policy.outcomes]
    return "\n".join([decision.detail, *outcomes])


def test_every_code_of_evidence_has_a_row() -> None:
    assert len(ROWS) == sum(map(len, TABLES)), "a name stands twice"
    of_reviews = {Code.REFERENCE_INVALID, Code.TOO_MANY_REFERENCES, Code.OVERLOADED, Code.TAG_NOT_ALLOWED}
    of_pinning = {Code.NOT_PINNED}
    of_policies = {Code.NO_POLICY, Code.POLICY_UNAVAILABLE}
    of_registries = {Code.IMAGE_NOT_FOUND, Code.NOT_CACHED, Code.HOST_REFUSED}
    below = {Code.DEADLINE_EXCEEDED, Code.INTERNAL_ERROR, Code.CROSSCHECK_DISAGREEMENT}
    told_elsewhere = of_reviews | of_pinning | of_policies | of_registries | below
    assert {row.code for row in ROWS.values()} == set(Code) - told_elsewhere


@pytest.mark.parametrize("name", vulnerabilities.ELSEWHERE)
def test_what_no_image_can_show_is_tested_elsewhere(name: str) -> None:
    file, _, word = vulnerabilities.ELSEWHERE[name].partition(":")
    assert word in (Path(__file__).parent / file).read_text()


async def test_a_deadline_refuses_what_is_verified_with_time_enough() -> None:
    async with opened() as cluster:
        image = cluster.image()
        bundle()(cluster, image)
        assert told(await judged(cluster, Row(Code.MALFORMED, bundle()), image)) == (Result.VERIFIED, None)
        late = await cluster.verify(f"@{image}", seconds=0)
    assert (*told(late), decide.image_status(late)) == (Result.ERROR, Code.DEADLINE_EXCEEDED, 504)


async def test_whatever_a_judge_raises_denies() -> None:
    async def fail(evidence: Evidence, question: Question) -> Judgement:
        raise ValueError(f"{evidence} {question}")

    async with opened() as cluster:
        image = cluster.image()
        bundle()(cluster, image)
        row = Row(Code.MALFORMED, bundle())
        assert told(await judged(cluster, row, image)) == (Result.VERIFIED, None)
        cluster.verifier.means.judge = fail
        failed = await judged(cluster, row, image)
    assert (*told(failed), decide.image_status(failed)) == (Result.ERROR, Code.INTERNAL_ERROR, 503)


# --- a registry that answers differently the second time


@pytest.mark.parametrize(("first", "code"), [("signed", None), ("unsigned", Code.NO_SIGNATURE)])
async def test_the_digest_that_is_judged_is_the_one_the_tag_had_first(first: str, code: Code | None) -> None:
    """CVE-2022-47633 GHSA-m3cq-xcx9-3gvm, CVE-2023-47630: the tag is asked once, and only its digest spoken of then."""
    async with opened(stored=HostileRegistry()) as cluster:
        digests = {"signed": cluster.image("signed"), "unsigned": cluster.image("unsigned")}
        bundle()(cluster, digests["signed"])
        served = [digests[first], *({*digests.values()} - {digests[first]})]

        def alternating(request: Incoming) -> Outgoing | None:
            if not request.path.endswith("/manifests/1"):
                return None
            digest = served.pop(0) if len(served) > 1 else served[0]
            stored: StoredManifest = cluster.stored.repository(NAME).manifests[digest]
            return Outgoing(200, (("content-type", stored.media_type), ("docker-content-digest", digest)), stored.data)

        assert isinstance(cluster.stored, HostileRegistry)
        cluster.stored.rules.append(alternating)
        decision = await judged_by_tag(cluster)
    assert (decision.code, str(decision.digest)) == (code, digests[first])
    assert sum(line.endswith("/manifests/1") for line in cluster.stored.lines) == 1


async def judged_by_tag(cluster: Cluster) -> ImageDecision:
    head = {"apiVersion": "countersign.dev/v1", "kind": "TrustPolicy", "metadata": {"name": "production"}}
    cluster.policies[:] = [{**head, "spec": images.spec()}]
    return await cluster.verify(":1")


@pytest.mark.parametrize("honest", [True, False])
async def test_a_tag_whose_bytes_have_another_digest_is_tampering(honest: bool) -> None:
    async with opened(stored=HostileRegistry()) as cluster:
        image, other = cluster.image("signed"), cluster.image("other")
        bundle()(cluster, image)
        stored = cluster.stored.repository(NAME)
        served = stored.manifests[image if honest else other]
        headers = (("content-type", served.media_type), ("docker-content-digest", image))
        assert isinstance(cluster.stored, HostileRegistry)
        cluster.stored.rules += [
            on("/manifests/1", 405, method="HEAD"),
            on("/manifests/1", 200, headers=headers, body=served.data, method="GET"),
        ]
        decision = await judged_by_tag(cluster)
    assert told(decision) == ((Result.VERIFIED, None) if honest else (Result.DENIED, Code.REGISTRY_VIOLATION))


async def test_credentials_stay_with_their_registry_though_a_payload_is_elsewhere() -> None:
    """CVE-2025-27403: a redirect to another host takes none along."""
    there, here = HostileRegistry(), HostileRegistry()
    async with running(here) as host, running(there) as other:
        source = Given((Credential("user", "s3cr3t"),))
        async with client(listed(host), listed(other), credentials=(source,)) as (registry, _):
            collector = Collector(registry=registry, limits=settings.Evidence(), observe=lambda stage, seconds: None)
            verifier = Verifier(
                registry=registry, collector=collector, policy=settings.Policy(), observe=lambda stage, seconds: None
            )
            cluster = Cluster(host, here, verifier)
            image = cluster.image()
            signature()(cluster, image)
            there.repositories = here.repositories
            here.rules.append(asks_for_basic)
            here.rules.append(redirecting(other))
            decision = await judged(cluster, Row(Code.MALFORMED, signature()), image)
            await collector.close()
    assert told(decision) == (Result.VERIFIED, None), decision.detail
    assert {text for text in here.authorizations() if text} == {"Basic dXNlcjpzM2NyM3Q="}
    assert there.lines
    assert set(there.authorizations()) == {None}


def asks_for_basic(request: Incoming) -> Outgoing | None:
    if "authorization" in request.headers:
        return None
    return Outgoing(401, (("www-authenticate", 'Basic realm="registry"'),))


def redirecting(host: str) -> Callable[[Incoming], Outgoing | None]:
    def rule(request: Incoming) -> Outgoing | None:
        if "/blobs/" not in request.path:
            return None
        return Outgoing(307, (("location", f"http://{host}{request.path}"),))

    return rule
