"""What is known of well-known registries, so that a pattern that says more than its author thinks can be told.

Patterns are compared by their parsed host and segments, never as text. Whether a registry is shared decides what may be
exempt; the rest is advice.
"""

from __future__ import annotations

from webhook.errors import quote
from webhook.oci import ecr
from webhook.oci.reference import MAX_NAME_CHARS, Pattern

DOCKER_HUB = "docker.io"

# Anybody may push to these, below a first segment that is somebody's own.
_SHARED = {
    DOCKER_HUB, "ghcr.io", "quay.io", "public.ecr.aws", "registry.gitlab.com",
    "gcr.io", "us.gcr.io", "eu.gcr.io", "asia.gcr.io",
}  # fmt: skip
_SHARED_REGIONAL = ("-docker", "pkg", "dev")  # Google Artifact Registry: `<region>-docker.pkg.dev`

_OFFICIAL_IMAGES = {
    "alpine", "amazonlinux", "busybox", "caddy", "cassandra", "centos", "debian", "docker", "eclipse-temurin",
    "elasticsearch", "fedora", "golang", "grafana", "haproxy", "hello-world", "httpd", "influxdb", "kibana", "mariadb",
    "memcached", "mongo", "mysql", "nats", "nginx", "node", "openjdk", "php", "postgres", "python", "rabbitmq", "redis",
    "registry", "ruby", "rust", "telegraf", "tomcat", "traefik", "ubuntu", "vault", "wordpress",
}  # fmt: skip


def can_match(pattern: Pattern) -> bool:
    """Whether a repository may exist that `pattern` matches."""
    if pattern.host == DOCKER_HUB and not pattern.open_ended and len(pattern.segments) < 2:
        return False  # every repository there has two segments at least, `library` being the first of official images
    return len(pattern.host or "") + sum(len(segment) + 1 for segment in pattern.segments) <= MAX_NAME_CHARS


def exempt_problem(pattern: Pattern) -> str:
    """Why images of `pattern` cannot be exempt, or nothing."""
    if not pattern.has_literal_host:
        return f"one registry expected, by its name; {quote(pattern.text, max_chars=80)} stands for several"
    if is_shared(pattern):
        return f"anybody may push to {pattern.host}: name what is yours below it"
    return ""


def is_shared(pattern: Pattern) -> bool:
    """Whether `pattern` takes in what strangers push: a shared registry without a literal first segment."""
    return _is_shared_host(pattern.host or "") and (not pattern.segments or pattern.segments[0] == "*")


def is_pull_through(pattern: Pattern) -> bool:
    """Whether `pattern` looks like a prefix of Amazon ECR that serves another registry's images."""
    return ecr.is_pull_through(pattern.host or "", pattern.segments)


def official_image(pattern: Pattern) -> str | None:
    """The official image of Docker Hub that was probably meant where `pattern` names a user of the same name."""
    named = pattern.segments[0] if len(pattern.segments) == 1 else ""
    return named if pattern.host == DOCKER_HUB and named in _OFFICIAL_IMAGES else None


def _is_shared_host(host: str) -> bool:
    first, *rest = host.split(".")
    return host in _SHARED or (tuple(rest) == _SHARED_REGIONAL[1:] and first.endswith(_SHARED_REGIONAL[0]))
