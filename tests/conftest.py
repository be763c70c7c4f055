"""Eight CPU devices, cheap compilation, and nothing written outside a temporary folder, for every test and subprocess.

Tracing and compiling is where the tests' time goes. All processes of a session (the workers of xdist and what tests
start) share one cache of compiled programs; the summary says how many programs were compiled and how many were in it.
"""

import collections
import gc
import importlib
import os
import shutil
import tempfile
from importlib import metadata

import pytest

_FLAGS = "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0"
if metadata.version("jaxlib").startswith("0.10."):  # other versions may not know it, and abort on what they do not know
    # One module of machine code per program: many are for compiling in parallel, and cost 15 % more in all.
    _FLAGS += " --xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
_OWN = None  # this session's folder; xdist's workers have it from the process that started them
if "PYTEST_XDIST_WORKER" not in os.environ:
    _OWN = tempfile.mkdtemp(prefix="stylegan_jax_tests_")
    os.environ |= {
        "HOME": _OWN,
        "XDG_CACHE_HOME": f"{_OWN}/.cache",
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {_FLAGS}",
        "JAX_COMPILATION_CACHE_DIR": f"{_OWN}/programs",
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }

# The files that take longest, by CPU seconds: first, so that no worker is left alone with one at the end.
LONGEST = (
    "faults/test_processes.py",
    "parity/test_golden.py",
    "train/test_meshes.py",
    "checkpoints/test_checkpointer.py",
    "faults/test_loop_kill.py",
    "faults/test_metrics_processes.py",
    "models/test_contract.py",
    "train/test_loop.py",
    "train/test_options.py",
    "train/test_archs.py",
    "train/test_growing_run.py",
    "train/test_loop_options.py",
    "train/test_stages_run.py",
)
_programs = collections.Counter()  # of this process and, at its end, of the workers


def pytest_addoption(parser):
    parser.addoption("--golden-dir", help="folder of golden cases for tests/parity (default: tests/golden)")
    parser.addoption("--lowerings", default="", help="of operations, as conv=library,fir=banded,filtered_lrelu=lean")


def pytest_configure(config):
    for choice in filter(None, config.getoption("--lowerings").split(",")):
        name, _, lowering = choice.partition("=")
        operation = importlib.import_module(f"stylegan_jax.ops.{name}")
        if lowering not in operation.LOWERINGS:
            raise pytest.UsageError(f"--lowerings={choice}: ops.{name} has {', '.join(operation.LOWERINGS)}")
        operation.DEFAULT = lowering
    monitoring = importlib.import_module("jax.monitoring")
    monitoring.register_event_duration_secs_listener(lambda event, _, **__: _count(event))
    monitoring.register_event_listener(lambda event, **_: _count(event))


def _count(event):
    if event == "/jax/core/compile/backend_compile_duration":  # also of those that are found
        _programs["built"] += 1
    elif event == "/jax/compilation_cache/cache_hits":
        _programs["found"] += 1


def _cpu_seconds():
    times = os.times()
    return sum(times[:4])  # of this process and of the children that ended


def pytest_collection_modifyitems(items):
    ranks = {f"tests/{name}": number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: ranks.get(item.nodeid.partition("::")[0], len(ranks)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Keep the tests of a file in one worker: they share programs; unless `--dist` says otherwise."""
    if config.option.dist == "load":
        config.option.loadscopereorder = False  # by number of tests; ours is by time
        return importlib.import_module("xdist.scheduler").LoadFileScheduling(config, log)
    return None


def pytest_collection_finish():
    """Look for garbage rarely, and not among what has been imported: tracing makes many objects, and most live on."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)


def pytest_sessionfinish(session):
    if (output := getattr(session.config, "workeroutput", None)) is not None:
        output["programs"] = dict(_programs, cpu=_cpu_seconds())


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    _programs.update(getattr(node, "workeroutput", {}).get("programs", {}))


def pytest_terminal_summary(terminalreporter):
    cpu = _programs["cpu"] or _cpu_seconds()
    text = f"{_programs['built'] - _programs['found']} programs compiled, {_programs['found']} found in the cache"
    terminalreporter.write_line(f"{text}, {cpu:.0f} CPU-seconds (without the compilations of subprocesses)")


def pytest_unconfigure():
    if _OWN:
        shutil.rmtree(_OWN, ignore_errors=True)


@pytest.fixture(scope="session")
def clips_model(tmp_path_factory):
    """Return the folder of a small random StyleGAN-V."""
    import moving

    path = tmp_path_factory.mktemp("clips") / "model"
    moving.write(path)
    return path


@pytest.fixture(scope="session")
def labelled_clips_model(tmp_path_factory):
    """Return the folder of the same with classes."""
    import moving

    path = tmp_path_factory.mktemp("labelled_clips") / "model"
    moving.write(path, moving.CLASSES)
    return path
