"""The options and help texts of `countersign policy`; what the commands do is in `lint` and `explain`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from webhook import settings
from webhook.terminal.options import ImageArgument, NamespaceOption, OutputOption, PolicyOption, show_help
from webhook.terminal.paper import Output, Paper

app = typer.Typer(
    help="Check trust policies, and ask them what they demand. No network is used.",
    rich_markup_mode=None,
    epilog="""\b
Examples:
  countersign policy lint policies/
  countersign policy explain ghcr.io/acme/shop:1.4 --namespace shop --policy policies/production.yaml""",
)


app.callback(invoke_without_command=True)(show_help)


@app.command(
    short_help="Check policies: mistakes, with line and column, and findings.",
    epilog="""\b
Examples:
  countersign policy lint policies/
  countersign policy lint --strict production.yaml staging.yaml
  countersign policy lint policies/ --output json

\b
Exit code: 0 clean, 1 mistakes (with --strict findings too), 2 unreadable, or a mistake in usage.""",
)
def lint(
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATH", help="Policy files, or folders of them.", show_default=False)
    ],
    strict: Annotated[bool, typer.Option("--strict", help="Findings count as mistakes.")] = False,
    output: OutputOption = Output.TEXT,
) -> int:
    """Check policies: every mistake with its line and column, and findings on what they may not mean."""
    from webhook.terminal import lint as lint_command

    return lint_command.lint(tuple(paths), _settings(), strict=strict, output=output, paper=Paper(sys.stdout))


@app.command(
    short_help="Say what policies demand of an image, and why.",
    epilog="""\b
Examples:
  countersign policy explain ghcr.io/acme/shop:1.4 --namespace shop --policy policies/
  countersign policy explain nginx --namespace shop --policy production.yaml --policy base.yaml --output json""",
)
def explain(
    image: ImageArgument,
    policy: PolicyOption = None,
    namespace: NamespaceOption = "default",
    output: OutputOption = Output.TEXT,
) -> int:
    """Say which policies speak about an image, which rule decides, and what it demands. No network is used."""
    from webhook.terminal import explain as explain_command

    return explain_command.explain(
        image, tuple(policy or ()), _settings(), namespace=namespace, output=output, paper=Paper(sys.stdout)
    )


def _settings() -> settings.Policy:
    from webhook import environment

    return environment.read(os.environ).policy
