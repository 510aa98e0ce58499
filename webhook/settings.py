"""Every setting of Countersign, its default and its unit, in one frozen section per component.

Durations are seconds as `float`, sizes are bytes. Where the values come from is for `environment`; a section that is
not mentioned there holds limits that no operator needs to change.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

KIB = 1024
MIB = 1024 * KIB
OFF_LOOP_BYTES = 64 * KIB  # a foreign document above this size takes milliseconds to read: in a thread


class NoMatch(StrEnum):
    """What becomes of an image about which no enforcing policy speaks."""

    DENY = "deny"
    WARN = "warn"
    ALLOW = "allow"


class Crosscheck(StrEnum):
    """What becomes of it when a second implementation would refuse a keyless bundle that we accept."""

    OFF = "off"  # it is not asked
    REPORT = "report"
    ENFORCE = "enforce"


class Early(StrEnum):
    """What becomes of a Deployment, a Job, … whose pods would be denied."""

    DENY = "deny"
    WARN = "warn"
    OFF = "off"


class PullSecrets(StrEnum):
    """From which namespaces the secrets by which pods pull their images are read."""

    NONE = "none"
    LISTED = "listed"
    CLUSTER = "cluster"


class EventsIn(StrEnum):
    """Where Events are written."""

    OBJECT_NAMESPACE = "objectNamespace"
    RELEASE_NAMESPACE = "releaseNamespace"
    BOTH = "both"
    OFF = "off"


@dataclass(frozen=True, slots=True)
class RegistryHost:
    """What an operator says of one registry; without an entry a registry is public, on https, on a public address."""

    host: str  # as it stands in references, matching form: lower case, no default port
    endpoint: str | None = None  # `host[:port]` to dial instead
    insecure_http: bool = False
    private: bool = False  # may resolve to RFC 1918, RFC 6598 or ULA addresses
    loopback: bool = False  # may resolve to a loopback address
    ca_file: Path | None = None
    token_hosts: tuple[str, ...] = ()  # besides the registry itself, who may be sent its credentials for a token


@dataclass(frozen=True, slots=True)
class Network:
    ca_file: Path | None = None  # besides the system's authorities, for every registry
    https_proxy: str | None = None
    http_proxy: str | None = None
    no_proxy: tuple[str, ...] = ()
    connect_timeout: float = 2.0
    read_timeout: float = 5.0
    request_timeout: float = 15.0  # one exchange in all: whoever sends a byte now and then ends here


@dataclass(frozen=True, slots=True)
class Registry:
    """Limits that protect memory and time against whoever controls a registry or a repository."""

    hosts: tuple[RegistryHost, ...] = ()
    allowed: tuple[str, ...] = ()  # the only registries that are asked, as they stand in references; none: all
    docker_config: Path | None = None
    manifest_max_bytes: int = 4 * MIB
    manifest_max_entries: int = 1000  # layers of a manifest, manifests of an index
    token_max_bytes: int = 64 * KIB
    error_max_bytes: int = 8 * KIB
    referrers_max: int = 500
    referrers_max_pages: int = 10
    redirects_max: int = 3
    attempts: int = 3
    backoff: float = 0.1  # tripled at each further attempt, with jitter
    connections_per_host: int = 16


@dataclass(frozen=True, slots=True)
class Evidence:
    """Limits that protect a review against whoever may attach something to an image."""

    candidates_max: int = 50  # per place asked, so that one place never hides another
    payload_max_bytes: int = 64 * KIB
    bundle_max_bytes: int = 4 * MIB
    envelope_max_bytes: int = MIB  # of the Notary Project; real ones take 3 to 15 KiB
    attestation_max_bytes: int = 16 * MIB  # DSSE envelope of a `.att` layer; inventories of large images take megabytes
    image_max_bytes: int = 64 * MIB
    parallel: int = 8
    hints_max: int = 20_000  # repositories of which the form that satisfied last is remembered


@dataclass(frozen=True, slots=True)
class Verification:
    """Certificates, logs, timestamps and conditions take milliseconds: they are judged in processes of their own."""

    workers: int = 1  # 0: in a thread of the server, which saves some 45 MiB and holds up other reviews
    time_limit: float = 5.0  # for one piece of evidence, well within a review
    crosscheck: Crosscheck = Crosscheck.OFF


@dataclass(frozen=True, slots=True)
class Cache:
    """How long what was learned may be used again, and how much of it one process holds."""

    findings_lifetime: float = 300.0  # of what satisfied a review, until its registry is asked again; 0: never kept
    findings_max_bytes: int = 8 * MIB  # some three thousand images
    presence_stale: float = 24 * 3600.0  # for which it stands in while its registry does not answer
    outcomes_lifetime: float = 3600.0  # of one piece of evidence that was verified
    outcomes_max_bytes: int = 2 * MIB
    documents_max_bytes: int = 4 * MIB  # of what is fetched by digest
    tag_lifetime: float = 30.0  # of the digest behind a tag
    tags_max: int = 4_096  # more than findings are kept
    search_seconds: float = 30.0  # for which evidence is looked for, whether or not a review still waits for it


NOTHING_KEPT = Cache(
    findings_lifetime=0.0, presence_stale=0.0, outcomes_lifetime=0.0, documents_max_bytes=0, tag_lifetime=0.0
)


@dataclass(frozen=True, slots=True)
class Valkey:
    """A cache that replicas share. What comes out of it is believed no more than what a registry says."""

    url: str = ""  # `valkey://[user@]host[:port][/database]`, `valkeys://` with TLS; empty: there is none
    password_file: Path | None = None
    ca_file: Path | None = None  # besides the system's authorities
    key_file: Path | None = None  # of all replicas, and not of the cache: what it holds is sealed with it
    timeout: float = 0.05  # of one command: whoever takes longer is slower than a registry


@dataclass(frozen=True, slots=True)
class AWS:
    """How AWS is asked. Identity, region, endpoints of services and FIPS are for the SDK's own variables."""

    kms_endpoints: tuple[str, ...] = ()  # `host[:port]` that policies may name in `awskms://ENDPOINT/…`
    kms_refresh: float = 300.0  # how often the key behind each URI is asked for
    kms_stale: float = 3600.0  # for which the last good key stays while KMS does not answer
    signer_region: str = ""  # where revocation is asked for; empty: in the region of each signature's profile
    signer_lifetime: float = 300.0  # of an answer that nothing is revoked; 0: it is asked for each review
    signer_stale: float = 3600.0  # for which that answer stands in while AWS Signer does not answer
    public_registry: bool = False  # whether public.ecr.aws is asked with credentials; anonymously otherwise
    connect_timeout: float = 1.0
    read_timeout: float = 2.0
    attempts: int = 2
    sns_topic: str = ""  # ARN; empty: denials are not published


@dataclass(frozen=True, slots=True)
class Revocation:
    """OCSP responders and revocation lists, whose addresses stand in certificates."""

    hosts: tuple[str, ...] = ()  # `host[:port]` that may be at private or loopback addresses
    ocsp_max_bytes: int = 20 * KIB
    ocsp_timeout: float = 2.0
    crl_max_bytes: int = 32 * MIB
    crl_timeout: float = 5.0
    lifetime: float = 3600.0  # of an answer, at most; its own `nextUpdate` ends it sooner
    unknown_lifetime: float = 5.0  # for which nobody is asked again after there was no answer


@dataclass(frozen=True, slots=True)
class Policy:
    directory: Path = Path("/etc/countersign/policies")
    no_match: NoMatch = NoMatch.DENY
    baseline_exempt: tuple[str, ...] = ()  # patterns, joined to every policy's exemptRegistries
    reload_interval: float = 2.0
    file_max_bytes: int = MIB
    known_max: int = 10_000  # digests remembered for `onUnavailable: known`
    known_lifetime: float = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Trust:
    """Where Sigstore trust roots come from, and how they are kept fresh; nothing of it happens during a review."""

    directory: Path = Path("/etc/countersign/trust-roots")  # of trusted_root.json files that policies name
    refresh_interval: float | None = 24 * 3600.0  # with a tenth of jitter; None: nothing is ever fetched
    tuf_mirror: str | None = None  # asked instead of the public-good repository
    tuf_root: Path | None = None  # its root.json, where it is not the public-good one
    tuf_hosts: tuple[str, ...] = ()  # `host[:port]` of others that policies may name though they are not public
    cache: Path | None = None  # where what was fetched outlives the process
    first_refresh: float = 10.0  # after start, at least; at most three times that
    retry_interval: float = 60.0  # after a failure; doubled at each further one, up to an hour
    fetch_timeout: float = 60.0
    reload_interval: float = 2.0
    mirrors_max: int = 16


@dataclass(frozen=True, slots=True)
class Admission:
    timeout: float = 10.0
    body_max_bytes: int = 12 * MIB  # an object of 3 MiB stands in a review twice, with options
    references_max: int = 500
    verifications: int = 64  # images examined at once
    queue_max: int = 256  # reviews that wait for a place
    fails_open: bool = False  # the webhook's entry says `failurePolicy: Ignore`: refusals must be well-formed denials
    workloads: Early = Early.WARN


@dataclass(frozen=True, slots=True)
class Cluster:
    """What only an installation in a cluster has. Without `namespace` the Kubernetes API is never asked."""

    namespace: str = ""  # where we are installed, and policies are watched as ConfigMaps
    pod: str = ""  # our own name
    kubeconfig: Path | None = None  # who we are for the API server, where we are no pod
    webhook_configuration: str = ""  # name of the ValidatingWebhookConfiguration, and of the mutating one
    ca_secret: str = ""  # name of the Secret with the authority whose certificates replicas serve with
    last_good: str = ""  # name of the ConfigMap in which the last good policies survive restarts
    policy_writers: tuple[str, ...] = ()  # users and groups who alone may write policies; empty: whom RBAC lets
    trust_secrets: tuple[str, ...] = ()  # names of Secrets that policies may take keys and certificates from
    pull_secrets: PullSecrets = PullSecrets.NONE
    pull_secret_namespaces: tuple[str, ...] = ()
    events: EventsIn = EventsIn.OBJECT_NAMESPACE
    warm_start: float = 2.0  # images of running pods that are verified again per second after a start; 0: none


@dataclass(frozen=True, slots=True)
class Pin:
    """Pinning: tags on pods are rewritten to the digests behind them before they are judged."""

    enabled: bool = False
    exclude_namespaces: tuple[str, ...] = ()
    exclude_owners: tuple[str, ...] = ()  # `Kind.group` of who compares images: `Cluster.postgresql.cnpg.io`


@dataclass(frozen=True, slots=True)
class Server:
    address: str = "0.0.0.0"  # noqa: S104 - a pod's only address
    admission_port: int = 9443
    operations_port: int = 8080
    certificate_file: Path | None = None  # with `key_file`; without both, a certificate is issued at start
    key_file: Path | None = None
    names: tuple[str, ...] = ("countersign.countersign.svc", "localhost")  # of the certificate issued at start
    ca_out_file: Path | None = None  # where the authority of a self-issued certificate is written
    client_ca_file: Path | None = None  # whose certificates callers must have; none: they need not have any
    callers: tuple[str, ...] = ()  # networks from which reviews are taken; none: from anywhere
    reload_interval: float = 30.0
    keep_alive: float = 120.0  # the API server keeps idle connections for 90 s and does not repeat a POST
    shutdown_delay: float = 15.0  # endpoints are removed asynchronously
    shutdown_grace: float = 25.0


@dataclass(frozen=True, slots=True)
class Settings:
    network: Network = field(default_factory=Network)
    registry: Registry = field(default_factory=Registry)
    evidence: Evidence = field(default_factory=Evidence)
    cache: Cache = field(default_factory=Cache)
    valkey: Valkey = field(default_factory=Valkey)
    verification: Verification = field(default_factory=Verification)
    policy: Policy = field(default_factory=Policy)
    trust: Trust = field(default_factory=Trust)
    aws: AWS = field(default_factory=AWS)
    revocation: Revocation = field(default_factory=Revocation)
    admission: Admission = field(default_factory=Admission)
    cluster: Cluster = field(default_factory=Cluster)
    pin: Pin = field(default_factory=Pin)
    server: Server = field(default_factory=Server)
