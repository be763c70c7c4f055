"""What the pages of docs/ name exists: keys of a recipe, flags of commands, recipes, other pages and their sections."""

from __future__ import annotations

import importlib
import re
import shlex
from functools import cache
from pathlib import Path

import pytest

from stylegan_jax.config import ExperimentConfig
from stylegan_jax.tools import _commands
from stylegan_jax.tools._command_line import unknown_key

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted((ROOT / "docs").glob("*.md"))
SECTIONS = ("augment", "data", "distributed", "eval", "growing", "log", "loss", "mesh", "model", "schedule", "train")
# Files and Python modules that are written like keys.
NOT_KEYS = re.compile(
    r"\.(?:py|md|json|jsonl|png|gz|pickle)$|^data\.(?:prepare|sources|images|SOURCES|MemorySource|fit_source)"
)


@cache
def keys() -> frozenset[str]:
    """Return all dotted keys of an experiment."""
    found = set()

    def walk(config, prefix: str) -> None:
        for name in config.__dataclass_fields__:
            value = getattr(config, name)
            found.add(prefix + name)
            if hasattr(value, "__dataclass_fields__"):
                walk(value, f"{prefix}{name}.")

    walk(ExperimentConfig(), "")
    return frozenset(found)


def code(page: Path) -> list[str]:
    """Return what a page writes between backticks."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    return re.findall(r"`([^`\n]+)`", text)


@pytest.mark.parametrize("name", ["coming_from_nvidia.md", "troubleshooting.md", "guides.md"])
def test_keys_exist(name):
    named = set()
    for text in code(ROOT / "docs" / name):
        for word in re.findall(rf"(?:^|[\s,=-])(?:config\.)?((?:{'|'.join(SECTIONS)})\.\w[\w.]*)", " " + text):
            if not NOT_KEYS.search(word):
                named.add(word.rstrip("."))
    assert len(named) > 5
    assert named <= keys(), sorted(named - keys())


COMMANDS = {
    "project": "stylegan_jax.tools.project",
    "sample": "stylegan_jax.tools.sample",
    "video": "stylegan_jax.tools.video",
    "style_mix": "stylegan_jax.tools.style_mix",
    "tools.project": "stylegan_jax.tools.project",
    "tools.sample": "stylegan_jax.tools.sample",
    "tools.spectrum": "stylegan_jax.tools.spectrum",
    "tools.export": "stylegan_jax.tools.export",
    "python -m stylegan_jax.metrics": "stylegan_jax.metrics.__main__",
    "python -m stylegan_jax.data.prepare": "stylegan_jax.data.prepare.__main__",
}


def flags_of(module: str, capsys) -> str:
    """Return the help of a command."""
    with pytest.raises(SystemExit):
        importlib.import_module(module).main(["--help"])
    return capsys.readouterr().out


def test_flags_of_our_commands_exist(capsys):
    """In the right columns of the tables; what stands in the left ones is theirs."""
    checked = 0
    for line in (ROOT / "docs/coming_from_nvidia.md").read_text(encoding="utf-8").splitlines():
        ours = line.split("|")[2] if line.count("|") == 3 else ""
        for text in re.findall(r"`([^`]+)`", ours):
            for start, module in COMMANDS.items():
                if text.startswith(start + " --"):
                    known = flags_of(module, capsys)
                    for flag in re.findall(r"--(\w+)", text):
                        assert re.search(rf"--{flag}\b", known), f"{start} has no --{flag}"
                        checked += 1
    assert checked > 20


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("http://", "https://", "mailto:")):
            continue
        path, _, section = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{page.name}: {target}"
        if section:
            heads = re.findall(r"^#+ (.*)", file.read_text(encoding="utf-8"), re.M)
            slugs = {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}
            assert section in slugs, f"{page.name}: {target}; {sorted(slugs)}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_recipes_are_there(page):
    for name in re.findall(r"configs/(\w+\.py)", page.read_text(encoding="utf-8")):
        assert (ROOT / "configs" / name).exists() or name in ("x.py", "NAME.py"), name  # of any recipe


def commands_of(page: Path) -> list[list[str]]:
    """Return the words of our commands in the code blocks of a page, without a prompt or a comment."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    starts = re.compile(r"^(?:\$ )?(stylegan-jax \w+|python -m stylegan_jax[\w.]*)(?= |$)")
    return [shlex.split(line.removeprefix("$ "), comments=True) for line in lines if starts.match(line)]


def test_there_are_commands_in_blocks():
    assert sum(len(commands_of(page)) for page in PAGES) > 60 and len(commands_of(ROOT / "README.md")) > 10


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=lambda page: page.name)
def test_commands_in_blocks_exist_with_their_flags(page):
    by_module = {command.module.removesuffix(".__main__"): name for name, command in _commands.COMMANDS.items()}
    for words in commands_of(page):
        name = words[1] if words[0] == "stylegan-jax" else by_module.get(words[2], words[2])
        assert name in _commands.COMMANDS, f"{page.name}: {' '.join(words)}"
        known = _commands.parser(name)._option_string_actions
        for word in words[2 if words[0] == "stylegan-jax" else 3 :]:
            flag = word.partition("=")[0]
            if flag.startswith("--config."):
                assert not unknown_key([word]), f"{page.name}: {unknown_key([word])}"
            elif flag.startswith("--"):
                assert flag in known or flag in ("--config", "--help"), f"{page.name}: {name} has no {flag}"
