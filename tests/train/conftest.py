"""No implicit rank promotion in training; compiled programs are the session's, or of one file where hits count."""

import jax
import pytest
from jax.experimental.compilation_cache import compilation_cache


@pytest.fixture(autouse=True)
def _strict():
    with jax.numpy_rank_promotion("raise"):
        yield


@pytest.fixture(scope="session")
def cache():
    """Return `train.compilation_cache` of a run that shares the session's programs."""
    return "auto"


@pytest.fixture(scope="module")
def own_cache(tmp_path_factory):
    """Return an empty folder for compiled programs of half a second and more, in use until the tests of a file end."""
    own = {"jax_compilation_cache_dir": str(tmp_path_factory.mktemp("programs"))}
    own |= {"jax_persistent_cache_min_compile_time_secs": 0.5}
    before = {name: jax.config.values[name] for name in own}
    for values in (own, before):
        for name, value in values.items():
            jax.config.update(name, value)
        compilation_cache.reset_cache()  # which folder is in use is decided once, at the first compilation
        if values is own:
            yield own["jax_compilation_cache_dir"]
