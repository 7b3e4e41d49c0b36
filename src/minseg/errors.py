"""The one error a user can cause."""

from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

Fields = TypeVar("Fields")


class MinsegError(Exception):
    """A mistake in the input, told in one line: what, where, and how to mend it.

    The command line prints the message without a traceback and exits with 1.
    """


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text, or its type where it has none."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def summarise(problems: list[str], shown: int = 5) -> str:
    """Join problems into one line, the first few in full."""
    rest = len(problems) - shown
    return "; ".join(problems[:shown]) + (f"; and {rest} more" if rest > 0 else "")


def require_word(what: str, word: str, allowed: Iterable[str]) -> None:
    """Refuse a word that is none of those allowed, and list these."""
    words = list(allowed)
    if word not in words:
        raise MinsegError(f"unknown {what} {word!r}; use {', '.join(words[:-1])} or {words[-1]}")


def filled(kind: type[Fields], values: Mapping[str, Any]) -> Fields:
    """Fill the fields of a dataclass from a notebook's dictionary, or say what does not fit."""
    known = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    for name in values:
        require_word(f"{kind.__name__} field", name, known)
    try:
        return TypeAdapter(kind).validate_python(values)
    except ValidationError as error:
        where = (f"{d['loc'][0]} = {d['input']!r}: {d['msg']}" for d in error.errors())
        raise MinsegError(f"{kind.__name__} {'; '.join(where)}") from None
