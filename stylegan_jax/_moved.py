"""Where the modules of version 0.1 are now; importing one by its old name still works. And where the recipes are."""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
import types
from pathlib import Path

MOVED = {
    "backend": "base.backend",
    "config.keys": "config.fields",
    "config.errors": "base.errors",
    "config.growing": "config.levels",
    "config.stylegan3": "config.arch.stylegan3",
    "exported": "sampling.exported",
    "hub": "sampling.hub",
    "images": "base.images",
    "load": "sampling.load",
    "models.features": "features",
    "rng": "base.rng",
    "spec": "base.spec",
    "tools.card": "sampling.card",
    "tools.command_line": "tools._command_line",
    "tools.directions": "sampling.directions",
    "tools.inputs": "tools._inputs",
    "tools.plot": "sampling.plot",
    "tools.programs": "sampling.programs",
    "tools.projector": "sampling.projector",
    "tools.runner": "tools._runner",
    "tools.spectra": "sampling.spectra",
    "tools.tuner": "sampling.tuner",
    "tools.video_file": "tools._video_file",
    "train.ahead": "runtime.ahead",
    "train.checkpoint": "checkpoints.checkpointer",
    "train.compiling": "runtime.compiling",
    "train.distributed": "runtime.processes",
    "train.grid": "train.gan.preview",
    "train.growing": "models.grown",
    "train.manifest": "checkpoints.manifest",
    "train.objective": "train.gan.objective",
    "train.restore": "checkpoints.restore",
    "train.sharding": "runtime.mesh",
    "train.signals": "runtime.signals",
    "train.step": "train.programs",
    "train.transfer": "train.gan.transfer",
    "train.views": "train.gan.views",
    "train.workdir": "runtime.lock",
    "trained": "sampling.model",
}
"""Old name -> new name, both below `stylegan_jax`."""

_PACKAGE = __name__.rpartition(".")[0]
_RECIPES = f"{_PACKAGE}.configs"


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Hands out a module of `MOVED` under its old name: the same object, not a copy."""

    def new_name(self, fullname: str) -> str | None:
        """Return the new full name of an old one; None for every other name."""
        return new_name(fullname)

    def find_spec(
        self, fullname: str, path: object = None, target: object = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Return a spec for an old name, or None for every other name."""
        if self.new_name(fullname) is None:
            return None
        return importlib.util.spec_from_loader(fullname, self)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        """Import the module under its new name."""
        name = self.new_name(spec.name)
        assert name is not None
        module = importlib.import_module(name)
        _specs[spec.name] = module.__spec__
        return module

    def exec_module(self, module: types.ModuleType) -> None:
        """Give the module, which has been executed under its new name, the spec of that name back."""
        assert module.__spec__ is not None
        module.__spec__ = _specs.pop(module.__spec__.name)


_specs: dict[str, importlib.machinery.ModuleSpec | None] = {}


def new_name(fullname: str) -> str | None:
    """Return the new full name of a module of version 0.1 or of one below it; None if it has not moved."""
    if not fullname.startswith(f"{_PACKAGE}."):
        return None
    rest = fullname[len(_PACKAGE) + 1 :]
    for old, new in MOVED.items():
        if rest == old or rest.startswith(f"{old}."):
            return f"{_PACKAGE}.{new}{rest[len(old) :]}"
    return None


class RecipeFinder(Finder):
    """Hands out `configs` and its recipes where nothing else has that name: how recipes imported each other in 0.1."""

    def new_name(self, fullname: str) -> str | None:
        """Return the new name of `configs` or `configs.NAME`; None if there is no such recipe."""
        first, dot, rest = fullname.partition(".")
        name = f"{_RECIPES}{dot}{rest}"
        return name if first == "configs" and importlib.util.find_spec(name) else None


class CheckoutFinder(importlib.abc.MetaPathFinder):
    """Finds `stylegan_jax.configs` in a checkout, where the folder is beside the package instead of inside it."""

    def find_spec(
        self, fullname: str, path: object = None, target: object = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Return the spec of the package of recipes; None of anything else, and where it is installed."""
        package = Path(__file__).resolve().parent
        if fullname != _RECIPES or (package / "configs").is_dir():
            return None
        folder = package.parent / "configs"
        return importlib.util.spec_from_file_location(
            fullname, folder / "__init__.py", submodule_search_locations=[str(folder)]
        )


def install() -> None:
    """Answer for the old names before Python looks for files, since a package's folder lists its modules too."""
    if not any(isinstance(finder, Finder) for finder in sys.meta_path):
        sys.meta_path[:0] = [Finder(), CheckoutFinder()]
        sys.meta_path.append(RecipeFinder())
