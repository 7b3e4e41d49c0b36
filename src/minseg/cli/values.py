"""How values are spelled on the command line."""

from pathlib import Path
from typing import Annotated

import typer

from minseg.errors import MinsegError

DatasetFolder = Annotated[Path, typer.Argument(metavar="DIR", help="Dataset folder.")]
RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a finished run.")]


def whole_numbers(text: str, option: str) -> tuple[int, ...]:
    """Read ``2019,2021``."""
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise MinsegError(f"{option} {text!r}: give whole numbers separated by commas") from None


def class_mapping(pairs: list[str]) -> dict[int, str]:
    """Read ``1=tailing storage facility``, several of them with commas between."""
    mapping = {}
    for pair in (part for given in pairs for part in given.split(",")):
        value, _, name = pair.partition("=")
        if not value.strip().isdigit() or not name:
            raise MinsegError(f'--classes {pair!r}: write value=class name, e.g. 1="dam"')
        mapping[int(value)] = name.strip().strip("\"'").lower()
    return mapping


def value_mapping(pairs: list[str]) -> dict[str, str] | None:
    """Read ``pit=excavation``, several of them with commas between; None for nothing."""
    mapping = {}
    for pair in (part for given in pairs for part in given.split(",")):
        value, equals, name = pair.rpartition("=")
        if not equals or not value.strip() or not name.strip():
            raise MinsegError(f"--classes {pair!r}: write value=class name, e.g. pit=excavation")
        mapping[value.strip()] = name.strip().strip("\"'").lower()
    return mapping or None


def year_range(text: str) -> tuple[int, ...]:
    """Read ``2016-2022``, ``2016,2019`` or a mix of both."""
    years: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdigit() or (dash and not last.isdigit()):
            raise MinsegError(f"--years {text!r}: write years such as 2016-2022 or 2016,2019")
        if dash and int(last) < int(first):
            raise MinsegError(f"--years {text!r}: {last} comes before {first}; swap them")
        years.update(range(int(first), min(int(last or first), 9999) + 1))
    return tuple(sorted(years))


def settings_of(pairs: list[str]) -> dict[str, str]:
    """Read ``epochs=5``."""
    settings = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise MinsegError(f"--set {pair!r}: write name=value, e.g. --set epochs=5")
        settings[name] = value
    return settings
