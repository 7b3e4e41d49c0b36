"""The ledger: what the paper states, where, on which printed rows, how it is tested, and judged."""

import inspect
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal, Self

import pandas as pd
import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from minseg.audit.measured import (
    CONTRADICTED,
    RUN_TESTS,
    SUPPORTED,
    UNTESTABLE,
    Evidence,
    RunFinding,
    decide,
)
from minseg.audit.paper_tests import PAPER_TESTS, compared
from minseg.audit.printed import HOLDS, NOT_A_KEY, UNDECIDABLE, PaperFinding, Rows, weigh
from minseg.errors import MinsegError, summarise
from minseg.study.paper import TABLES, paper_statements, paper_table

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast, where it was built

LEDGER_FILE = Path(__file__).with_name("ledger.yaml").resolve()
"""The ledger of the checkout."""

SECTIONS: dict[str, str] = {
    "abstract": "Abstract",
    "2.1": "2.1 Training data",
    "2.2": "2.2 Subsets",
    "2.3": "2.3 Segmentation task",
    "2.4": "2.4 Experiments",
    "3": "3 Results",
    "3.1": "3.1 Band configuration",
    "3.2": "3.2 Dataset splits",
    "3.3": "3.3 Hyperparameter tuning",
    "4": "4 Single mines",
    "4.1": "4.1 Model 1, mine by mine",
    "4.2": "4.2 Model 2, mine by mine",
    "4.3": "4.3 Model 3, mine by mine",
    "4.4": "4.4 Visual check",
    "5.2": "5.2 Universal or split datasets",
    "5.3": "5.3 Randomness of the test mines",
    "5.4": "5.4 Spatial resolution",
    "6": "6 Conclusions",
}
"""Places of the paper that state something checkable."""


class _Part(BaseModel):
    """A part of the ledger: read once, never changed."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Selector(_Part):
    """Rows of one printed table; in the file ``{table: 3, model: model1, metric: iou}``."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, str | tuple[str, ...]] = Field(init=False)

    table: int | Literal["statements"]
    """Number of the table, or the numbers of the prose and captions (``statements.csv``)."""

    @property
    def cells(self) -> dict[str, tuple[str, ...]]:
        """Columns to the values wanted; columns that are not named take all values."""
        named = self.__pydantic_extra__.items()
        return {name: (value,) if isinstance(value, str) else value for name, value in named}


class NamedTest(_Part):
    """A test and its parameters; in the file ``{test: highest, of: bands, row: M}``."""

    model_config = ConfigDict(extra="allow")

    test: str
    """Name of the function in `PAPER_TESTS` or `RUN_TESTS`."""
    share: float = Field(1.0, ge=0, le=1)
    """The least share of the comparisons that must be as claimed."""

    @property
    def parameters(self) -> dict[str, Any]:
        """Everything else that is named."""
        return self.model_extra or {}


class Claim(_Part):
    """One checkable statement of the paper."""

    id: str = Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")
    """Unique name, also of its place on the page."""
    place: tuple[str, ...] = Field(min_length=1)
    """Where the paper states it (`SECTIONS`), the first place first."""
    says: str = Field(min_length=1)
    """What it says, in our words."""
    reading: str | None = None
    """How words that name no number are taken, and what speaks for another reading."""
    rows: tuple[Selector, ...]
    """The printed rows that it rests on; none where no table bears on it."""
    test_paper: NamedTest | None
    """How it is held against the printed rows."""
    otherwise: Literal["fails", "holds in part", "not stated", "not decidable"] = "fails"
    """The verdict where fewer comparisons than asked for are as claimed."""
    part: float = Field(0.0, ge=0, le=1)
    """The least share for that verdict; with fewer the claim fails."""
    finding: str | None = None
    """The finding in a sentence, where a count says less (`minseg.audit.printed.weigh`)."""
    matters: str | None = None
    """What it changes for a reader, whatever the verdict."""
    paper_cannot: str | None = None
    """Why the paper's tables cannot tell, where there is no such test."""
    test_runs: NamedTest | None
    """How it is held against our runs."""
    runs_cannot: str | None = None
    """Why runs cannot tell, where there is no such test."""
    where: str
    """File and line of the ledger."""

    @model_validator(mode="after")
    def _reason_in_place_of_a_test(self) -> Self:
        """Ask for a test or for the reason why there is none, never for both."""
        for side in ("paper", "runs"):
            test, reason = getattr(self, f"test_{side}"), getattr(self, f"{side}_cannot")
            if (test is None) == (reason is None):
                raise ValueError(f"give either test_{side}, or null and the reason {side}_cannot")
        unknown = [place for place in self.place if place not in SECTIONS]
        if unknown:
            raise ValueError(f"place {unknown[0]!r} is none of {', '.join(SECTIONS)}")
        return self


def read_claims(path: Path | str = LEDGER_FILE) -> tuple[Claim, ...]:
    """Read a ledger and check it against the tables and tests that it names.

    Parameters
    ----------
    path : Path or str
        A YAML file, a list of claims (see `Claim`).

    Returns
    -------
    tuple of Claim
        In the file's order.

    Raises
    ------
    MinsegError
        With file and line: if the file cannot be read, a field is missing or unknown, an id stands
        twice, or a claim names rows, tests or parameters that do not exist.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
        root, entries = yaml.compose(text, _LOADER), yaml.load(text, _LOADER)
    except OSError as error:
        raise MinsegError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        number = error.object.count(b"\n", 0, error.start) + 1
        raise MinsegError(f"{path}:{number}: is no UTF-8; save it in that encoding") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        reason = str(getattr(error, "problem", None) or error).splitlines()[0]
        raise MinsegError(f"{path}{line}: is no YAML ({reason})") from None
    if not isinstance(root, yaml.SequenceNode) or not root.value:
        raise MinsegError(f"{path}:1: is no list of claims; begin each with '- id: …'")
    numbers: tuple[int | str, ...] = (*TABLES, "statements")
    tables = {number: printed_table(number) for number in numbers}
    claims: dict[str, Claim] = {}
    problems: list[str] = []
    for node, entry in zip(root.value, entries, strict=True):
        claim, found = _read_claim(path, node, entry, tables)
        problems += found
        if claim and claim.id in claims:
            problems.append(
                f"{claim.where}: id {claim.id!r} stands at {claims[claim.id].where} too"
            )
        elif claim:
            claims[claim.id] = claim
    if problems:
        raise MinsegError(summarise(problems))
    return tuple(claims.values())


def printed_table(number: int | str, folder: Path | None = None) -> pd.DataFrame:
    """Return a table of the paper, or the numbers of its prose, from a folder of them."""
    return paper_statements(folder) if number == "statements" else paper_table(int(number), folder)


def select(claim: Claim, folder: Path | None = None) -> Rows:
    """Return the printed rows that a claim rests on, a table (with line and value) a selector."""
    tables = {one.table: printed_table(one.table, folder) for one in claim.rows}
    return tuple(_select(one, tables[one.table], claim.where) for one in claim.rows)


def _read_claim(
    path: Path, node: yaml.Node, entry: Any, tables: Mapping[int | str, pd.DataFrame]
) -> tuple[Claim | None, list[str]]:
    """Read one claim; what is wrong with it, one line each."""
    if not isinstance(node, yaml.MappingNode):
        return None, [f"{path}:{_line(node)}: is no claim; begin it with '- id: …'"]
    names = [key.value for key, _ in node.value]
    twice = [key for k, (key, _) in enumerate(node.value) if key.value in names[:k]]
    if twice:
        return None, [f"{path}:{_line(twice[0])}: {twice[0].value} stands twice in this claim"]
    if "where" in names:
        return None, [f"{path}:{_line(node)}: unknown field where"]
    try:
        claim = Claim.model_validate({**entry, "where": f"{path}:{_line(node)}"})
    except ValidationError as error:
        return None, [
            f"{path}:{_line(_at(node, detail['loc']))}: claim {entry.get('id', '?')}: "
            f"{'.'.join(map(str, detail['loc']))}{': ' * bool(detail['loc'])}{detail['msg']}"
            for detail in error.errors()
        ]
    found = []
    for k, one in enumerate(claim.rows):
        where = f"{path}:{_line(_at(node, ('rows', k)))}"
        try:
            _select(one, tables.get(one.table), where)
        except MinsegError as error:
            found.append(str(error))
    for side, tests, given in (("paper", PAPER_TESTS, 1), ("runs", RUN_TESTS, 2)):
        named = getattr(claim, f"test_{side}")
        problem = _test_problem(named, tests, given) if named else None
        if problem:
            found.append(f"{path}:{_line(_at(node, (f'test_{side}',)))}: {problem}")
    return claim, found


def _test_problem(named: NamedTest, tests: Mapping[str, Callable], given: int) -> str | None:
    """Say why a test cannot be called; its first `given` arguments are ours."""
    if named.test not in tests:
        return f"unknown test {named.test!r}; there are {', '.join(sorted(tests))}"
    signature = inspect.signature(tests[named.test])
    try:
        signature.bind(*[None] * given, **named.parameters)
    except TypeError as error:
        return f"test {named.test}: {error}"
    for name, value in named.parameters.items():
        try:
            _values_of(signature.parameters[name].annotation).validate_python(value, strict=True)
        except ValidationError as error:
            return f"test {named.test}: {name} is {value!r}: {error.errors()[0]['msg']}"
    return None


_values_of = cache(TypeAdapter)
"""From a type to what checks its values."""


def _select(selector: Selector, table: pd.DataFrame | None, where: str) -> pd.DataFrame:
    """Return the rows of a selector; each value that it names must be met."""
    number = selector.table
    if table is None:
        raise MinsegError(f"{where}: there is no table {number}; use {', '.join(map(str, TABLES))}")
    table = table.rename(columns={"images": "value"})
    rows = table.assign(table=number, line=table.index + 2)  # line 1 holds the names
    for column, wanted in selector.cells.items():
        known = [name for name in table.columns if name not in NOT_A_KEY]
        if column not in known:
            raise MinsegError(
                f"{where}: table {number} has no column {column!r}; it has {', '.join(known)}"
            )
        rows = rows[rows[column].isin(wanted)]
        strangers = [value for value in wanted if value not in set(rows[column])]
        if strangers:
            raise MinsegError(
                f"{where}: table {number} has no such row with {column} {strangers[0]!r}; "
                f"{column} is one of {', '.join(map(str, table[column].unique()))}"
            )
    return rows


def _at(node: yaml.Node, location: tuple[int | str, ...]) -> yaml.Node:
    """Follow a path of keys and numbers as far as it goes."""
    for step in location:
        parts: dict[int | str, yaml.Node] = {}
        if isinstance(node, yaml.MappingNode):
            parts = {key.value: value for key, value in node.value}
        elif isinstance(node, yaml.SequenceNode):
            parts = dict(enumerate(node.value))
        if step not in parts:
            return node
        node = parts[step]
    return node


def _line(node: yaml.Node) -> int:
    """Return the line of the file that a part begins in, from 1."""
    return node.start_mark.line + 1


# Claims with what tables and runs say of them ----------------------------------------------------

_NOT_ASKED = RunFinding(UNTESTABLE, "No runs were asked.")


@dataclass(frozen=True)
class Judged:
    """A claim, the printed rows that it rests on, and what tables and runs say of it."""

    claim: Claim
    rows: Rows
    paper: PaperFinding
    runs: RunFinding = _NOT_ASKED


@dataclass(frozen=True)
class Ledger:
    """Claims with their verdicts, on the print and on one dataset."""

    judged: tuple[Judged, ...]
    dataset: str | None = None
    """Name of the dataset of the runs; None where none were asked."""
    synthetic: bool = False
    """Whether that dataset was made, not observed."""

    @property
    def contradictions(self) -> Self:
        """Those claims that the paper's own numbers do not bear out as they are worded."""
        borne_out = HOLDS, UNDECIDABLE
        judged = tuple(one for one in self.judged if one.paper.verdict not in borne_out)
        return replace(self, judged=judged)

    def counts(self, side: str) -> Counter[str]:
        """Count the verdicts of a side, paper or runs."""
        return Counter(getattr(one, side).verdict for one in self.judged)

    @property
    def evidence_about_real_mines(self) -> int:
        """Number of claims that our runs support or contradict on real imagery: 0 if synthetic."""
        counts = self.counts("runs")
        return 0 if self.synthetic else counts[SUPPORTED] + counts[CONTRADICTED]


def against_paper(claim: Claim, folder: Path | None = None) -> PaperFinding:
    """Hold a claim against the paper's own numbers, in the checkout or in a folder."""
    if claim.test_paper is None:
        return PaperFinding(UNDECIDABLE, str(claim.paper_cannot))
    named, rows = claim.test_paper, select(claim, folder)
    with _told_with_line(claim, named):
        found = compared(PAPER_TESTS[named.test](rows, **named.parameters))
        return weigh(found, named.share, claim.otherwise, claim.part, claim.finding)


def against_runs(claim: Claim, evidence: Evidence) -> RunFinding:
    """Hold a claim against our runs."""
    if claim.test_runs is None:
        return RunFinding(UNTESTABLE, str(claim.runs_cannot))
    named, rows = claim.test_runs, select(claim)
    with _told_with_line(claim, named):
        found = RUN_TESTS[named.test](rows, evidence, **named.parameters)
    return decide(found, named.share)


@contextmanager
def _told_with_line(claim: Claim, named: NamedTest) -> Iterator[None]:
    """Say in which line of the ledger a test names what it cannot use."""
    try:
        yield
        return
    except MinsegError as error:
        problem = str(error)
    except (KeyError, ValueError, IndexError) as error:
        problem = f"test {named.test} or its finding names what is not there: {error}"
    raise MinsegError(f"{claim.where}: {problem}")


def judge_print(claims: Sequence[Claim], folder: Path | None = None) -> Ledger:
    """Hold claims against the paper's own numbers alone, in the checkout or in a folder."""
    return Ledger(
        tuple(Judged(one, select(one, folder), against_paper(one, folder)) for one in claims)
    )


def judge(claims: Sequence[Claim], evidence: Evidence) -> Ledger:
    """Reach both verdicts on each claim.

    Parameters
    ----------
    claims : sequence of Claim
    evidence : Evidence

    Returns
    -------
    Ledger
    """
    study = evidence.study
    return Ledger(
        tuple(
            Judged(claim, select(claim), against_paper(claim), against_runs(claim, evidence))
            for claim in claims
        ),
        study.dataset.description.name,
        study.dataset.synthetic,
    )
