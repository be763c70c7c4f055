"""Sources of a picture's styles, such as a seed, a mixture, an edit or a projection: from the page's JSON to styles.

A source is one of

    {"kind": "seed", "seed": 3, "toward": 8, "share": 0.25, "psi": 0.7, "cutoff": 4, "class": 2, "numbers": [0.5, 1]}
    {"kind": "mix", "row": SOURCE, "column": SOURCE, "layers": [0, 1]}
    {"kind": "edit", "of": SOURCE, "moves": [{"set": "sefa", "index": 0, "strength": 2, "layers": [0, 1]}]}
    {"kind": "found"}, {"kind": "tuned"}, {"kind": "dragged", "index": 0}

Of a seed, only 'kind' and 'seed' are required. The functions run in the thread that owns the model.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from stylegan_jax.sampling import paths, styles
from stylegan_jax.sampling.labels import as_labels
from stylegan_jax.sampling.model import LoadedModel, latents
from stylegan_jax.studio import wishes
from stylegan_jax.studio.sessions import Session
from stylegan_jax.studio.wishes import BadWish

MAX_DEPTH = 6
MAX_MOVES = 32
MAX_STRENGTH = 100.0
MAX_PSI = 10.0


class Styled(NamedTuple):
    """Styles, and what else determines the picture.

    Attributes:
        ws: float32[l, w].
        model: the studio's model, or the session's tuned one.
        seed: the seed of a source of one seed, else 0; a generator may draw more from it than z.
        words: arguments that draw it from its seed, such as ['--seeds=3', '--psi=0.7']; None if only the styles
            describe it.
        label: float32[k].
    """

    ws: np.ndarray
    model: LoadedModel
    seed: int
    words: list[str] | None
    label: np.ndarray


class Label(NamedTuple):
    """A label float32[k], and the arguments that pass it."""

    values: np.ndarray
    words: list[str]


def find_styles(model: LoadedModel, session: Session, source: Mapping[str, Any], depth: int = 0) -> Styled:
    """Return the styles of a source.

    Raises:
        BadWish: it is not a source, or does not fit the model or the session.
    """
    if depth > MAX_DEPTH:
        raise BadWish(f"a picture made of pictures is nested more than {MAX_DEPTH} deep; start from a simpler one")
    kind = wishes.choice(source, "kind", ("seed", "mix", "edit", "found", "tuned", "dragged"))
    if kind == "seed":
        return _of_seed(model, source)
    if kind in ("found", "tuned"):
        return _of_picture(model, session, kind)
    if kind == "dragged":
        if not session.dragged:
            raise BadWish("nothing has been dragged yet in this page")
        one = session.dragged[wishes.whole(source, "index", 0, len(session.dragged) - 1)]
        return one.start._replace(ws=one.ws, words=None)
    if kind == "mix":
        row, column = (find_styles(model, session, wishes.inner(source, n), depth + 1) for n in ("row", "column"))
        layers = wishes.layers(source, "layers", model.gan.spec.num_ws)
        tuned = next((one.model for one in (row, column) if one.model is not model), model)
        return row._replace(ws=styles.mix(row.ws[None], column.ws[None], layers)[0, 0], model=tuned, words=None)
    start = find_styles(model, session, wishes.inner(source, "of"), depth + 1)
    ws = start.ws
    for move in wishes.several(source, "moves", 0, MAX_MOVES):
        ws = _moved(ws, session, move, model.gan.spec.num_ws)
    return start._replace(ws=ws, words=None)


def read_label(model: LoadedModel, wish: Mapping[str, Any]) -> Label:
    """Return the label that 'class' or 'numbers' specify.

    Raises:
        BadWish: it does not fit the model.
    """
    k = model.gan.spec.label_dim
    if not k:
        return Label(np.zeros(0, np.float32), [])
    try:
        if wish.get("numbers") is not None:
            values = [wishes.real({"numbers": x}, "numbers", -1e6, 1e6) for x in wishes.several(wish, "numbers", k, k)]
            label = as_labels(np.asarray(values, np.float32), 1, k, model.label_kind)[0]
            return Label(label, ["--label=" + ",".join(f"{x:g}" for x in values)])
        number = wishes.whole(wish, "class", 0, k - 1, 0)
        return Label(as_labels(number, 1, k, model.label_kind)[0], [f"--class={number}"])
    except ValueError as error:
        raise BadWish(str(error)) from None


def truncation_words(psi: float, cutoff: int | None) -> list[str]:
    """Return the arguments for truncation."""
    return [f"--psi={psi:g}"] * (psi != 1) + [f"--cutoff={cutoff}"] * (cutoff is not None)


def read_truncation(model: LoadedModel, wish: Mapping[str, Any]) -> tuple[float, int | None]:
    """Return psi, and the number of style slots that it applies to, or None for all.

    Raises:
        BadWish: they are out of range.
    """
    psi, num_ws = wishes.real(wish, "psi", -MAX_PSI, MAX_PSI, 1.0), model.gan.spec.num_ws
    cutoff = None if wish.get("cutoff") is None else wishes.whole(wish, "cutoff", 0, num_ws)
    return psi, None if cutoff == num_ws else cutoff


def _of_seed(model: LoadedModel, source: Mapping[str, Any]) -> Styled:
    seed = wishes.whole(source, "seed", 0, 2**32 - 1)
    share = wishes.real(source, "share", 0.0, 1.0, 0.0)
    toward = wishes.whole(source, "toward", 0, 2**32 - 1, seed)
    label, (psi, cutoff) = read_label(model, source), read_truncation(model, source)
    key = (seed, toward, share) if share and toward != seed else (seed, seed, 0.0)
    whole = _mapped(model, key, label.values.tobytes(), len(label.values))
    words = [f"--seeds={seed}", *truncation_words(psi, cutoff), *label.words] if not key[2] else None
    return Styled(truncate(model, whole, label.values, psi, cutoff), model, seed, words, label.values)


@functools.lru_cache(maxsize=1024)
def _mapped(model: LoadedModel, key: tuple[int, int, float], label: bytes, k: int) -> np.ndarray:
    """Return ws float32[l, w] of a seed, or of a point between two, without truncation."""
    seed, toward, share = key
    given = np.frombuffer(label, np.float32) if k else None
    if not share:
        return model.map([seed], given, chunk=1)[0]
    z = latents((seed, toward), model.gan.spec.z_dim)
    return model.map(z[1:] if share == 1 else paths.slerp(z, np.array([share])), given, chunk=1)[0]


def truncate(model: LoadedModel, ws: np.ndarray, label: np.ndarray, psi: float, cutoff: int | None) -> np.ndarray:
    """Return styles float32[l, w] pulled towards their mean, as `models.truncate` does, without compiling a cutoff."""
    if psi == 1:
        return ws
    centre = np.asarray(model.gan.centre(jnp.asarray(model.w_avg), jnp.asarray(label)[None]))[0]
    moved = (centre + (ws - centre) * np.float32(psi)).astype(np.float32)
    return moved if cutoff is None else np.concatenate([moved[:cutoff], ws[cutoff:]])


def _of_picture(model: LoadedModel, session: Session, kind: str) -> Styled:
    if session.found is None:
        raise BadWish("there is no projection yet; upload a picture on the page Your picture, and find it")
    if kind == "tuned" and session.tuned is None:
        raise BadWish("the model is not tuned to your picture yet; press Tune on the page Your picture")
    label = session.steps["label"]
    return Styled(session.found.ws[0], session.tuned if kind == "tuned" else model, 0, None, label)


def _moved(ws: np.ndarray, session: Session, move: Any, num_ws: int) -> np.ndarray:
    if not isinstance(move, dict):
        raise BadWish(f"a move is {wishes.shown(move)}; pass an object")
    name = move.get("set")
    found = session.directions.get(name) if isinstance(name, str) else None
    if found is None:
        raise BadWish(f"there are no directions {wishes.shown(name)} in this page; find some on the page Edit")
    index = wishes.whole(move, "index", 0, len(found.vectors) - 1)
    strength = wishes.real(move, "strength", -MAX_STRENGTH, MAX_STRENGTH)
    layers = wishes.layers(move, "layers", num_ws)
    step = found.vectors[index] * found.unit[index]
    return styles.move(ws[None], step, layers, [strength])[0, 0]


def joint_model(model: LoadedModel, some: Sequence[Styled]) -> LoadedModel:
    """Return the model that draws several sources: the tuned one if any of them needs it."""
    return next((one.model for one in some if one.model is not model), model)
