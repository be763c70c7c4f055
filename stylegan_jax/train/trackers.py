"""Trackers, which receive a run's scalars and grids besides stats.jsonl and grids/: TensorBoard, Weights & Biases.

A tracker never delays training: its own thread imports its package, writes and waits. If it fails, it logs one warning
and the run continues. To add one, write a class with the four methods of `Tracker`, add a line to `TRACKERS`, and, if
its package is an extra of setup.py, one to `EXTRAS`.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import queue
import secrets
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from stylegan_jax.base.files import write_whole
from stylegan_jax.config import ConfigError, ExperimentConfig
from stylegan_jax.train.report import TensorBoard

_log = logging.getLogger(__name__)


class Tracker(Protocol):
    """What the loop calls, on the first process only. No method may raise an error or wait for a disk or network."""

    def start(self) -> None:
        """Begin to import and write; called once, after the first step."""
        ...

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """Record scalars at a step."""
        ...

    def images(self, step: int, values: dict[str, np.ndarray]) -> None:
        """Record images uint8[1, h, w, c] at a step."""
        ...

    def close(self) -> None:
        """Write what is left, even if `start` was never called."""
        ...


class WeightsAndBiases:
    """A run of Weights & Biases. Its id is stored in the workdir, so that a resumed run continues it.

    The horizontal axis is `step`. W&B cannot delete points: if a run is killed, those after its last checkpoint appear
    twice, with equal values, once it has resumed. W&B's environment variables apply: WANDB_MODE (offline: files go to
    workdir/wandb), WANDB_PROJECT (default stylegan_jax), WANDB_ENTITY, WANDB_API_KEY.

    Args:
        folder: folder of the run.
        config: the experiment, shown next to the curves.
    """

    ID_FILE = "wandb_id"
    PATIENCE_S = 120.0  # seconds that the end of a run waits for the upload

    def __init__(self, folder: Path, config: ExperimentConfig):
        self._folder, self._config = folder, config
        self._waiting: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, daemon=True, name="wandb")
        self._failed = self._has_any = False

    def start(self) -> None:
        self._thread.start()

    def scalars(self, step: int, values: dict[str, float]) -> None:
        self._put({"step": step} | values)

    def images(self, step: int, values: dict[str, np.ndarray]) -> None:
        self._put({"step": step} | values)

    def _put(self, row: dict[str, Any]) -> None:
        if not self._failed:
            self._has_any = True
            self._waiting.put(row)

    def close(self) -> None:
        if self._has_any and not self._thread.ident:
            self.start()
        if not self._thread.ident:
            return
        self._waiting.put(None)
        self._thread.join(self.PATIENCE_S)
        if self._thread.is_alive():
            _log.warning(
                "Weights & Biases did not finish within %.0f s; upload the rest from %s with `wandb sync`",
                *(self.PATIENCE_S, self._folder / "wandb"),
            )

    def _run(self) -> None:
        try:
            import wandb  # pyright: ignore[reportMissingImports]

            run = wandb.init(
                project=os.environ.get("WANDB_PROJECT", "stylegan_jax"),
                name=self._config.name,
                id=run_id(self._folder),
                resume="allow",
                dir=str(self._folder),
                config=self._config.to_dict(),
                settings=wandb.Settings(console="off", disable_git=True, save_code=False),
            )
            run.define_metric("*", step_metric="step")
            while (row := self._waiting.get()) is not None:
                run.log({key: _shown(wandb, value) for key, value in row.items()})
            run.finish()
        except Exception as error:  # no network or a full disk: losing curves must not end the run
            self._failed = True
            _log.warning("Weights & Biases stopped: %r; stats.jsonl has all scalars, grids/ all pictures", error)


def _shown(wandb: Any, value: Any) -> Any:
    """Convert images uint8[1, h, w, c] to W&B's type; return other values unchanged."""
    if not isinstance(value, np.ndarray):
        return value
    return wandb.Image(value[0, :, :, 0] if value.shape[-1] == 1 else value[0])


def run_id(folder: Path) -> str:
    """Return the id of a workdir's Weights & Biases run: the existing one, or a new one."""
    path = folder / WeightsAndBiases.ID_FILE
    if path.exists() and (known := path.read_text().strip()):
        return known
    made = secrets.token_hex(4)
    write_whole(path, f"{made}\n")
    return made


Opener = Callable[[Path, int, ExperimentConfig], Tracker]

TRACKERS: dict[str, Opener] = {
    "tensorboard": lambda folder, step, config: TensorBoard(folder / "tensorboard", step),
    "wandb": lambda folder, step, config: WeightsAndBiases(folder, config),
}
"""Name in `config.log.trackers` -> function (workdir, step at which the run starts, config) that opens the tracker."""

EXTRAS = {"wandb": "wandb"}
"""Tracker whose package is not in the base install -> that package, also the name of the extra in setup.py."""


def check_trackers(config: ExperimentConfig) -> None:
    """Check that the trackers' packages are installed and that they can write.

    Raises:
        ConfigError: a package is missing, or W&B is online and has no API key.
    """
    for name in config.log.trackers:
        package = EXTRAS.get(name)
        if package and not _is_there(package):
            raise ConfigError(
                f"config.log.trackers names {name!r}, whose package is not installed: pip install "
                f"'stylegan-jax[{package}]', or remove it from config.log.trackers"
            )
        if name == "wandb":
            _check_key()


def _is_there(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except (ImportError, ValueError):  # a module that is blocked or half removed
        return False


def _check_key() -> None:
    """Check that W&B will not prompt for a key, which nobody could answer in its thread."""
    silent = ("offline", "dryrun", "disabled")
    if os.environ.get("WANDB_MODE") in silent or os.environ.get("WANDB_API_KEY"):
        return
    import wandb  # pyright: ignore[reportMissingImports]

    if wandb.setup().settings.mode in silent or wandb.login(prompt=False):  # the first: `wandb offline` in this folder
        return
    raise ConfigError(
        "config.log.trackers names 'wandb', which has no API key here: run `wandb login`, set WANDB_API_KEY, or set "
        "WANDB_MODE=offline, which writes files for `wandb sync`"
    )


class Trackers:
    """All trackers of a run; none except on the first process.

    Args:
        folder: folder of the run.
        step: the step at which the run starts.
        config: the experiment.
        is_chief: whether this is the first process.
    """

    def __init__(self, folder: Path, step: int, config: ExperimentConfig, is_chief: bool):
        names = config.log.trackers if is_chief else ()
        self._all = [TRACKERS[name](folder, step, config) for name in names]

    def start(self) -> None:
        for tracker in self._all:
            tracker.start()

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        for tracker in self._all:
            tracker.scalars(step, dict(values))

    def images(self, step: int, values: Mapping[str, np.ndarray]) -> None:
        for tracker in self._all:
            tracker.images(step, dict(values))

    def close(self) -> None:
        with contextlib.ExitStack() as stack:
            for tracker in self._all:
                stack.callback(tracker.close)
