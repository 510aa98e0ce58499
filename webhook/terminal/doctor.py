"""`doctor`: what verifying depends on outside of this program, tried from here: registries, KMS keys, profiles.

A webhook that cannot read a registry or may not ask AWS denies, and says so of one image at a time. This asks all at
once, and names for each the address that is dialled, the identity that is used, and the permission that is missing.
What is tried is what policies name, what registries.yaml lists, and the images on the command line; nothing is
verified, and nothing is changed. spec: docs/doctor.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from webhook.errors import OperatorError
from webhook.oci import ecr, reference
from webhook.oci.hosts import Hosts
from webhook.oci.reference import Reference
from webhook.outside import join
from webhook.policy.model import PolicySet
from webhook.settings import Settings
from webhook.terminal import configured as configuration
from webhook.terminal import given
from webhook.terminal.checkup import registries
from webhook.terminal.checkup.cloud import Cloud
from webhook.terminal.checkup.model import Check, Health, Kind, Subject, wrong
from webhook.terminal.checkup.registries import Ways
from webhook.terminal.paper import BAD, DIM, GOOD, STRONG, UNSURE, Output, Paper, Part
from webhook.trust.kms import KMSKey
from webhook.trust.notary.profile import SigningProfile

Document = dict[str, object]
WELL, WRONG = 0, 1
CONNECTIONS_PER_HOST = 2
PARALLEL = 8

TITLES = {
    Kind.IDENTITY: "identity at",
    Kind.REGISTRY: "registry",
    Kind.IMAGE: "image",
    Kind.KEY: "key",
    Kind.PROFILE: "profile",
}
MARKS: dict[Health, Part] = {
    Health.WELL: ("✓", GOOD),
    Health.WRONG: ("✗", BAD),
    Health.NOT_TRIED: ("-", DIM),
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What was asked on the command line."""

    images: tuple[str, ...]
    policies: tuple[Path, ...]
    timeout: float
    insecure: tuple[str, ...]
    private: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Scope:
    """All that is tried."""

    hosts: tuple[str, ...]
    images: tuple[Reference, ...]
    keys: tuple[KMSKey, ...]
    profiles: tuple[SigningProfile, ...]

    @property
    def regions(self) -> tuple[str, ...]:
        """Where AWS is asked, empty for the SDK's own region; none where it is not asked for anything."""
        at_ecr = [found.region for host in self.hosts if (found := ecr.parse_host(host))]
        return (*at_ecr, *(key.region for key in self.keys), *(profile.arn.region for profile in self.profiles))


def run(wanted: Wanted, configured: Settings, *, output: Output, paper: Paper) -> int:
    """Everything was tried once, and is told; the exit code says whether all is well. Raises: OperatorError."""
    configured = configuration.with_hosts(
        configured, asked=wanted.images, insecure=wanted.insecure, private=wanted.private
    )
    scope = _scope(wanted, configured)
    if not (scope.hosts or scope.keys or scope.profiles):
        raise OperatorError("nothing to look at: name images, --policy, or --registries")
    subjects = asyncio.run(_examine(scope, configured, wanted.timeout))
    if output is Output.JSON:
        paper.document(_document(subjects))
    else:
        _write(subjects, paper)
    return WELL if all(subject.well for subject in subjects) else WRONG


def _scope(wanted: Wanted, configured: Settings) -> Scope:
    policies = given.policies(wanted.policies, configured.policy) if wanted.policies else PolicySet((), "", "")
    images = tuple(given.image(text) for text in wanted.images)
    signers = [signer.material for policy in policies.policies for signer in policy.signers]
    return Scope(
        hosts=tuple(dict.fromkeys(_hosts(images, policies, configured))),
        images=images,
        keys=tuple(dict.fromkeys(one for one in signers if isinstance(one, KMSKey))),
        profiles=tuple(dict.fromkeys(one for one in signers if isinstance(one, SigningProfile))),
    )


def _hosts(images: Iterable[Reference], policies: PolicySet, configured: Settings) -> Iterable[str]:
    """Registries as they are written: of one that has several names, each leads elsewhere."""
    yield from (image.repository.host.lower() for image in images)
    for policy in policies.policies:
        for pattern in (pattern for rule in policy.rules for pattern in rule.images):
            if pattern.host is not None and pattern.has_literal_host:
                written = pattern.text.partition("/")[0].lower()
                yield written if reference.matching_host(written) == pattern.host else pattern.host
    yield from (entry.host for entry in configured.registry.hosts)


async def _examine(scope: Scope, configured: Settings, seconds: float) -> list[Subject]:
    deadline = asyncio.get_running_loop().time() + seconds
    parallel = asyncio.Semaphore(PARALLEL)

    async def bounded(kind: Kind, name: str, check: Awaitable[Subject]) -> Subject:
        try:
            async with asyncio.timeout_at(deadline), parallel:
                return await check
        except TimeoutError:
            return Subject(kind, name, (wrong("time", f"not ended within --timeout, {seconds:g} s"),))

    asked_in = max(scope.regions, default="")  # any that is known
    async with _opened(configured) as (cloud, ways):
        return await asyncio.gather(
            *(bounded(Kind.IDENTITY, "AWS", cloud.check_identity(asked_in)) for _ in scope.regions[:1]),
            *(bounded(Kind.REGISTRY, host, registries.check_registry(host, ways)) for host in scope.hosts),
            *(bounded(Kind.IMAGE, one.text, registries.check_image(one, ways)) for one in scope.images),
            *(bounded(Kind.KEY, str(key), cloud.check_key(key)) for key in scope.keys),
            *(bounded(Kind.PROFILE, str(one), cloud.check_profile(one)) for one in scope.profiles),
        )


@asynccontextmanager
async def _opened(configured: Settings) -> AsyncIterator[tuple[Cloud, Ways]]:
    outside = join(configured)
    client = outside.network.open(connections_per_host=CONNECTIONS_PER_HOST)
    try:
        hosts = Hosts(configured.registry.hosts, outside.network, allowed=configured.registry.allowed)
        yield Cloud(outside.aws, configured), Ways(client, hosts, outside.registry, outside.sources)
    finally:
        await client.close()
        await outside.close()


# --- for people


def _write(subjects: Sequence[Subject], paper: Paper) -> None:
    for subject in subjects:
        paper.line((f"{TITLES[subject.kind]} ", DIM), (subject.name, STRONG), hang=2)
        width = max(len(check.name) for check in subject.checks)
        for check in subject.checks:
            _write_check(check, width, paper)
        paper.blank()
    sick = sum(not subject.well for subject in subjects)
    if sick:
        paper.line((f"{sick} of {len(subjects)} not well", f"{STRONG} {BAD}"))
    else:
        paper.line(("all well", f"{STRONG} {GOOD}"))


def _write_check(check: Check, width: int, paper: Paper) -> None:
    paper.line(MARKS[check.health], f" {check.name:<{width}}  {check.detail}", indent=2, hang=4)
    if check.action:
        paper.line(("missing permission: ", UNSURE), check.action, indent=6, hang=2)
    if check.remedy:
        paper.line((check.remedy, DIM), indent=6, hang=2)


# --- for programs


def _document(subjects: Sequence[Subject]) -> Document:
    return {
        "well": all(subject.well for subject in subjects),
        "subjects": [
            {
                "kind": subject.kind,
                "name": subject.name,
                "well": subject.well,
                "checks": [
                    {
                        "name": check.name,
                        "health": check.health,
                        "detail": check.detail,
                        "missing_action": check.action or None,
                        "remedy": check.remedy or None,
                    }
                    for check in subject.checks
                ],
            }
            for subject in subjects
        ],
    }
