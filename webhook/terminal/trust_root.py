"""`trust-root show`, `update` and `import`: what a trust root says, the newest one by TUF, and one made of older files.

What is at hand is taken from where the server would take it, without asking anybody; only `update` uses the network.
Roots are never merged: what one instance vouches for must not hold under the demands on another.
"""

from __future__ import annotations

import asyncio
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from webhook import addresses, files
from webhook.errors import InconclusiveError, MalformedError, OperatorError
from webhook.policy import source as policies_in
from webhook.settings import Settings
from webhook.terminal.facts import Document
from webhook.terminal.paper import BAD, DIM, GOOD, STRONG, UNSURE, Output, Paper
from webhook.trust import byhand, mirror, root, sources, succession
from webhook.trust.byhand import LogKey
from webhook.trust.mirror import Fetched, Repository
from webhook.trust.root import Authority, Log, RootSource, TrustRoot, Window
from webhook.trust.sources import TrustSource

AT_HAND, LACKING = 0, 1
ALWAYS = datetime(1970, 1, 1, tzinfo=UTC)  # what is made of PEM files begins there
MAX_LINES = 100  # of a file that holds a root in each
MAX_LINES_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class Shown:
    """One root, or why it is not at hand; `source` is where it was taken from, in words."""

    name: str
    source: str
    root: TrustRoot | None
    demands: str = ""


@dataclass(frozen=True, slots=True)
class Parts:
    """PEM files by hand; a log is the file of its key, its URL and its origin."""

    fulcio: tuple[Path, ...] = ()
    rekor: tuple[tuple[Path, str, str], ...] = ()
    ctfe: tuple[Path, ...] = ()
    tsa: tuple[Path, ...] = ()
    fulcio_url: str = ""


def show(file: Path | None, policies: Sequence[Path], configured: Settings, *, output: Output, paper: Paper) -> int:
    """What is trusted, in `file`, by `policies`, or by default, is told. Raises: OperatorError, PolicyErrors."""
    if file is not None and policies:
        raise OperatorError("one of FILE and --policy expected")
    now = datetime.now(UTC)
    if file is not None:
        shown = [Shown(file.name, f"file {file}", _parse(files.load(file, root.MAX_ROOT_BYTES), str(file)))]
    else:
        shown = _at_hand(_named(policies), configured, now)
    if output is Output.JSON:
        paper.document([_document(one) for one in shown])
    else:
        for number, one in enumerate(shown):
            if number:
                paper.blank()
            _write(one, now, paper)
    return AT_HAND if all(one.root is not None for one in shown) else LACKING


def update(
    url: str | None, tuf_root: Path | None, out: Path, configured: Settings, *, output: Output, paper: Paper
) -> int:
    """What a TUF repository vouches for now is in `out`, and what changed is told. Raises: OperatorError."""
    if tuf_root is not None and url is None:
        raise OperatorError("--root: it is for a repository of your own, name it: --mirror")
    trust = configured.trust
    if url is not None:
        if problem := addresses.url_problem(url):
            raise OperatorError(f"--mirror: {problem}")
        if tuf_root is not None:
            files.load(tuf_root, mirror.MAX_TUF_ROOT_BYTES)
        trust = replace(trust, tuf_mirror=url, tuf_root=tuf_root)
    repository = sources.public_good(trust)
    before = _parse(files.load(out, root.MAX_ROOT_BYTES), str(out)) if out.exists() else None
    try:
        fetched = asyncio.run(_fetch(repository, configured))
    except InconclusiveError as error:
        raise OperatorError(f"{repository.url}: {error.detail}") from error
    if lack := succession.shortfall(fetched.root, before):
        raise OperatorError(f"{repository.url}: what it vouches for is refused: {lack}; {out} stays as it is")
    changes = succession.changes(fetched.root, before) if before else ()
    if before != fetched.root:
        files.save(out, fetched.document)
    if output is Output.JSON:
        told = {"url": repository.url, "file": str(out), "written": before != fetched.root, "changes": list(changes)}
        paper.document(told | _facts(fetched.root))
        return AT_HAND
    for line in changes:
        paper.line(line, indent=2, hang=2)
    if before == fetched.root:
        paper.line(("unchanged ", GOOD), str(out))
    else:
        _say_written(out, fetched.root, paper)
    return AT_HAND


def assemble(parts: Parts, out: Path, *, paper: Paper) -> int:
    """The PEM files are one trusted_root.json, `out`. Raises: OperatorError."""
    try:
        document = byhand.assemble(
            certificate_authorities=[files.load(path, byhand.MAX_CHAIN_BYTES) for path in parts.fulcio],
            transparency_logs=[
                LogKey(files.load(path, byhand.MAX_CHAIN_BYTES), url, origin) for path, url, origin in parts.rekor
            ],
            ct_logs=[LogKey(files.load(path, byhand.MAX_CHAIN_BYTES)) for path in parts.ctfe],
            timestamp_authorities=[files.load(path, byhand.MAX_CHAIN_BYTES) for path in parts.tsa],
            fulcio_url=parts.fulcio_url,
        )
        made = root.parse(document)
    except MalformedError as error:
        raise OperatorError(error.detail) from error
    if lack := succession.shortfall(made, None):
        raise OperatorError(f"a trust root of nothing: {lack}")
    files.save(out, document)
    _say_written(out, made, paper)
    return AT_HAND


def split(file: Path, index: int | None, out: Path, *, paper: Paper) -> int:
    """The roots in `file`, one in each line, are files of their own; with `index`, that one is `out`.

    Raises: OperatorError.
    """
    found = _lines(file)
    if index is not None:
        if not 1 <= index <= len(found):
            raise OperatorError(f"--index: {file} holds {len(found)}, found {index}")
        found = [found[index - 1]]
    roots = [_parse(data, f"{file}: root {number}") for number, data in enumerate(found, 1)]
    targets = [out] if len(found) == 1 else [out.with_stem(f"{out.stem}-{n}") for n in range(1, len(found) + 1)]
    for target, data, one in zip(targets, found, roots, strict=True):
        files.save(target, data)
        _say_written(target, one, paper)
    if len(found) > 1:
        paper.line(f"{len(found)} trust roots, a file for each: they are never merged; name each in a policy", hang=2)
    return AT_HAND


def _named(policies: Sequence[Path]) -> dict[RootSource, list[str]]:
    """Each root that is named, and the policies that do."""
    if not policies:
        return {root.PUBLIC_GOOD: []}
    named: dict[RootSource, list[str]] = {}
    for policy in policies_in.load_files(policies).policies:
        for source in dict.fromkeys(signer.trust_root for signer in policy.signers if signer.trust_root):
            named.setdefault(source, []).append(policy.name)
    return named


def _at_hand(named: Mapping[RootSource, Sequence[str]], configured: Settings, now: datetime) -> list[Shown]:
    trust = TrustSource(configured.trust, configured.network, observe=_ignore)
    trust.use(named)
    said = {state.source.key: state.describe(now) for state in trust.states}
    shown = []
    for source, policies in named.items():
        demands = ", ".join(
            word
            for word, wanted in (
                ("log", source.require_log),
                ("SCT", source.require_sct),
                ("timestamp", source.require_timestamp),
            )
            if wanted
        )
        at_hand = source.inline or trust.current.roots.get(source.key)
        stored = f"in {source.place.entry.holder}, which only a server in its cluster reads" if source.place else ""
        where = said.get(source.key) or stored or f"in policy {', '.join(policies)}"
        shown.append(Shown(source.name, where, at_hand, demands))
    return shown


def _ignore(key: str, result: str) -> None:
    """Refreshes are counted by the server only."""


def _write(shown: Shown, now: datetime, paper: Paper) -> None:
    paper.line((shown.name, STRONG), "  ", (shown.source, DIM if shown.root else BAD), hang=2)
    if shown.demands:
        paper.line(f"a signature needs: {shown.demands}", indent=2)
    if shown.root is None:
        return
    paper.line((f"sha256:{shown.root.fingerprint}", DIM), indent=2)
    for title, entries in _sections(shown.root):
        paper.line(title if entries else f"{title}: none", indent=2)
        for entry in entries:
            _write_entry(entry, now, paper)
    for note in shown.root.notes:
        paper.line(("note: ", UNSURE), note, indent=2, hang=2)


def _sections(shown: TrustRoot) -> tuple[tuple[str, tuple[Log, ...] | tuple[Authority, ...]], ...]:
    return (
        ("certificate authorities", shown.certificate_authorities),
        ("transparency logs", shown.logs),
        ("certificate transparency logs", shown.ct_logs),
        ("timestamp authorities", shown.timestamp_authorities),
    )


def _write_entry(entry: Log | Authority, now: datetime, paper: Paper) -> None:
    style = GOOD if now in entry.window else DIM
    paper.line(entry.url or "(no URL)", "  ", (_span(entry.window), style), indent=4, hang=2)
    if isinstance(entry, Log):
        paper.line((f"{entry.key.algorithm}, id {entry.log_id.hex()}", DIM), indent=6, hang=2)
        return
    for certificate in entry.chain:
        until = _time(certificate.not_valid_after_utc)
        words = f"{_subject(certificate)}, until {until}, sha256:{_fingerprint(certificate)}"
        paper.line((words, DIM), indent=6, hang=2)


def _span(window: Window) -> str:
    start = f"since {_time(window.start)}" if window.start and window.start > ALWAYS else ""
    if window.end is None:
        return start or "always"
    return f"{start.removeprefix('since ')} to {_time(window.end)}" if start else f"until {_time(window.end)}"


def _time(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")


def _subject(certificate: x509.Certificate) -> str:
    with warnings.catch_warnings():  # names that break their own rules are shown all the same
        warnings.simplefilter("ignore")
        try:
            return certificate.subject.rfc4514_string()
        except ValueError:
            return "(a name that cannot be read)"


def _fingerprint(certificate: x509.Certificate) -> str:
    return certificate.fingerprint(hashes.SHA256()).hex()


def _document(shown: Shown) -> Document:
    found = {"name": shown.name, "source": shown.source, "at_hand": shown.root is not None}
    return found | (_facts(shown.root) if shown.root is not None else {})


def _facts(shown: TrustRoot) -> Document:
    return {
        "fingerprint": f"sha256:{shown.fingerprint}",
        "certificate_authorities": [_authority(one) for one in shown.certificate_authorities],
        "transparency_logs": [_log(one) for one in shown.logs],
        "ct_logs": [_log(one) for one in shown.ct_logs],
        "timestamp_authorities": [_authority(one) for one in shown.timestamp_authorities],
        "notes": list(shown.notes),
    }


def _log(log: Log) -> Document:
    key = {"algorithm": log.key.algorithm, "fingerprint": f"sha256:{log.key.fingerprint}"}
    return {"url": log.url, "id": log.log_id.hex(), "key": key} | _valid(log.window)


def _authority(authority: Authority) -> Document:
    chain = [
        {
            "subject": _subject(certificate),
            "fingerprint": f"sha256:{_fingerprint(certificate)}",
            "not_before": _time(certificate.not_valid_before_utc),
            "not_after": _time(certificate.not_valid_after_utc),
        }
        for certificate in authority.chain
    ]
    return {"url": authority.url, "chain": chain} | _valid(authority.window)


def _valid(window: Window) -> Document:
    return {
        "start": _time(window.start) if window.start else None,
        "end": _time(window.end) if window.end else None,
    }


async def _fetch(repository: Repository, configured: Settings) -> Fetched:
    with tempfile.TemporaryDirectory(prefix="countersign-trust-") as directory:
        return await mirror.fetch(
            repository,
            Path(directory) / repository.folder,
            network=configured.network,
            seconds=configured.trust.fetch_timeout,
            now=datetime.now(UTC),
        )


def _lines(file: Path) -> list[bytes]:
    """The roots in a file: the whole of it is one, or each line is, as `gh attestation trusted-root` writes them."""
    data = files.load(file, MAX_LINES_BYTES)
    lines = [line for line in data.splitlines() if line.strip()]
    if len(lines) > MAX_LINES and _is_object(lines[0]):
        raise OperatorError(f"{file}: {len(lines)} lines, at most {MAX_LINES} are read")
    return lines if len(lines) > 1 and _is_object(lines[0]) else [data]


def _is_object(line: bytes) -> bool:
    return line.strip().startswith(b"{") and line.strip().endswith(b"}")


def _parse(data: bytes, what: str) -> TrustRoot:
    try:
        return root.parse(data)
    except MalformedError as error:
        raise OperatorError(f"{what}: {error.detail}") from error


def _say_written(path: Path, written: TrustRoot, paper: Paper) -> None:
    counts = ", ".join(f"{title}: {len(entries)}" for title, entries in _sections(written))
    paper.line(("written ", GOOD), f"{path}: {counts}", hang=2)
