"""Replaced keys: convert recipes and stored configurations of older versions to today's keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

REPLACED = {
    "config.log.tensorboard": 'use --config.log.trackers="(\'tensorboard\',)", or "()" for none',
}
"""Keys that the command line no longer accepts -> what to use instead."""


def renewed(tree: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a configuration's nested dicts with today's keys, without changing the argument.

    `log.tensorboard` became a name in `log.trackers`.
    """
    log = tree.get("log")
    if not isinstance(log, Mapping) or not isinstance(log.get("tensorboard"), bool):
        return tree
    rest = {key: value for key, value in log.items() if key != "tensorboard"}
    if not log["tensorboard"]:
        rest["trackers"] = tuple(name for name in rest.get("trackers", ()) if name != "tensorboard")
    return {**tree, "log": rest}
