"""README.md does not lie: its Python compiles, what it imports exists and can be called, its recipes are there."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
COMMANDS = sorted(
    {
        (path.name, config)
        for path in [ROOT / "README.md", *(ROOT / "configs").glob("*.py")]
        for config in re.findall(r"--config=([\w./-]+)", path.read_text(encoding="utf-8"))
    }
)


def dotted(node: ast.expr) -> list[str]:
    """Return ['data', 'fit_source'] of `data.fit_source`, [] of anything else."""
    if isinstance(node, ast.Name):
        return [node.id]
    if isinstance(node, ast.Attribute):
        head = dotted(node.value)
        return [*head, node.attr] if head else []
    return []


def test_there_are_blocks_and_commands():
    assert BLOCKS
    assert any(name == "README.md" for name, _ in COMMANDS)


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_python_blocks_import_and_call_what_exists(block):
    tree = ast.parse(block)
    compile(tree, "README.md", "exec")
    imports = [node for node in ast.walk(tree) if isinstance(node, (ast.Import, ast.ImportFrom))]
    assert imports
    names: dict = {}
    exec(compile(ast.Module(imports, []), "README.md", "exec"), names)
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        path = dotted(call.func)
        if path and path[0] in names:
            found = names[path[0]]
            for part in path[1:]:
                found = getattr(found, part)
            assert callable(found), f"README.md calls {'.'.join(path)}(), which is {found!r}"


@pytest.mark.parametrize(("where", "config"), COMMANDS)
def test_recipes_exist(where, config):
    assert re.fullmatch(r"configs/\w+\.py", config), where
    assert (ROOT / config).is_file(), where
    assert callable(importlib.import_module(config.removesuffix(".py").replace("/", ".")).get_config)
