"""README.md and docs/ do not lie: their Python compiles, what it imports and calls exists, recipes are there."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

import pytest

from stylegan_jax.base import bundled

ROOT = Path(__file__).resolve().parents[1]
BLOCKS = [
    pytest.param(block, id=f"{path.name}-{i}")
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    for i, block in enumerate(re.findall(r"^```python\n(.*?)^```", path.read_text(encoding="utf-8"), re.M | re.S))
]
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
    assert {"README.md-0", "tools.md-0", "story.md-0"} <= {block.id for block in BLOCKS}
    assert any(name == "README.md" for name, _ in COMMANDS)


@pytest.mark.parametrize("block", BLOCKS)
def test_python_blocks_import_and_call_what_exists(block):
    tree = ast.parse(block)
    compile(tree, "a block", "exec")
    imports = [node for node in ast.walk(tree) if isinstance(node, (ast.Import, ast.ImportFrom))]
    assert imports
    names: dict = {}
    exec(compile(ast.Module(imports, []), "a block", "exec"), names)
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        path = dotted(call.func)
        if path and path[0] in names:
            found = names[path[0]]
            for part in path[1:]:
                found = getattr(found, part)
            assert callable(found), f"it calls {'.'.join(path)}(), which is {found!r}"


@pytest.mark.parametrize(("where", "config"), COMMANDS)
def test_recipes_exist(where, config):
    path = ROOT / bundled.find_recipe(config)
    assert path.is_file() and path.parent == ROOT / "configs", where
    assert callable(importlib.import_module(f"stylegan_jax.configs.{path.stem}").get_config)
