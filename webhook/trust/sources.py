"""Which trust roots are at hand now: the one that is shipped, those in files, those that TUF repositories vouch for.

A `TrustSource` is told which roots the policies name (`use`), reads files when they change, and asks repositories in
the background (`watch`): nothing is ever fetched for a review, which takes the snapshot `current`. A refresh that
fails, or brings less than a whole root, changes nothing but the problem that is told: the last good root stays, and
no age ends it, since only the windows in it say what was valid when. A file that is gone takes its root along. A root
that no policy names any more stays for a while: reviews that began before need it, and an edit may be taken back.
"""

from __future__ import annotations

import asyncio
import logging
import random
import shutil
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from webhook import addresses, files, settings
from webhook.errors import Code, InconclusiveError, MalformedError, OperatorError
from webhook.trust import folder, mirror, root, succession
from webhook.trust.at_hand import Trust
from webhook.trust.mirror import Fetched, Repository
from webhook.trust.root import PUBLIC_GOOD, RootKind, RootSource, TrustRoot

log = logging.getLogger(__name__)

RETRY_MAX = 3600.0  # seconds
LEFT_SECONDS = 600.0  # for which a root stays that no policy names any more
LEFT_MAX = 32  # of them

Observer = Callable[[str, str], None]  # the key of a root, and what became of its refresh: `success` or `failure`


def packaged() -> TrustRoot:
    """The public-good root that this version ships."""
    return root.parse(mirror.packaged_document())


@dataclass(frozen=True, slots=True)
class State:
    """One source as it stands. `origin` says where `root` was taken from; `at` is when a repository vouched for it."""

    source: RootSource
    root: TrustRoot | None = None
    origin: str = ""
    at: datetime | None = None
    problem: str = ""

    def describe(self, now: datetime) -> str:
        """All of it, for a person who asks at `now`."""
        parts = [self.origin] if self.root else ["not at hand"]
        if self.at is not None:
            parts.append(f"{_age(now - self.at)} ago")
        return "; ".join(filter(None, (" ".join(parts), self.problem)))


class TrustSource:
    """The trust roots at hand. `use` and `load` block, and may be called from any thread."""

    def __init__(
        self,
        configured: settings.Trust,
        network: settings.Network,
        *,
        observe: Observer,
        clock: Callable[[], datetime] | None = None,
    ) -> None:
        self._configured, self._network, self._observe = configured, network, observe
        self._clock = clock or _utc_now
        self._public_good = public_good(configured)
        self._directory: Path | None = None  # where the client's metadata is, once something was fetched
        self._lock = threading.Lock()
        self._files: dict[str, folder.File] = {}
        self._due: dict[str, float] = {}  # monotonic
        self._failures: dict[str, int] = {}
        self._left: dict[str, float] = {}  # monotonic: until when those stay that no policy names any more
        shipped = State(PUBLIC_GOOD, packaged(), "shipped with this version")
        self._states: Mapping[str, State] = {PUBLIC_GOOD.key: self._restored(shipped, self._public_good)}
        self._named: frozenset[str] = frozenset()
        self._current = _snapshot(self._states)

    @property
    def current(self) -> Trust:
        """The roots at hand: one value that never changes, replaced as a whole."""
        return self._current

    @property
    def states(self) -> tuple[State, ...]:
        """Every source in use, the public-good instance first, which is always there."""
        named, states = self._named, self._states
        # What became of the last look is of no concern where nobody asks for the next
        public_good = states[PUBLIC_GOOD.key]
        first = public_good if PUBLIC_GOOD.key in named else replace(public_good, problem="")
        return first, *(state for key, state in states.items() if key in named and key != PUBLIC_GOOD.key)

    def use(self, sources: Iterable[RootSource]) -> None:
        """The policies in force name `sources`; those of them that are files have been read.

        Roots in objects of the cluster are not for this.
        """
        named = {source.key: source for source in sources if source.inline is None and source.place is None}
        with self._lock:
            if named.keys() == self._named:
                return
            wanted = {PUBLIC_GOOD.key: PUBLIC_GOOD, **named}
            states = {key: self._states.get(key) or self._begin(source) for key, source in wanted.items()}
            until = time.monotonic() + LEFT_SECONDS
            self._left = {key: self._left.get(key, until) for key in self._states if key not in states}
            self._states = {**states, **{key: self._states[key] for key in self._left}}
            self._load_files()
            self._named = frozenset(named)

    def load(self) -> None:
        """Files that changed have been read again."""
        with self._lock:
            self._forget(time.monotonic())
            self._load_files()

    async def watch(self) -> None:
        """Reads files and asks repositories again and again, until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:  # a repository that stalls does not keep files waiting
                tasks.create_task(self._again_and_again(self._load_in_thread))
                tasks.create_task(self._again_and_again(self._refresh_due))
        finally:
            if self._directory is not None and self._directory != self._configured.cache:
                shutil.rmtree(self._directory, ignore_errors=True)

    async def refresh(self, moment: float = float("inf")) -> None:
        """Every repository that policies name and that was due at `moment`, in monotonic time, has been asked once."""
        if self._configured.refresh_interval is None:
            return
        found, most = self._repositories(), self._configured.mirrors_max
        for state, _ in found[most:]:
            if state.root is None:
                left_out = replace(state, problem=f"{len(found)} repositories are named, and the first {most} asked")
                await asyncio.to_thread(self._settle, left_out)
        # Reviews wait for those that are not at hand
        for state, repository in sorted(found[:most], key=lambda one: one[0].root is not None):
            key = state.source.key
            if self._due.setdefault(key, self._first_due(state)) <= moment:
                problem = await self._ask(state, repository)
                self._due[key] = time.monotonic() + self._pause(key, problem)

    async def _again_and_again(self, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            await asyncio.sleep(self._configured.reload_interval)
            try:
                await work()
            except Exception:
                log.exception("trust roots could not be looked at; those at hand stay")

    async def _load_in_thread(self) -> None:
        await asyncio.to_thread(self.load)

    async def _refresh_due(self) -> None:
        await self.refresh(time.monotonic())

    def _repositories(self) -> list[tuple[State, Repository]]:
        named = self._named
        found = ((state, self._repository(state.source)) for key, state in self._states.items() if key in named)
        return [(state, repository) for state, repository in found if repository is not None]

    def _repository(self, source: RootSource) -> Repository | None:
        match source.kind:
            case RootKind.BUILT_IN:
                return self._public_good
            case RootKind.TUF:
                listed = mirror.authority(source.url) in self._configured.tuf_hosts
                return Repository(source.url, source.tuf_root, listed)
        return None

    async def _ask(self, state: State, repository: Repository) -> str:
        """Why the repository could not be believed now; empty where it was, and what it says holds."""
        try:
            fetched = await self._fetch(repository)
            _check_succession(fetched.root, self._predecessor(state))
        except InconclusiveError as error:
            settled = replace(state, problem=f"not refreshed from {repository.url}: {error.detail}")
        else:
            settled = State(state.source, fetched.root, f"fetched from {repository.url}", fetched.at)
            await asyncio.to_thread(self._keep, fetched, repository)
        self._observe(state.source.key, "failure" if settled.problem else "success")
        await asyncio.to_thread(self._settle, settled)
        return settled.problem

    def _predecessor(self, state: State) -> TrustRoot | None:
        """The root that a new one must not fall short of; what is shipped is none where trust begins elsewhere."""
        return None if state.at is None and self._configured.tuf_root is not None else state.root

    async def _fetch(self, repository: Repository) -> Fetched:
        directory = await asyncio.to_thread(self._open_directory)
        return await mirror.fetch(
            repository,
            directory / repository.folder,
            network=self._network,
            seconds=self._configured.fetch_timeout,
            now=self._clock(),
        )

    def _open_directory(self) -> Path:
        """Where the client may write: the cache, or else a temporary directory while this process lives."""
        if self._directory is None or not self._directory.is_dir():
            self._directory = _writable(self._configured.cache) or _make_temporary()
        in_use = {repository.folder for state in self.states if (repository := self._repository(state.source))}
        mirror.prune(self._directory, in_use)
        return self._directory

    def _keep(self, fetched: Fetched, repository: Repository) -> None:
        if self._directory is not None and self._directory == self._configured.cache:
            try:
                mirror.keep(fetched, self._directory / repository.folder)
            except OSError as error:
                log.warning("COUNTERSIGN_TRUST_CACHE %s: %s", self._directory, error.strerror)

    def _restored(self, state: State, repository: Repository) -> State:
        """`state`, or what was fetched before this process began, where that takes back nothing of it."""
        cache, key = self._configured.cache, state.source.key
        if cache is None:
            return state
        try:
            found = mirror.kept(cache / repository.folder)
        except (MalformedError, OSError) as error:
            log.warning("trust root %s: what was kept cannot be used: %s", key, error)
            return state
        predecessor = self._predecessor(state)
        if found is None or succession.shortfall(found.root, predecessor):
            return state
        if predecessor is not None and not succession.follows(found.root, predecessor):
            log.info("trust root %s: what was kept is older than what is shipped", key)
            return state
        return State(state.source, found.root, f"fetched from {repository.url}", found.at)

    def _begin(self, source: RootSource) -> State:
        repository = self._repository(source)
        off = "refresh is off, and nothing was kept" if self._configured.refresh_interval is None else "not fetched yet"
        return self._restored(State(source, problem=off), repository) if repository else State(source)

    def _first_due(self, state: State) -> float:
        if state.root is None:
            return 0.0  # reviews wait for it
        first = self._configured.first_refresh
        return time.monotonic() + random.uniform(first, 3 * first)  # noqa: S311 - so that replicas take turns

    def _pause(self, key: str, problem: str) -> float:
        interval = self._configured.refresh_interval or RETRY_MAX
        self._failures[key] = failures = self._failures.get(key, 0) + 1 if problem else 0
        if problem:
            interval = min(interval, RETRY_MAX, self._configured.retry_interval * 2 ** min(failures - 1, 10))
        return interval * random.uniform(0.9, 1.1)  # noqa: S311

    def _forget(self, now: float) -> None:
        latest = sorted(self._left.items(), key=lambda item: item[1])[-LEFT_MAX:]
        stay = {key: until for key, until in latest if until > now}
        for key in self._left.keys() - stay.keys():
            self._states = {name: state for name, state in self._states.items() if name != key}
            for known in (self._files, self._due, self._failures):
                known.pop(key, None)
        self._left = stay

    def _load_files(self) -> None:
        directory = self._configured.directory
        for key, state in self._states.items():
            if state.source.kind is RootKind.FILE:
                name = key.removeprefix("file ")
                file = folder.read(directory, name, self._files.get(key, folder.File()))
                if file is not self._files.get(key):
                    self._files[key] = file
                    self._set(State(state.source, file.root, f"file {name}", problem=file.problem))
        self._current = _snapshot(self._states)

    def _settle(self, state: State) -> None:
        with self._lock:
            if state.source.key in self._states:  # some policy names it still
                self._set(state)
                self._current = _snapshot(self._states)

    def _set(self, state: State) -> None:
        key = state.source.key
        before = self._states[key]
        self._states = {**self._states, key: state}
        if state.problem and state.problem != before.problem:
            log.warning(
                "trust root %s: %s (%s)", key, state.problem, "the last good one stays" if state.root else "none"
            )
        elif before.problem and not state.problem:
            log.info("trust root %s: at hand: %s", key, state.origin)
        if state.root is not None and state.root != before.root:
            log.info("trust root %s: %s: sha256:%s", key, state.origin, state.root.fingerprint)
            for note in state.root.notes:
                log.warning("trust root %s: %s", key, note)


def public_good(configured: settings.Trust) -> Repository:
    """The repository of the public-good instance, or what an operator put in its place. Raises: OperatorError."""
    url = configured.tuf_mirror or mirror.PUBLIC_GOOD_URL
    if problem := addresses.url_problem(url):
        raise OperatorError(f"COUNTERSIGN_TUF_MIRROR: {problem}")
    if configured.tuf_root is None:
        return Repository(url, mirror.packaged_tuf_root(), listed=True)
    if configured.tuf_mirror is None:
        raise OperatorError("COUNTERSIGN_TUF_ROOT: it is for a repository of your own, name it: COUNTERSIGN_TUF_MIRROR")
    return Repository(url, _load_tuf_root(configured.tuf_root), listed=True)


def _load_tuf_root(path: Path) -> bytes:
    """Whether it is one is found out by the client that begins with it."""
    try:
        return files.load(path, mirror.MAX_TUF_ROOT_BYTES)
    except OperatorError as error:
        raise OperatorError(f"COUNTERSIGN_TUF_ROOT {error}") from error


def _check_succession(new: TrustRoot, old: TrustRoot | None) -> None:
    if lack := succession.shortfall(new, old):
        raise InconclusiveError(Code.TRUST_UNAVAILABLE, f"what it vouches for is refused: {lack}")


def _writable(cache: Path | None) -> Path | None:
    if cache is None:
        return None
    try:
        cache.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=cache):
            return cache
    except OSError as error:
        log.warning("COUNTERSIGN_TRUST_CACHE %s: %s; a temporary directory is used", cache, error.strerror)
        return None


def _make_temporary() -> Path:
    try:
        return Path(tempfile.mkdtemp(prefix="countersign-trust-"))
    except OSError as error:
        raise InconclusiveError(Code.TRUST_UNAVAILABLE, f"no directory is writable: {error.strerror}") from error


def _snapshot(states: Mapping[str, State]) -> Trust:
    roots = {key: state.root for key, state in states.items() if state.root is not None}
    return Trust(roots, {key: state.problem for key, state in states.items() if state.root is None})


def _age(age: timedelta) -> str:
    seconds = max(int(age.total_seconds()), 0)
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"


def _utc_now() -> datetime:
    return datetime.now(UTC)
