import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "src" / "minseg"

# Data flows down this list; a room imports only from itself and from rooms above it.
ROOMS = (
    "data", "scoring", "fetching", "synthetic",
    "learning", "maps", "study", "audit", "report", "cli",
)  # fmt: skip
COMMON = {"errors", "atomic", "progress"}  # imported by every room, importing none
TORCH_FREE = {
    "data", "scoring", "synthetic", "fetching", "audit", "report",
    "errors", "atomic", "progress",
    "maps.class_map", "maps.polygons", "maps.cleaning", "maps.change",
    "learning.options",
    "study.runs", "study.pack", "study.config", "study.paper",
}  # fmt: skip
TORCH = {"torch", "torchvision", "lightning_fabric", "segmentation_models_pytorch"}


def violations(package: Path) -> list[str]:
    """Every import that breaks the architecture, one line each."""
    found = []
    for path in sorted(package.rglob("*.py")):
        module = ".".join(path.relative_to(package).with_suffix("").parts)
        module = module.removesuffix("__init__").rstrip(".")
        for line, target, lazy in imports(path, package):
            problem = room_problem(module, target, package.name)
            if not lazy and is_torch_free(module) and target.split(".")[0] in TORCH:
                problem = "must import without torch"
            if problem:
                found.append(f"{path.relative_to(package)}:{line} imports {target}: {problem}")
    return found


def imports(path: Path, package: Path) -> Iterator[tuple[int, str, bool]]:
    """Line, absolute name, and whether the import waits inside a function."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    lazy = {
        id(inner)
        for outer in ast.walk(tree)
        if isinstance(outer, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for inner in ast.walk(outer)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = imported_from(node, path, package)
        else:
            continue
        for name in names:
            yield node.lineno, name, id(node) in lazy


def imported_from(node: ast.ImportFrom, path: Path, package: Path) -> list[str]:
    """Names behind `from … import …`; a room named after `from minseg import` counts as one."""
    base = node.module or ""
    if node.level:
        here = (package.name, *path.relative_to(package).parent.parts)
        base = ".".join([*here[: len(here) - node.level + 1], *base.split(".")]).rstrip(".")
    if base == package.name:
        return [f"{base}.{alias.name}" for alias in node.names]
    return [base]


def room_problem(module: str, target: str, package: str) -> str | None:
    """What is wrong with `module` importing `target`, or None."""
    source = module.split(".")[0]
    if source and source not in (*ROOMS, *COMMON):
        return f"{source} is in no room"
    if target == package:
        return "name the room"
    if not target.startswith(f"{package}."):
        return None
    room = target.split(".")[1]
    if room in COMMON or not source:  # the package's own __init__ opens every room
        return None
    if room not in ROOMS:
        return "is in no room"
    if source in COMMON:
        return f"{source} imports no room"
    if ROOMS.index(room) > ROOMS.index(source):
        return f"{room} lies below {source}"
    return None


def is_torch_free(module: str) -> bool:
    """Whether the module belongs to what a book with stored runs needs."""
    parents = module.split(".")
    return module == "" or any(
        ".".join(parents[:length]) in TORCH_FREE for length in range(1, len(parents) + 1)
    )


def test_every_module_imports_from_its_room_and_rooms_above():
    assert any(PACKAGE.rglob("*.py"))
    assert violations(PACKAGE) == []


def test_the_check_finds_every_kind_of_breach(tmp_path):
    files = {
        "__init__.py": "import lightning_fabric\n",
        "errors.py": "import minseg.data\n",
        "helpers.py": "import json\n",
        "data/bands.py": "import numpy\nfrom minseg.learning.models import build\n",
        "data/labels.py": "def late():\n    import minseg.study.runs\n    import torch\n",
        "data/raster.py": "from ..report import tables\nfrom .. import cli\n",
        "data/mines.py": "try:\n    import torch.nn\nexcept ImportError:\n    pass\n",
        "learning/options.py": "from segmentation_models_pytorch import metrics\n",
        "learning/losses.py": "import minseg.helpers\nfrom minseg.data import bands\n",
        "study/runs.py": "from torch import nn\nimport minseg.learning.models\n",
        "study/experiments.py": "from minseg import open_study\n",
        "report/figures.py": "import minseg\nimport torchvision\n",
    }
    for name, text in files.items():
        path = tmp_path / "minseg" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert violations(tmp_path / "minseg") == [
        "__init__.py:1 imports lightning_fabric: must import without torch",
        "data/bands.py:2 imports minseg.learning.models: learning lies below data",
        "data/labels.py:2 imports minseg.study.runs: study lies below data",
        "data/mines.py:2 imports torch.nn: must import without torch",
        "data/raster.py:1 imports minseg.report: report lies below data",
        "data/raster.py:2 imports minseg.cli: cli lies below data",
        "errors.py:1 imports minseg.data: errors imports no room",
        "helpers.py:1 imports json: helpers is in no room",
        "learning/losses.py:1 imports minseg.helpers: is in no room",
        "learning/options.py:1 imports segmentation_models_pytorch: must import without torch",
        "report/figures.py:1 imports minseg: name the room",
        "report/figures.py:2 imports torchvision: must import without torch",
        "study/experiments.py:1 imports minseg.open_study: is in no room",
        "study/runs.py:1 imports torch: must import without torch",
    ]


def loads_torch(modules: list[str]) -> bool:
    program = f"import sys, {', '.join(modules)}; print('torch' in sys.modules)"
    answer = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return answer.stdout.strip() == "True"


def test_torch_free_modules_load_no_torch_even_indirectly():
    paths = [path.relative_to(PACKAGE.parent).with_suffix("") for path in PACKAGE.rglob("*.py")]
    names = [".".join(path.parts).removesuffix(".__init__") for path in sorted(paths)]
    free = [name for name in names if is_torch_free(name.removeprefix("minseg").lstrip("."))]
    assert {"minseg.report.training", "minseg.study.runs"} <= set(free)
    assert not loads_torch(free)
    assert not loads_torch(["minseg.cli"])  # so that --help is quick
    assert loads_torch(["minseg.data.bands", "torch"])
