"""The options and help texts of `countersign trust-root`; what the commands do is in `trust_root`."""

from __future__ import annotations

import os
import sys
from itertools import zip_longest
from pathlib import Path
from typing import Annotated

import typer

from webhook.errors import OperatorError
from webhook.terminal.options import OutputOption, show_help
from webhook.terminal.paper import Output, Paper

app = typer.Typer(
    help="See, refresh and make Sigstore trust roots: whose certificates, logs and clocks count.",
    rich_markup_mode=None,
    epilog="""\b
Examples:
  countersign trust-root show
  countersign trust-root update --out trusted_root.json
  countersign trust-root import --fulcio fulcio.pem --rekor rekor.pub --ctfe ctfe.pub --out trusted_root.json""",
)

OutOption = Annotated[Path, typer.Option("--out", metavar="FILE", help="The trusted_root.json to write.")]


app.callback(invoke_without_command=True)(show_help)


@app.command(
    short_help="Say what a trust root trusts, and since when.",
    epilog="""\b
Examples:
  countersign trust-root show
  countersign trust-root show trusted_root.json
  countersign trust-root show --policy policies/ --output json

\b
Exit code: 0 shown, 1 a root that a policy names is not at hand, 2 unreadable, or a mistake in usage.""",
)
def show(
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="A trusted_root.json.", show_default=False)
    ] = None,
    policy: Annotated[
        list[Path] | None,
        typer.Option("--policy", "-p", metavar="FILE", help="The roots that a policy, or a folder of them, names."),
    ] = None,
    output: OutputOption = Output.TEXT,
) -> int:
    """Say what a trust root trusts: in FILE, named by policies, or the public-good root. No network is used."""
    from webhook import environment
    from webhook.terminal import trust_root

    configured = environment.read(os.environ)
    return trust_root.show(file, tuple(policy or ()), configured, output=output, paper=Paper(sys.stdout))


@app.command(
    short_help="Fetch the newest trust root by TUF, and say what changed.",
    epilog="""\b
Examples:
  countersign trust-root update --out trusted_root.json
  countersign trust-root update --mirror https://tuf.corp.example --root root.json --out corp.json

\b
Exit code: 0 FILE holds what the repository vouches for, 2 it could not be told, or a mistake in usage.""",
)
def update(
    out: OutOption,
    mirror: Annotated[
        str | None,
        typer.Option("--mirror", metavar="URL", help="A TUF repository; else that of the public-good instance."),
    ] = None,
    root: Annotated[
        Path | None,
        typer.Option("--root", metavar="FILE", help="Its root.json; else that of the public-good instance."),
    ] = None,
    output: OutputOption = Output.TEXT,
) -> int:
    """Fetch the newest trust root of a TUF repository now, verify it by TUF, write it, and say what changed."""
    from webhook import environment
    from webhook.terminal import trust_root

    configured = environment.read(os.environ)
    return trust_root.update(mirror, root, out, configured, output=output, paper=Paper(sys.stdout))


@app.command(
    name="import",
    short_help="Make a trusted_root.json of PEM files, or of several roots in one file.",
    epilog="""\b
Examples:
  countersign trust-root import --fulcio fulcio.pem --rekor rekor.pub --ctfe ctfe.pub --tsa tsa.pem --out corp.json
  gh attestation trusted-root > roots.jsonl; countersign trust-root import roots.jsonl --out github.json

\b
Exit code: 0 written, 2 unreadable, or a mistake in usage.""",
)
def import_(
    out: OutOption,
    file: Annotated[
        Path | None,
        typer.Argument(metavar="FILE", help="Trust roots, one in each line: each is a file.", show_default=False),
    ] = None,
    index: Annotated[
        int | None, typer.Option("--index", metavar="N", help="Of the roots in FILE only this one, from 1.")
    ] = None,
    fulcio: Annotated[
        list[Path] | None,
        typer.Option("--fulcio", metavar="FILE", help="A certificate authority's chain (repeatable)."),
    ] = None,
    rekor: Annotated[
        list[Path] | None, typer.Option("--rekor", metavar="FILE", help="A transparency log's key (repeatable).")
    ] = None,
    rekor_url: Annotated[
        list[str] | None, typer.Option("--rekor-url", metavar="URL", help="Its address, for each --rekor in order.")
    ] = None,
    rekor_origin: Annotated[
        list[str] | None,
        typer.Option("--rekor-origin", metavar="NAME", help="Of a Rekor v2 log: the first line of its checkpoints."),
    ] = None,
    ctfe: Annotated[
        list[Path] | None,
        typer.Option("--ctfe", metavar="FILE", help="A certificate transparency log's key (repeatable)."),
    ] = None,
    tsa: Annotated[
        list[Path] | None, typer.Option("--tsa", metavar="FILE", help="A timestamp authority's chain (repeatable).")
    ] = None,
    fulcio_url: Annotated[str, typer.Option("--fulcio-url", metavar="URL", help="The address of Fulcio.")] = "",
) -> int:
    """Make a trusted_root.json of the PEM files of an older deployment, or of the roots in FILE, which stay apart.

    What PEM files say has no dates: it counts for all times. Write `validFor` into the result when a key was replaced.
    """
    from webhook.terminal import trust_root

    parts = trust_root.Parts(
        tuple(fulcio or ()), _logs(rekor, rekor_url, rekor_origin), tuple(ctfe or ()), tuple(tsa or ()), fulcio_url
    )
    given = any((parts.fulcio, parts.rekor, parts.ctfe, parts.tsa))
    if (file is not None) == given:
        raise OperatorError("either FILE, or PEM files expected: --fulcio, --rekor, --ctfe, --tsa")
    if index is not None and file is None:
        raise OperatorError("--index: it is for FILE")
    paper = Paper(sys.stdout)
    if file is not None:
        return trust_root.split(file, index, out, paper=paper)
    return trust_root.assemble(parts, out, paper=paper)


def _logs(
    keys: list[Path] | None, urls: list[str] | None, origins: list[str] | None
) -> tuple[tuple[Path, str, str], ...]:
    keys, urls, origins = keys or [], urls or [], origins or []
    if max(len(urls), len(origins)) > len(keys):
        raise OperatorError("--rekor-url, --rekor-origin: at most one for each --rekor")
    return tuple(zip_longest(keys, urls, origins, fillvalue=""))  # type: ignore[arg-type]
