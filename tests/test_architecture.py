"""The rules of docs/design.md that can be read from the source: imports go down, some names stay in their place."""

from __future__ import annotations

import ast
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "stylegan_jax"

# One rank per folder, no exception per file: a module may import only from its own folder and from lower ranks.
RANKS = {
    "stylegan_jax": 0,  # the facade: version and lazy names
    "stylegan_jax.base": 0,
    "stylegan_jax.inert": 1,
    "stylegan_jax.config": 1,
    "stylegan_jax.onnx": 1,
    "stylegan_jax.roofline": 1,
    "stylegan_jax.configs": 2,  # the folder configs/
    "stylegan_jax.ops": 2,
    "stylegan_jax.layers": 3,
    "stylegan_jax.features": 3,
    "stylegan_jax.augment": 3,
    "stylegan_jax.models": 4,
    "stylegan_jax.encoders": 4,
    "stylegan_jax.losses": 5,
    "stylegan_jax.data": 5,
    "stylegan_jax.convert": 5,
    "stylegan_jax.checkpoints": 5,
    "stylegan_jax.runtime": 5,
    "stylegan_jax.sampling": 6,
    "stylegan_jax.metrics": 7,
    "stylegan_jax.train": 8,
    "stylegan_jax.tools": 9,
    "stylegan_jax.studio": 10,
    "stylegan_jax.main": 10,
    "stylegan_jax.__main__": 10,
}
# Pairs that the ranks allow and the design does not; a prefix stands for everything under it.
FORBIDDEN = (
    ("stylegan_jax.losses", "stylegan_jax.models"),
    ("stylegan_jax.data", "stylegan_jax.models"),
)
# Top-level package or module -> where it may be imported, and whether only inside functions.
CONFINED = {
    "tensorflow": (("stylegan_jax.data",), True),
    "tensorflow_datasets": (("stylegan_jax.data",), True),
    "clu": (("stylegan_jax.train.report",), True),
    "wandb": (("stylegan_jax.train.trackers",), True),
    "huggingface_hub": (("stylegan_jax.sampling.hub",), True),
    "onnx": (("stylegan_jax.onnx", "stylegan_jax.sampling.onnx_files"), True),
    "pickle": (("stylegan_jax.convert",), False),
    "ml_collections": (
        ("stylegan_jax.main", "stylegan_jax.config", "stylegan_jax.tools", "stylegan_jax.configs"),
        False,
    ),
    "absl": (("stylegan_jax.main", "stylegan_jax.config", "stylegan_jax.tools", "stylegan_jax.configs"), False),
    "torch": ((), False),
}
PURE = ("ops", "layers", "losses", "augment", "models", "encoders.encoder", "encoders.restyle", "encoders.bodies")
MAX_FILE, MAX_FUNCTION = 500, 90

Imports = list[tuple[str, int, bool]]


def module_name(path: Path) -> str:
    """Return the dotted name of a source file."""
    parts = list(path.relative_to(ROOT).with_suffix("").parts)
    parts = ["stylegan_jax", *parts] if parts[0] == "configs" else parts  # as it is installed
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def sources(*folders: str) -> dict[str, Path]:
    """Return {module name: path} of all Python files under folders of the checkout."""
    return {module_name(p): p for folder in folders for p in sorted((ROOT / folder).rglob("*.py"))}


MODULES = sources("stylegan_jax", "configs")


def imports_of(source: str, name: str, is_package: bool) -> Imports:
    """Return (dotted name, line, deferred) of every import; `from a import b` counts as a.b.

    Deferred: inside a function, or for type checkers only.
    """
    found: Imports = []

    def visit(node: ast.AST, lazy: bool) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                found.extend((alias.name, child.lineno, lazy) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                base = child.module or ""
                if child.level:
                    parts = name.split(".")
                    up = parts[: len(parts) - child.level + is_package]
                    base = ".".join([*up, base] if base else up)
                found.extend((f"{base}.{alias.name}", child.lineno, lazy) for alias in child.names)
            deferred = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef))
            typing_only = isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"
            visit(child, lazy or deferred or typing_only)

    visit(ast.parse(source), False)
    return found


def under(name: str, prefix: str) -> bool:
    """Return whether a dotted name is a prefix or lies below it."""
    return name == prefix or name.startswith(prefix + ".")


def folder(name: str) -> str:
    """Return the entry of `RANKS` that a dotted name belongs to."""
    return max((prefix for prefix in RANKS if under(name, prefix)), key=len)


def rank(name: str) -> int:
    """Return the layer of a dotted name of the package."""
    return RANKS[folder(name)]


def layering_faults(name: str, imports: Imports) -> list[str]:
    """Return a line per import of the package itself that goes up or is forbidden."""
    faults = []
    for target, line, lazy in imports:
        # The package itself passes on its best names, on first use.
        if not under(target, "stylegan_jax") or (name == "stylegan_jax" and lazy):
            continue
        why = ""
        if rank(target) > rank(name):
            why = f"goes up, from rank {rank(name)} to {rank(target)}"
        elif rank(target) == rank(name) and folder(target) != folder(name):
            why = f"crosses to a folder of the same rank, {rank(name)}"
        elif any(under(name, a) and under(target, b) for a, b in FORBIDDEN):
            why = "is not allowed by the design"
        if why:
            faults.append(f"{name}:{line} imports {target}, which {why}")
    return faults


def confinement_faults(name: str, imports: Imports) -> list[str]:
    """Return a line per import of an outside package in a place that is not its own."""
    faults = []
    for target, line, lazy in imports:
        places, only_lazy = CONFINED.get(target.split(".")[0], (None, False))
        if places is None:
            continue
        if not any(under(name, place) for place in places):
            faults.append(f"{name}:{line} imports {target}; allowed in: {', '.join(places) or 'nothing'}")
        elif only_lazy and not lazy:
            faults.append(f"{name}:{line} imports {target} when it is imported itself; move that into the function")
    return faults


def collect(check) -> list[str]:
    """Return the faults of all modules of the package."""
    faults = []
    for name, path in MODULES.items():
        found = imports_of(path.read_text(encoding="utf-8"), name, path.name == "__init__.py")
        faults += check(name, found)
    return faults


def test_imports_go_down():
    package = {name for name in MODULES if under(name, "stylegan_jax")}
    assert len(package) > 40, "the walk found too few modules to mean anything"
    assert not (faults := collect(lambda n, i: layering_faults(n, i) if n in package else [])), "\n".join(faults)


def test_recipes_import_each_other_by_the_name_that_they_are_installed_under():
    """A folder configs/ of the user's may stand in the way of the other name."""
    assert not collect(lambda name, found: [name for target, _, _ in found if under(target, "configs")])


def test_outside_packages_stay_in_their_place():
    assert not (faults := collect(confinement_faults)), "\n".join(faults)


@pytest.mark.parametrize(
    ("name", "source", "words"),
    [
        ("stylegan_jax.ops.fir", "from stylegan_jax.layers import conv", "goes up"),
        ("stylegan_jax.ops.fir", "def f():\n    import stylegan_jax.train.gan.phases", "goes up"),
        ("stylegan_jax.ops.fir", "from ..models.gan import Gan", "goes up"),
        ("stylegan_jax", "from stylegan_jax.train.loop import train", "goes up"),
        ("stylegan_jax.sampling.load", "from stylegan_jax.train import loop", "goes up"),
        ("stylegan_jax.checkpoints.restore", "from stylegan_jax.runtime import mesh", "crosses"),
        ("stylegan_jax.losses.mixing", "from stylegan_jax.models import Gan", "not allowed"),
        ("stylegan_jax.data.images", "from stylegan_jax.models import Gan", "not allowed"),
        ("stylegan_jax.train.loop", "import tensorflow as tf", "allowed in: stylegan_jax.data"),
        ("stylegan_jax.data.pipeline", "import tensorflow as tf", "move that into the function"),
        ("stylegan_jax.train.report", "from clu import metric_writers", "move that into the function"),
        ("stylegan_jax.train.loop", "import pickle", "allowed in: stylegan_jax.convert"),
        ("stylegan_jax.train.loop", "from absl import flags", "allowed in: stylegan_jax.main"),
        ("stylegan_jax.models.gan", "from ml_collections import ConfigDict", "allowed in: stylegan_jax.main"),
        ("stylegan_jax.convert.tensors", "def f():\n    import torch.nn", "allowed in: nothing"),
    ],
)
def test_a_broken_rule_is_found(name, source, words):
    imports = imports_of(source, name, is_package=False)
    faults = layering_faults(name, imports) + confinement_faults(name, imports)
    assert len(faults) == 1 and words in faults[0]


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("stylegan_jax.train.gan.phases", "from stylegan_jax.models import Gan\nfrom stylegan_jax import rng"),
        ("stylegan_jax.data.pipeline", "def f():\n    import tensorflow as tf"),
        ("stylegan_jax", "def __getattr__(name):\n    from stylegan_jax.train.loop import train"),
        ("stylegan_jax.train.report", "def f():\n    from clu import metric_writers"),
        ("stylegan_jax.main", "from absl import app, flags\nfrom stylegan_jax.train import loop"),
    ],
)
def test_what_the_rules_allow_is_not_a_fault(name, source):
    imports = imports_of(source, name, is_package=False)
    assert layering_faults(name, imports) + confinement_faults(name, imports) == []


def text_files() -> list[Path]:
    """Return the Python, Markdown and shell files that git tracks or would add; all of them outside a checkout."""
    command = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    names = done.stdout.split("\0") if done.returncode == 0 else []
    paths = [ROOT / name for name in names if name] or [p for p in ROOT.rglob("*") if ".venv" not in p.parts]
    return [p for p in paths if p.suffix in (".py", ".md", ".sh") and p.is_file()]


def test_no_file_is_over_500_lines():
    files = text_files()
    assert len(files) > 60, "found too few files to mean anything"
    sizes = {str(p.relative_to(ROOT)): len(p.read_text(encoding="utf-8").splitlines()) for p in files}
    assert not (long := {name: lines for name, lines in sizes.items() if lines > MAX_FILE}), long


def functions(tree: ast.AST) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Return all functions and methods of a tree."""
    return [node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]


def test_no_function_is_over_90_lines():
    long = {}
    for name, path in {**MODULES, **sources("tests")}.items():
        for node in functions(ast.parse(path.read_text(encoding="utf-8"))):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > MAX_FUNCTION:
                long[f"{name}.{node.name}"] = lines
    assert not long, long


def test_no_package_is_empty():
    packages = {p.parent for p in PACKAGE.rglob("__init__.py")}
    folders = {p.parent for p in PACKAGE.rglob("*.py")}
    assert folders == packages, f"folders without __init__.py: {folders - packages}"
    empty = [str(p) for p in packages if not [m for m in p.rglob("*.py") if m.name != "__init__.py"]]
    assert not empty, empty


def undocumented(source: str) -> list[str]:
    """Return the public classes and module-level functions, and their modules, without a docstring."""
    tree = ast.parse(source)
    missing = [] if ast.get_docstring(tree) else ["the module"]
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
            missing += [] if ast.get_docstring(node) else [node.name]
    return missing


def test_pure_packages_are_documented():
    missing, seen = [], 0
    for name, path in MODULES.items():
        if any(under(name, f"stylegan_jax.{folder}") for folder in PURE):
            seen += 1
            missing += [f"{name}: {what}" for what in undocumented(path.read_text(encoding="utf-8"))]
    assert seen > 10 and not missing, "\n".join(missing)


def test_a_missing_docstring_is_found():
    assert undocumented("def f(): ...") == ["the module", "f"]
    assert undocumented('"""M."""\nclass A:\n    """A."""\ndef _g(): ...') == []


def test_test_files_can_be_collected_together():
    """Outside of packages, pytest imports them by their file's name alone."""
    places = [p for p in (ROOT / "tests").rglob("test_*.py") if not (p.parent / "__init__.py").exists()]
    assert len(places) == len({p.name for p in places}), sorted(p.name for p in places)
