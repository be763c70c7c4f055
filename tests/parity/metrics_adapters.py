"""Family 'metrics': what is computed from features, and the pieces of the path length.

These run on the host, or are compiled in parts, so that they take the constants rather than traced arrays.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from stylegan_jax.metrics import frechet, inception_score, kernel_distance, moments, path_length, precision_recall

from .layout import nchw, nhwc


def frechet_distance(meta, arrays, constants):
    sums = {}
    for name in ("real", "gen", "gen_rank_deficient"):
        x = constants[f"in/{name}"]
        sums[name] = moments.empty(x.shape[1])
        for part in np.array_split(x, 3):
            sums[name] = moments.update(sums[name], part)
    out = {"out/fid": frechet.frechet(sums["real"], sums["gen"])}
    out["out/fid_rank_deficient"] = frechet.frechet(sums["real"], sums["gen_rank_deficient"])
    for name in ("real", "gen"):
        out[f"out/mu_{name}"], out[f"out/sigma_{name}"] = moments.mean_cov(sums[name])
    return out


def kernel(meta, arrays, constants):
    real, gen = constants["in/real"], constants["in/gen"]
    given = zip(constants["in/idx_real"], constants["in/idx_gen"], strict=True)
    whole = kernel_distance.draw_subsets(len(real), len(gen), count=1)
    of = lambda subsets: kernel_distance.kernel_distances(real, gen, subsets).mean()
    return {"out/kid_all": of(whole), "out/kid_subsets": of(given)}


def score(meta, arrays, constants):
    scores = inception_score.split_scores(constants["in/probs"], meta["config"]["num_splits"])
    return {"out/split_scores": scores, "out/is_mean": scores.mean(), "out/is_std": scores.std()}


def precision(meta, arrays, constants):
    with jax.ensure_compile_time_eval():
        found = precision_recall.precision_recall(
            constants["in/real"], constants["in/gen"], meta["config"]["k"], tile=128
        )
    return {
        "out/precision_kth_distance": found.real_radii,
        "out/precision_pred": found.precision_hits,
        "out/precision": found.precision_hits.mean(),
        "out/recall_kth_distance": found.fake_radii,
        "out/recall_pred": found.recall_hits,
        "out/recall": found.recall_hits.mean(),
    }


def path(meta, arrays, constants):
    distances = constants["in/dist"]
    t, epsilon = arrays["in/t"][:, None], meta["config"]["epsilon"]
    ends = {"t0": t, "t1": t + epsilon}
    image = nhwc(arrays["in/img"])
    out = {
        "out/lo": np.percentile(distances, 1, method="lower"),
        "out/hi": np.percentile(distances, 99, method="higher"),
        "out/ppl": path_length.trimmed_mean(distances),
        "out/crop": nchw(path_length.crop_face(image)),
        "out/area_half": nchw(path_length.shrink(image, 2)),
        "out/scaled": nchw(path_length.to_255(image)),
    }
    for name, at in ends.items():
        out[f"out/slerp_{name}"] = path_length.slerp(arrays["in/z0"], arrays["in/z1"], at)
        out[f"out/w_{name}"] = path_length.lerp(arrays["in/w0"], arrays["in/w1"], at[:, :, None])
    return {k: jnp.asarray(v) for k, v in out.items()}


ADAPTERS = {
    "metrics/Frechet distance": frechet_distance,
    "metrics/kernel distance": kernel,
    "metrics/inception score": score,
    "metrics/k-NN precision and recall": precision,
    "metrics/perceptual path length pieces": path,
}
