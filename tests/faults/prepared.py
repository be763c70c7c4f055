"""Compiled programs of a run kept between processes, so that a run that starts again neither traces nor compiles.

Not JAX's own cache, which saves the compiler but not the tracing, which is most of the start of a tiny model.
"""

from __future__ import annotations

import hashlib
import pathlib
import pickle
from typing import Any

import jax
from jax.experimental import serialize_executable

from stylegan_jax.base.files import write_whole
from stylegan_jax.runtime import compiling
from stylegan_jax.train import programs


class _Prepared:
    """What `compiling.lower` returns: `compile` loads the program, or compiles and keeps it."""

    def __init__(self, path: pathlib.Path, lower: Any):
        self._path, self._lower = path, lower

    def compile(self, compiler_options: Any = None) -> Any:
        if self._path.exists():
            return serialize_executable.deserialize_and_load(*pickle.loads(self._path.read_bytes()))
        compiled = self._lower().compile(compiler_options)
        write_whole(self._path, pickle.dumps(serialize_executable.serialize(compiled)))
        return compiled


def use(folder: pathlib.Path) -> None:
    """Have the training of this process keep its programs in a folder, and take them from there.

    What has come out of JAX's cache cannot be kept, so the process that begins the folder goes without that.
    """
    if not folder.exists():
        folder.mkdir()
        jax.config.update("jax_enable_compilation_cache", False)
    lower, state_shapes = compiling.lower, programs.state_shapes

    def prepared_lower(jitted: Any, *args: Any) -> _Prepared:
        shapes = [(x.shape, str(x.dtype)) for x in jax.tree.leaves(args)]
        name = hashlib.sha256(repr((jitted.__name__, jax.tree.structure(args), shapes)).encode()).hexdigest()
        return _Prepared(folder / name[:32], lambda: lower(jitted, *args))

    def prepared_shapes(task: Any, layout: Any, frozen: Any = None) -> Any:
        path = folder / "state"
        if not path.exists():
            found = state_shapes(task, layout, frozen)
            write_whole(path, pickle.dumps(jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), found)))
        shapes = pickle.loads(path.read_bytes())
        place = lambda x, sharding: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)
        return jax.tree.map(place, shapes, layout.state(shapes))

    compiling.lower, programs.state_shapes = prepared_lower, prepared_shapes
