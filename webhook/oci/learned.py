"""What registries were seen to be like, for an hour: what they lack, and what a pull-through cache has imported.

It changes the order of asking, and what is an outage; it never is content, nor the absence of any. Of hosts all learn
together; of repositories each by who was shown them: what is private to some is not learned from by others.
"""

from __future__ import annotations

from collections.abc import Hashable
from enum import Enum
from typing import TypeVar

from webhook.cache import Cache
from webhook.oci import reference
from webhook.oci.authn import Lent
from webhook.oci.reference import Digest, Repository

LIFETIME = 3600.0  # seconds
HOSTS_MAX = 1024
REPOSITORIES_MAX = 10_000

K = TypeVar("K", bound=Hashable)


class _Seen(Enum):
    """What was seen of a repository; together the two show that its registry has no referrers API."""

    READ = "read"
    NO_REFERRERS = "no referrers"


class Learned:
    """Not safe for use by more than one event loop."""

    def __init__(self) -> None:
        self._without_head: Cache[str, bool] = Cache(max_entries=HOSTS_MAX)
        self._without_referrers: Cache[str, bool] = Cache(max_entries=HOSTS_MAX)
        self._with_referrers: Cache[str, bool] = Cache(max_entries=HOSTS_MAX)
        self._seen: Cache[tuple[Repository, Lent], _Seen] = Cache(max_entries=REPOSITORIES_MAX)
        self._imported: Cache[tuple[Repository, Lent, Digest], bool] = Cache(max_entries=REPOSITORIES_MAX)

    def lacks_head(self, host: str) -> bool:
        """Whether manifests are to be asked for by GET alone."""
        return _knows(self._without_head, host)

    def lacks_referrers(self, host: str) -> bool:
        """Whether this registry has no referrers API."""
        return _knows(self._without_referrers, reference.matching_host(host))

    def lists_referrers(self, host: str) -> bool:
        """Whether this registry's referrers API has listed something."""
        return _knows(self._with_referrers, reference.matching_host(host))

    def has_imported(self, repository: Repository, lent: Lent, digest: Digest) -> bool:
        """Whether `repository`, a pull-through cache, holds `digest`."""
        return _knows(self._imported, (repository, lent, digest))

    def note_no_head(self, host: str) -> None:
        self._without_head.put(host, True, LIFETIME)

    def note_referrers(self, host: str) -> None:
        self._with_referrers.put(reference.matching_host(host), True, LIFETIME)

    def note_imported(self, repository: Repository, lent: Lent, digest: Digest) -> None:
        self._imported.put((repository, lent, digest), True, LIFETIME)

    def note_read(self, repository: Repository, lent: Lent) -> None:
        """There is such a repository."""
        if self._seen.get((repository, lent)) is _Seen.NO_REFERRERS:
            self._without_referrers.put(reference.matching_host(repository.host), True, LIFETIME)
        self._seen.put((repository, lent), _Seen.READ, LIFETIME)

    def note_no_referrers(self, repository: Repository, lent: Lent) -> None:
        """It answered as one without the API, or as one without the repository would."""
        if self._seen.get((repository, lent)) is _Seen.READ:
            self._without_referrers.put(reference.matching_host(repository.host), True, LIFETIME)
        else:
            self._seen.put((repository, lent), _Seen.NO_REFERRERS, LIFETIME)


def _knows(cache: Cache[K, bool], key: K) -> bool:
    return cache.get(key) is not None
