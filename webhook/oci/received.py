"""What was received, checked against what was announced: size, digest, media type, and the limits of what is read.

Whatever is large is hashed and parsed in a thread. spec: OCI distribution 1.1, pull; OCI image 1.1, descriptors.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
from collections.abc import Callable
from typing import TypeVar

from webhook import settings
from webhook.errors import Code, MalformedError, RejectedError, TamperedError
from webhook.network import Answer
from webhook.oci import answers, manifest
from webhook.oci.manifest import Descriptor, Index, Manifest
from webhook.oci.reference import Digest, Repository

MAX_PAGE_ENTRIES = 20_000  # of one page of referrers; more than fit into its bytes

T = TypeVar("T")


def check_limit(what: str, descriptor: Descriptor, max_bytes: int) -> None:
    """Raises: MalformedError (`limit_exceeded`), where `descriptor` announces more than is read."""
    if descriptor.size > max_bytes:
        raise MalformedError(Code.LIMIT_EXCEEDED, f"{what}: {descriptor.size} bytes, at most {max_bytes} are read")


def check_whole(what: str, answer: Answer, max_bytes: int) -> None:
    """Raises: MalformedError (`limit_exceeded`), where the body of `answer` went on beyond what is read."""
    if answer.cut:
        raise MalformedError(Code.LIMIT_EXCEEDED, f"{what}: more than {max_bytes} bytes, which are read at most")


async def content(what: str, answer: Answer, repository: Repository, descriptor: Descriptor) -> bytes:
    """The body of `answer`, which is what `descriptor` announced. Raises: TamperedError, MalformedError (listed but
    missing), InconclusiveError."""
    if answer.status == 404:
        raise MalformedError(Code.MALFORMED, f"{what}: listed but missing")
    if answer.status != 200:
        raise answers.odd(repository, answer)
    if answer.cut or len(answer.body) != descriptor.size:
        found = "more" if answer.cut else str(len(answer.body))
        raise TamperedError(f"{what}: {descriptor.size} bytes announced, {found} served{answers.recoded(answer)}")
    if not await _off_loop(len(answer.body), functools.partial(descriptor.digest.matches, answer.body)):
        raise TamperedError(f"{what}: what was served has another digest{answers.recoded(answer)}")
    return answer.body


async def inlined(descriptor: Descriptor) -> bytes | None:
    """The content that stands in `descriptor` itself, as `manifest.inlined`."""
    size = len(descriptor.data or b"")
    return await _off_loop(size, functools.partial(manifest.inlined, descriptor))


async def parse(body: bytes, media_type: str, digest: Digest, max_entries: int) -> Manifest | Index:
    """As `manifest.parse`."""
    read = functools.partial(manifest.parse, body, media_type=media_type, digest=digest, max_entries=max_entries)
    return await _off_loop(len(body), read)


async def parse_page(what: str, body: bytes) -> tuple[Descriptor, ...]:
    """What a page of referrers lists. Raises: RejectedError (`registry_violation`), MalformedError
    (`limit_exceeded`)."""
    digest = Digest("sha256", hashlib.sha256(body).hexdigest())
    try:
        index = await parse(body, manifest.OCI_INDEX, digest, MAX_PAGE_ENTRIES)
    except MalformedError as error:
        if error.code is Code.LIMIT_EXCEEDED:
            raise
        raise RejectedError(Code.REGISTRY_VIOLATION, f"{what}: {error.detail}") from error
    if not isinstance(index, Index):
        raise RejectedError(Code.REGISTRY_VIOLATION, f"{what}: an index expected")
    return index.manifests


def digest_of(what: str, answer: Answer, expected: Digest | None) -> Digest:
    """The digest that the body has: `expected`, where there is one. Raises: TamperedError."""
    if expected is None:
        return Digest("sha256", hashlib.sha256(answer.body).hexdigest())
    if not expected.matches(answer.body):
        raise TamperedError(f"{what}: what was served has another digest than {expected}{answers.recoded(answer)}")
    return expected


async def _off_loop(size: int, work: Callable[[], T]) -> T:
    """What `work` returns, done in a thread where the `size` of its matter makes it slow."""
    return work() if size <= settings.OFF_LOOP_BYTES else await asyncio.to_thread(work)
