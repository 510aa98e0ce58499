"""The TUF client, in a process of its own: what a repository signs as its trusted_root.json now.

One request is read from standard input, one answer written to standard output; `mirror` is at the other end. The
library and the TLS world that it brings along cost memory and start-up time that a server should not carry for one
look a day, and whatever a repository does to it ends with this process, which ends with its parent at the latest. It
is the library with which sigstore's own clients look: asked directly, since sigstore's interface wants a signing
configuration beside the root, which private repositories lack, and hands out no bytes. No name in a repository's
metadata becomes a path: one target of a fixed name is asked for, and it is written to one fixed place.

spec: The Update Framework, detailed client workflow; RFC 6890, on what is dialled.
"""

from __future__ import annotations

import base64
import ipaddress
import json
import os
import resource
import ssl
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import urllib3
from tuf.api.exceptions import DownloadError, DownloadHTTPError, RepositoryError, SlowRetrievalError
from tuf.ngclient.config import UpdaterConfig
from tuf.ngclient.fetcher import FetcherInterface
from tuf.ngclient.updater import Updater
from urllib3.exceptions import HTTPError

from webhook import addresses
from webhook.trust.root import MAX_ROOT_BYTES

TARGET = "trusted_root.json"
MAX_DOWNLOAD_BYTES = 8 << 20  # whatever signed metadata says of the length of the next
# What one repository may lay down on disk: some 20 MiB, of which an honest one takes a hundredth
MAX_ROOTS = 64  # since the root.json with which trust begins; the public-good instance makes three a year
MAX_METADATA_ROOT_BYTES = 128 << 10
MAX_DELEGATIONS = 1
MAX_MEMORY_BYTES = 512 << 20  # of address space; a look takes 50 MiB
SOCKET_TIMEOUT = 10.0  # seconds; for all of it, the parent has a limit
NICENESS = 10  # reviews go first


class Fetcher(FetcherInterface):
    """Downloads from where it was told to, and from nowhere that an answer points to."""

    def __init__(self, pool: urllib3.PoolManager) -> None:
        self._pool = pool

    def _fetch(self, url: str) -> Iterator[bytes]:
        response = self._pool.request(
            "GET",
            url,
            headers={"Accept-Encoding": "identity"},
            redirect=False,
            retries=urllib3.Retry(total=2, redirect=0, backoff_factor=0.5),
            timeout=urllib3.Timeout(SOCKET_TIMEOUT),
            preload_content=False,
        )
        if response.status != 200:
            response.close()
            raise DownloadHTTPError(f"status {response.status}", response.status)
        return _chunks(response)


def _chunks(response: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
    total = 0
    try:
        for chunk in response.stream(64 << 10, decode_content=False):
            total += len(chunk)
            if total > MAX_DOWNLOAD_BYTES:
                raise DownloadError(f"more than {MAX_DOWNLOAD_BYTES} bytes")
            yield chunk
    except urllib3.exceptions.TimeoutError as error:
        raise SlowRetrievalError(f"no data for {SOCKET_TIMEOUT:g} s") from error
    except HTTPError as error:
        raise DownloadError("the connection broke") from error
    finally:
        response.close()


def look(request: Mapping[str, str]) -> dict[str, str]:
    """The trusted root of the repository in `request`, verified, or the problem with it."""
    directory = Path(request["directory"])
    try:
        updater = Updater(
            metadata_dir=str(directory / "metadata"),
            metadata_base_url=request["url"],
            target_dir=str(directory),
            target_base_url=request["url"].rstrip("/") + "/targets/",
            fetcher=Fetcher(_pool(request)),
            config=UpdaterConfig(
                max_root_rotations=MAX_ROOTS,
                max_delegations=MAX_DELEGATIONS,
                root_max_length=MAX_METADATA_ROOT_BYTES,
                app_user_agent="countersign",
            ),
            bootstrap=base64.b64decode(request["root"]),
        )
        updater.refresh()
        target = updater.get_targetinfo(TARGET)
        if target is None:
            return {"problem": f"there is no target {TARGET} in it"}
        if target.length > MAX_ROOT_BYTES:
            return {"problem": f"{TARGET} has {target.length} bytes, at most {MAX_ROOT_BYTES} are read"}
        path = str(directory / TARGET)
        found = updater.find_cached_target(target, path) or updater.download_target(target, path)
        return {"document": base64.b64encode(Path(found).read_bytes()).decode("ascii")}
    except (DownloadError, RepositoryError, HTTPError, OSError, ValueError) as error:
        return {"problem": _describe(error)}


def _pool(request: Mapping[str, str]) -> urllib3.PoolManager:
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if request["ca_file"]:
        context.load_verify_locations(cafile=request["ca_file"])
    if not request["proxy"]:
        return urllib3.PoolManager(ssl_context=context)
    proxy = urllib3.util.parse_url(request["proxy"])
    headers = urllib3.make_headers(proxy_basic_auth=proxy.auth) if proxy.auth else {}
    plain = proxy._replace(auth=None).url
    return urllib3.ProxyManager(plain, proxy_headers=headers, ssl_context=context, proxy_ssl_context=context)


def _describe(error: BaseException) -> str:
    """What went wrong, and what was at the bottom of it: the outer error of a download says no more than its URL."""
    cause = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    kind = type(error).__name__.removesuffix("Error")
    said = f"{kind}: {str(error)[:200]}"
    return said if cause is error else f"{said}: {str(cause)[-150:]}"


def guard(*, listed: bool) -> None:
    """From now on this process dials no address that it may not, whatever a name leads to; `listed` by an operator."""

    def judge(event: str, arguments: tuple[object, ...]) -> None:
        if event == "socket.connect" and (problem := _refusal(arguments[1], listed=listed)):
            raise PermissionError(problem)

    sys.addaudithook(judge)


def _refusal(endpoint: object, *, listed: bool) -> str:
    text = str(endpoint[0]).partition("%")[0] if isinstance(endpoint, tuple) else ""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return "no address of the internet"
    if problem := addresses.refusal(address, private=True, loopback=True):
        return f"{text} is {problem}"
    if listed or addresses.refusal(address, private=False, loopback=False) is None:
        return ""
    return f"{text} is a private or loopback address: COUNTERSIGN_TUF_HOSTS does not list its host"


def _end_with_parent() -> None:
    """Waits for the parent to end, however it does: its end of the pipe is then closed."""
    while os.read(sys.stdin.fileno(), 1):
        pass
    os._exit(1)


def main() -> int:
    """One request was answered."""
    os.nice(NICENESS)
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))
    request = json.loads(sys.stdin.buffer.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if not request["proxy"]:  # else the operator named whom we dial
        guard(listed=bool(request["listed"]))
    sys.stdout.write(json.dumps(look(request)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
