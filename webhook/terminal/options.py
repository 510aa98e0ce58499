"""What several commands share: options, each with one name and one help text wherever it stands, and usage told."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from webhook.terminal.paper import Output

USAGE = 2  # the exit code of a mistake in usage, or of a defect of ours

ImageArgument = Annotated[
    str, typer.Argument(metavar="IMAGE", help="The image, as a pod would name it.", show_default=False)
]
PolicyOption = Annotated[
    list[Path] | None,
    typer.Option("--policy", "-p", metavar="FILE", help="A trust policy, or a folder of them (repeatable)."),
]
NamespaceOption = Annotated[str, typer.Option("--namespace", "-n", metavar="NS", help="The namespace of the pod.")]
OutputOption = Annotated[Output, typer.Option("--output", "-o", help="For people, or one JSON document for programs.")]

# Of every command that asks a registry
TimeoutOption = Annotated[
    float, typer.Option("--timeout", metavar="SECONDS", min=0.1, max=300, help="Time for all of it.")
]
RegistriesOption = Annotated[
    Path | None, typer.Option("--registries", metavar="FILE", help="What is to be known of registries.")
]
DockerConfigOption = Annotated[
    Path | None,
    typer.Option("--docker-config", metavar="FILE", help="Credentials; else ~/.docker/config.json is used."),
]
InsecureOption = Annotated[
    list[str] | None,
    typer.Option("--insecure-registry", metavar="HOST", help="Plain HTTP to HOST[:PORT], loopback too (repeatable)."),
]
PrivateOption = Annotated[
    list[str] | None,
    typer.Option("--private-registry", metavar="HOST", help="HOST[:PORT] may be at a private address (repeatable)."),
]
CaFileOption = Annotated[
    Path | None, typer.Option("--ca-file", metavar="FILE", help="Authorities trusted too, for every registry.")
]


def show_help(context: typer.Context) -> None:
    """Called without the name of what it should do, a command says what it can do; that is no success."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(USAGE)
