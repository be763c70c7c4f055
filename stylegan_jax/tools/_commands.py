"""The subcommands of `stylegan-jax`, with their modules and summaries."""

from __future__ import annotations

import argparse
import importlib
from typing import Any, NamedTuple

PROGRAM = "stylegan-jax"


class Command(NamedTuple):
    """A subcommand.

    Attributes:
        module: has `main(argv) -> exit code` and `parser()`; imported when needed.
        summary: a few words for the overview.
    """

    module: str
    summary: str


COMMANDS = {
    "train": Command("stylegan_jax.main", "train a recipe, or resume its run"),
    "prepare": Command(
        "stylegan_jax.data.prepare.__main__", "make a data set from images, videos, LSUN, CIFAR, TFRecords"
    ),
    "studio": Command("stylegan_jax.studio.__main__", "a model in the browser: sliders, mixing, editing, films"),
    "sample": Command("stylegan_jax.tools.sample", "draw images, or a whole data set"),
    "mix": Command("stylegan_jax.tools.style_mix", "coarse styles of one image, fine ones of another"),
    "edit": Command("stylegan_jax.tools.edit", "move along directions: SeFa, GANSpace, boundaries"),
    "project": Command("stylegan_jax.tools.project", "find the styles of your own photographs"),
    "encode": Command("stylegan_jax.tools.encode", "find the styles of photographs with an encoder, in one pass"),
    "pti": Command("stylegan_jax.tools.pti", "tune the generator to photographs (pivotal tuning)"),
    "drag": Command("stylegan_jax.tools.drag", "drag points of a picture to targets (DragGAN)"),
    "video": Command("stylegan_jax.tools.video", "walk through the latent space as MP4, WebP or GIF"),
    "noise": Command("stylegan_jax.tools.noise", "show what the noise inputs change"),
    "centroids": Command("stylegan_jax.tools.centroids", "modes of the styles, to truncate towards"),
    "truncation": Command("stylegan_jax.tools.truncation", "the same seeds at several values of psi"),
    "metrics": Command("stylegan_jax.metrics.__main__", "FID, KID, precision and recall, path length and others"),
    "align": Command("stylegan_jax.tools.align", "crop faces by their landmarks, as in FFHQ"),
    "compare": Command("stylegan_jax.tools.compare", "pairs of images: L2, LPIPS, E-LPIPS, identity"),
    "attributes": Command("stylegan_jax.tools.attributes", "fit attribute classifiers for linear separability"),
    "spectrum": Command("stylegan_jax.tools.spectrum", "compare power spectra of images"),
    "curves": Command("stylegan_jax.tools.curves", "learning curves of runs as a figure"),
    "average": Command("stylegan_jax.tools.average", "choose the length of the average after training"),
    "blend": Command("stylegan_jax.tools.blend", "combine layers of two models"),
    "convert": Command("stylegan_jax.convert.__main__", "import official and third-party files, export official names"),
    "export": Command("stylegan_jax.tools.export", "model folder with card and programs; upload to the Hub"),
    "benchmark": Command("stylegan_jax.tools.benchmark.__main__", "time and memory of a recipe on this machine"),
    "models": Command("stylegan_jax.tools.models", "published models, and where to get them"),
    "doctor": Command("stylegan_jax.tools.doctor", "devices, versions, caches, what is missing, one training step"),
    "completion": Command("stylegan_jax.tools.completion", "print the completion script for bash, zsh or fish"),
}


def load(name: str) -> Any:
    """Import a subcommand's module."""
    return importlib.import_module(COMMANDS[name].module)


def parser(name: str) -> argparse.ArgumentParser:
    """Return the parser of a subcommand's arguments."""
    return load(name).parser()


def overview(version: str) -> str:
    """Return one screen that lists all subcommands."""
    lines = [f"{PROGRAM} {version}: the StyleGAN family in JAX", "", f"usage: {PROGRAM} COMMAND [OPTIONS]", ""]
    lines += [f"  {name:<11s} {command.summary}" for name, command in COMMANDS.items()]
    return "\n".join([*lines, "", f"`{PROGRAM} COMMAND --help` lists its options."])
