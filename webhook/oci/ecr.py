"""Amazon ECR as its hosts name it: whose registry a host is, where, and what else is known by that.

Promises: a host gets something on account of its name only where the whole of it is one that Amazon serves, account,
region and the suffix of the region's own partition; a port, another label, a region of another partition or a letter
that is no ASCII make it a stranger's. For comparing, where nothing is given away, wildcards and unknown regions pass.
Who logs in is left to `aws.ecr`, what may be dialled to `hosts`. spec: Amazon ECR, service endpoints and private
registry authentication.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

PUBLIC = "public.ecr.aws"
PUBLIC_ALIAS = "ecr-public.aws.com"
MAX_CHARS = 253  # of a DNS name: RFC 1035 2.3.4
NEEDED_TO_IMPORT = "ecr:BatchImportUpstreamImage and ecr:CreateRepository"

_STANDARD = re.compile(
    r"([0-9]{12}|\*)\.dkr\.ecr(-fips)?\.([a-z0-9][a-z0-9-]*|\*)\."
    r"(amazonaws\.com|amazonaws\.com\.cn|amazonaws\.eu|sc2s\.sgov\.gov|c2s\.ic\.gov|cloud\.adc-e\.uk|csp\.hci\.ic\.gov)"
)
_DUAL_STACK = re.compile(
    r"([0-9]{12}|\*)\.dkr-ecr(-fips)?\.([a-z0-9][a-z0-9-]*|\*)\.(on\.aws|on\.amazonwebservices\.com\.cn)"
)
_STANDARD_SUFFIX = {"on.aws": "amazonaws.com", "on.amazonwebservices.com.cn": "amazonaws.com.cn"}

_REGION = re.compile(r"[a-z]{2,4}(?:-[a-z]{2,12}){1,2}-[0-9]{1,2}")
_PARTITIONS = {  # by what a region begins with, and the suffix of its hosts; every other region is of `aws`
    "cn-": ("aws-cn", "amazonaws.com.cn"),
    "us-gov-": ("aws-us-gov", "amazonaws.com"),
    "eusc-": ("aws-eusc", "amazonaws.eu"),
    "us-iso-": ("aws-iso", "c2s.ic.gov"),
    "us-isob-": ("aws-iso-b", "sc2s.sgov.gov"),
    "eu-isoe-": ("aws-iso-e", "cloud.adc-e.uk"),
    "us-isof-": ("aws-iso-f", "csp.hci.ic.gov"),
}
_COMMERCIAL = ("aws", "amazonaws.com")
_STORAGE = re.compile(r"(?:[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]\.)?s3(?:-fips)?(?:\.dualstack)?\.(.+)")

# Namespaces that ECR's console and documents propose for pull-through cache rules, by their upstream
_PULL_THROUGH = {
    "docker-hub", "dockerhub", "docker.io", "ecr-public", "public-ecr", "quay", "quay.io", "kubernetes", "k8s",
    "registry-k8s-io", "registry.k8s.io", "github", "ghcr", "ghcr.io", "gitlab", "chainguard",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Host:
    """One private registry: an account's in a region, by one of its names."""

    account: str
    partition: str
    region: str
    suffix: str  # of the standard hosts of the partition
    fips: bool
    dual_stack: bool


@lru_cache(maxsize=1024)  # asked before every request
def parse_host(host: str) -> Host | None:
    """The registry that `host` is, in either case; None where it is none, were it by one character or a port."""
    if not host.isascii() or len(host) > MAX_CHARS:
        return None
    found = _parts(host.lower())
    if found is None:
        return None
    account, region, suffix, fips, dual_stack = found
    partition, own_suffix = _partition_of(region)
    if account == "*" or suffix != own_suffix or not _REGION.fullmatch(region):
        return None
    return Host(account, partition, region, suffix, fips, dual_stack)


def matching_form(name: str) -> str | None:
    """The standard host of the registry that `name` is, in lower case, whose account or region may be `*`.

    For comparing: standard, FIPS and dual-stack hosts are one. None where it is no host of ECR.
    """
    found = _parts(name)
    return f"{found[0]}.dkr.ecr.{found[1]}.{found[2]}" if found is not None else None


def is_public(host: str) -> bool:
    """Whether `host` is the public registry, by either of its names."""
    return host.isascii() and host.lower() in (PUBLIC, PUBLIC_ALIAS)


def is_storage_of(registry: Host, host: str) -> bool:
    """Whether `host`, in lower case, is S3 in the region of `registry`, whence its blobs come."""
    found = _STORAGE.fullmatch(host) if len(host) <= MAX_CHARS else None
    return found is not None and found[1] == f"{registry.region}.{registry.suffix}"


def is_pull_through(host: str, path: tuple[str, ...]) -> bool:
    """Whether `path` at `host`, in matching form, begins as what is cached from another registry usually does."""
    return bool(path) and path[0] in _PULL_THROUGH and matching_form(host) is not None


def needed_for(host: str, path: tuple[str, ...]) -> str:
    """What whoever is refused `path` at `host`, in matching form, should be given; empty for other registries."""
    if matching_form(host) is None:
        return ""
    grants = "its role needs ecr:BatchGetImage and ecr:GetDownloadUrlForLayer here"
    imports = f", and {NEEDED_TO_IMPORT} to import from upstream" if is_pull_through(host, path) else ""
    return f"{grants}{imports}; a repository of another account must grant them in its repository policy too"


def _parts(name: str) -> tuple[str, str, str, bool, bool] | None:
    """Account, region, standard suffix, whether FIPS, whether dual-stack."""
    if match := _STANDARD.fullmatch(name):
        return match[1], match[3], match[4], match[2] is not None, False
    if match := _DUAL_STACK.fullmatch(name):
        return match[1], match[3], _STANDARD_SUFFIX[match[4]], match[2] is not None, True
    return None


def _partition_of(region: str) -> tuple[str, str]:
    return next((found for prefix, found in _PARTITIONS.items() if region.startswith(prefix)), _COMMERCIAL)
