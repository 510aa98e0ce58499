"""Where an answer leads: the next page of a listing, and which part of a URL may stand in a message.

A page is asked for at the host that was asked before, whatever the link says besides its path and query; one at another
host is the registry's mistake, or worse. specs: RFC 8288 3; OCI distribution 1.1, listing referrers.
"""

from __future__ import annotations

import re

from yarl import URL

from webhook.errors import Code, RejectedError, quote
from webhook.network import Answer
from webhook.oci.reference import Repository

_LINK = re.compile(r"<(?P<target>[\x21-\x3b\x3d\x3f-\x7e]*)>(?P<parameters>[^,<]*)")
_NEXT = re.compile(r";\s*rel\s*=\s*(\"[^\"]*\bnext\b[^\"]*\"|next\b)", re.IGNORECASE)


def next_page(answer: Answer, repository: Repository) -> str | None:
    """The path and query of the next page; `None` where `answer` is the last.

    Raises: RejectedError, `registry_violation`.
    """
    links = [link for header in answer.links for link in _LINK.finditer(header)]
    target = next((link["target"] for link in links if _NEXT.search(link["parameters"])), None)
    if target is None:
        return None
    try:
        url = answer.url.join(URL(target, encoded=True))
    except ValueError:
        url = URL()
    if not url.raw_host or url.raw_host != answer.url.raw_host:  # a proxy may have changed scheme and port
        raise RejectedError(
            Code.REGISTRY_VIOLATION,
            f"{quote(str(repository))}: its referrers go on at another host: {quote(host(target))}",
        )
    return url.raw_path_qs


def host(url: str) -> str:
    """The part of a URL that may stand in a message; the rest may be signed."""
    return url.partition("//")[2].partition("/")[0].partition("?")[0].rpartition("@")[2]
