"""The settings of one command: those of the environment, and over them what the command line says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from webhook import environment
from webhook.settings import Settings
from webhook.terminal import given


def read(
    variables: Mapping[str, str], *, registries: Path | None, docker_config: Path | None, ca_file: Path | None
) -> Settings:
    """The settings of the environment, and the command line's over them; the user's own docker login is the default.

    Raises: OperatorError.
    """
    own = Path("~/.docker/config.json").expanduser()
    if "COUNTERSIGN_DOCKER_CONFIG" not in variables and own.is_file():
        docker_config = docker_config or own
    said = {
        "COUNTERSIGN_REGISTRIES": registries,
        "COUNTERSIGN_DOCKER_CONFIG": docker_config,
        "COUNTERSIGN_CA_FILE": ca_file,
    }
    return environment.read(variables, {name: str(path) for name, path in said.items() if path is not None})


def with_hosts(
    configured: Settings, *, asked: tuple[str, ...], insecure: tuple[str, ...], private: tuple[str, ...]
) -> Settings:
    """`configured`, with what the command line says of registries, and of those of the images `asked` for.

    Raises: OperatorError.
    """
    hosts = given.hosts(configured.registry.hosts, asked=asked, insecure=insecure, private=private)
    return replace(configured, registry=replace(configured.registry, hosts=hosts))
