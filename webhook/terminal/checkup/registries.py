"""The checkup of one registry, and of one image there: who is dialled, does it answer, as whom, and may we read.

A registry is asked with the guards and the trust of a review. Without an image all that can be tried is whether it
answers and whether credentials for it can be had; what they are good for only an image shows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from yarl import URL

from webhook.aws.calls import AWSError
from webhook.aws.calls import Kind as Failure
from webhook.errors import Code, CountersignError, RejectedError, quote
from webhook.network import Client, Request, Target
from webhook.oci import ecr
from webhook.oci.authn import CredentialSource
from webhook.oci.hosts import Hosts
from webhook.oci.reference import Digest, Reference, Repository
from webhook.oci.registry import Registry
from webhook.settings import KIB
from webhook.terminal.checkup import dialling
from webhook.terminal.checkup.model import Check, Health, Kind, Subject, not_tried, well, wrong

ANSWER_MAX_BYTES = 8 * KIB
THERE = frozenset((200, 401, 403, 404))  # who answers `/v2/` with one of these speaks HTTP and is not overwhelmed
READ = "ecr:BatchGetImage"  # manifests, and listings of referrers: Amazon ECR, API permissions
BY_LISTING = "name the host in registries.yaml, or for this run with --private-registry or --insecure-registry"
BY_AUTHORITY = "name its authority by caFile in registries.yaml, or for this run with --ca-file"


@dataclass(frozen=True, slots=True)
class Ways:
    """How registries are reached. Of `sources`, by what each is, the first that has a credential is used."""

    client: Client
    hosts: Hosts
    registry: Registry
    sources: Mapping[str, CredentialSource]


async def check_registry(host: str, ways: Ways) -> Subject:
    """What is so of the registry `host`, as references name it. Raises: OperatorError."""
    repository = Repository(host, "countersign/doctor")
    checks: list[Check] = []
    try:
        target, _ = ways.hosts.find(repository)
    except RejectedError as error:
        checks.append(wrong("address", error.detail, remedy=BY_LISTING))
    else:
        checks.append(await dialling.check_target(target, remedy=BY_LISTING))
        if checks[0].health is Health.WELL:
            checks.append(await _check_answer(target, ways.client))
    checks.append(await _check_credentials(repository, ways.sources))
    return Subject(Kind.REGISTRY, host, tuple(checks))


async def check_image(image: Reference, ways: Ways) -> Subject:
    """Whether `image` can be read, and what refers to it be listed."""
    repository, registry = image.repository, ways.registry
    try:
        digest = image.digest
        if digest is None:
            assert image.tag is not None  # a reference without a digest has one
            digest = await registry.resolve(repository, image.tag)
        elif await registry.fetch_manifest(repository, digest) is None:
            raise RejectedError(Code.IMAGE_NOT_FOUND, f"{quote(str(repository))} has no {digest}")
    except CountersignError as error:
        return Subject(Kind.IMAGE, image.text, (await _refused_image("manifest", error, repository, ways),))
    found = well("manifest", str(digest))
    return Subject(Kind.IMAGE, image.text, (found, await _check_referrers(repository, digest, ways)))


async def _check_answer(target: Target, client: Client) -> Check:
    url = URL(f"{target.origin}/v2/", encoded=True)
    asked = Request("GET", target, url, {}, max_bytes=ANSWER_MAX_BYTES, error_max_bytes=ANSWER_MAX_BYTES)
    try:
        answer = await client.exchange(asked)
    except CountersignError as error:
        return wrong(
            "answer", error.detail, remedy=BY_AUTHORITY if "certificate is not trusted" in error.detail else ""
        )
    over = "plain http" if target.tls is None else "TLS, by a certificate that is trusted"
    if answer.status not in THERE:
        return wrong("answer", f"HTTP {answer.status} over {over}")
    return well("answer", f"HTTP {answer.status} over {over}")


async def _check_credentials(repository: Repository, sources: Mapping[str, CredentialSource]) -> Check:
    for name, source in sources.items():
        try:
            found = await source.credentials(repository)
        except CountersignError as error:
            return _refused("credentials", error)
        if found:
            return well("credentials", f"from {name}")
    return not_tried("credentials", "none: it is asked anonymously")


async def _check_referrers(repository: Repository, digest: Digest, ways: Ways) -> Check:
    try:
        listed = await ways.registry.fetch_referrers(repository, digest)
    except CountersignError as error:
        return await _refused_image("referrers", error, repository, ways)
    if not listed.supported:
        return well("referrers", "it has no referrers API: what is attached is looked for by tags")
    return well("referrers", f"{len(listed.manifests)} listed")


async def _refused_image(name: str, error: CountersignError, repository: Repository, ways: Ways) -> Check:
    """`error` told; where Amazon ECR denied what it knew by whom, that permission is missing."""
    told = _refused(name, error)
    if told.action or error.code is not Code.ACCESS_DENIED or ecr.matching_form(repository.compared_host) is None:
        return told
    has_login = (await _check_credentials(repository, ways.sources)).health is Health.WELL
    return replace(told, action=READ) if has_login else told


def _refused(name: str, error: CountersignError) -> Check:
    """`error` told, with the permission that is missing, where AWS says which."""
    cause = error.__cause__
    action = cause.action if isinstance(cause, AWSError) and cause.kind is Failure.DENIED else ""
    return wrong(name, f"{error.code}: {error.detail}", action=action)
