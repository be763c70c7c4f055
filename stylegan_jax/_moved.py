"""Where the modules of version 0.1 are now; importing one by its old name still works."""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
import types

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


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Hands out a module of `MOVED` under its old name: the same object, not a copy."""

    def find_spec(
        self, fullname: str, path: object = None, target: object = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Return a spec for an old name, or None for every other name."""
        if new_name(fullname) is None:
            return None
        return importlib.util.spec_from_loader(fullname, self)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        """Import the module under its new name."""
        name = new_name(spec.name)
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


def install() -> None:
    """Answer for the old names before Python looks for files, since a package's folder lists its modules too."""
    if not any(isinstance(finder, Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, Finder())
