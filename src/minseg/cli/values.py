"""How values are spelled on the command line."""

import json
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any

import typer

from minseg.errors import MinsegError

DatasetFolder = Annotated[Path, typer.Argument(metavar="DIR", help="Dataset folder.")]
RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a finished run.")]
RunFolders = Annotated[Path | None, typer.Option(help="Folder of the run store.")]
Scale = Annotated[float | None, typer.Option(help="Reflectance of one digital number.")]
Offset = Annotated[float | None, typer.Option(help="Reflectance at number zero.")]
NoData = Annotated[float | None, typer.Option(help="Number of missing pixels.")]
RadarUnit = Annotated[str, typer.Option(help="db, power or amplitude.")]
RadarScale = Annotated[
    float | None, typer.Option(help="Decibels, power or amplitude of one digital number.")
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 for the second, or mps.")]
Seed = Annotated[int, typer.Option(help="Start of all randomness.")]
SplitSeed = Annotated[int, typer.Option(help="Seed of the split by mine.")]


def class_mapping(pairs: list[str]) -> dict[int, str]:
    """Read ``1=tailing storage facility``, several of them with commas between."""
    mapping: dict[int, str] = {}
    for value, name in (value_mapping(pairs, '1="dam"') or {}).items():
        if not re.fullmatch(r"[+-]?[0-9]+", value):
            raise MinsegError(f'--classes {value!r}: mask values are whole numbers, as in 1="dam"')
        if int(value) in mapping:
            raise MinsegError(f"--classes: {int(value)} is mapped twice; say once what it means")
        mapping[int(value)] = name
    return mapping


def value_mapping(pairs: list[str], example: str = "pit=excavation") -> dict[str, str] | None:
    """Read ``pit=excavation``, several of them with commas between; None for nothing."""
    mapping: dict[str, str] = {}
    for pair in (part for given in pairs for part in given.split(",")):
        value, equals, name = (part.strip() for part in pair.rpartition("="))
        if not equals or not value or not name:
            raise MinsegError(f"--classes {pair!r}: write value=class name, e.g. {example}")
        if value.lower() in map(str.lower, mapping):  # as polygons' fields are read
            raise MinsegError(f"--classes: {value} is mapped twice; say once what it means")
        mapping[value] = name.strip("\"'").lower()
    return mapping or None


def year_range(text: str) -> tuple[int, ...]:
    """Read ``2016-2022``, ``2016,2019`` or a mix of both."""
    years: set[int] = set()
    for part in text.split(","):
        ends = re.fullmatch(r"([0-9]{4})(?:-([0-9]{4}))?", part.strip())
        if not ends:
            raise MinsegError(f"--years {text!r}: write years such as 2016-2022 or 2016,2019")
        first, last = int(ends[1]), int(ends[2] or ends[1])
        if last < first:
            raise MinsegError(f"--years {text!r}: {last} comes before {first}; swap them")
        years.update(range(first, last + 1))
    return tuple(sorted(years))


def settings_in(path: Path) -> dict[str, Any]:
    """Read settings from a TOML file, or from the ``config.json`` of a run."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        settings = json.loads(text) if path.suffix.lower() == ".json" else tomllib.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error).partition("\n")[0]
        raise MinsegError(
            f"--settings {path}: cannot be read ({reason}); name a TOML file with lines such as "
            "epochs = 5, or the config.json of a run"
        ) from None
    if not isinstance(settings, dict):
        raise MinsegError(f"--settings {path}: holds no names with values, as epochs = 5 would be")
    return settings


def settings_of(pairs: list[str]) -> dict[str, str]:
    """Read ``epochs=5``."""
    settings = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        name = name.strip()
        if not equals:
            raise MinsegError(f"--set {pair!r}: write name=value, e.g. --set epochs=5")
        if name in ("task", "bands", "seed"):
            raise MinsegError(f"--set {pair!r}: {name} has an option of its own, --{name}")
        if name in settings:
            raise MinsegError(f"--set {pair!r}: {name} is set twice; set it once")
        settings[name] = value.strip()
    return settings
