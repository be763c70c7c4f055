"""The printed names: published ones for the published definitions, others for everything else."""

from __future__ import annotations

import pytest

from stylegan_jax.metrics.definitions import METRICS, choose, paths_of
from stylegan_jax.metrics.errors import MetricError


def names(text: str, features: str = "", **options) -> list[str]:
    chosen = choose(text.split(","), [f for f in features.split(",") if f], **options)
    return [name for c in chosen for name in c.results]


def test_published_names_are_kept_by_the_published_definitions():
    whole = [c for c in choose(list(METRICS)) if c.metric.template != "id_similarity_face"]
    assert {c.name for c in whole} == METRICS.keys() - {"id_similarity"}
    assert names("is50k,pr50k3,ls") == ["is50k_mean", "is50k_std", "pr50k3_precision", "pr50k3_recall", "ls_z", "ls_w"]


@pytest.mark.parametrize(
    ("metrics", "options", "printed"),
    [
        ("fid50k_full", {"features": "efficientnet_lite0"}, "fd50k_full_efficientnet_lite0"),
        ("fid50k_full", {"features": "inception"}, "fid50k_full"),
        ("kid1k", {"features": "vgg16"}, "kd1k_vgg16"),
        ("sfid50k_full", {"num_images": 2000}, "sfid2k_full"),
        ("pr50k3", {"features": "inception"}, "pr50k3_inception_precision"),
        ("is50k", {"features": "efficientnet_lite0"}, "classifier_score50k_efficientnet_lite0_mean"),
        ("ppl2_wend", {"features": "alexnet_lpips"}, "ppl2_wend_alexnet"),
        ("fid5k", {"features": "vgg16_lpips"}, "fd5k_vgg16_lpips"),  # not of vgg16's last layer
        ("fid50k", {"num_images": 1234}, "fid1234"),
        ("pr50k3", {"num_images": 120}, "pr120_3_precision"),
        ("dc50k5_full", {"num_images": 2000}, "dc2k5_full_density"),
        ("fid50k_full", {"num_images": 10_000}, "fid10k_full"),
        ("ppl_zfull", {"num_images": 500}, "ppl_zfull_500"),
        ("eqt50k_int", {"num_images": 64}, "eqt64_int"),
        ("fid50k", {"psi": 0.7}, "fid50k_psi0.7"),
        ("lpips", {"num_images": 9}, "lpips"),
        ("fid50k_full", {"classes": "uniform"}, "fid50k_full_uniform_classes"),
        ("pr50k3", {"classes": "uniform", "psi": 0.7}, "pr50k3_uniform_classes_psi0.7_precision"),
        ("ppl2_wend,kid1k", {"classes": "uniform"}, "ppl2_wend"),  # labels of the data there too
        ("rfid50k_full", {"num_images": 2000}, "rfid2k_full"),
        ("fvd2048_16f", {}, "fvd2048_16f"),
        ("fvd2048_16f", {"num_images": 300}, "fvd300_16f"),
        ("fvd256_16f", {"psi": 0.7}, "fvd256_16f_psi0.7"),
        ("fvd2048_128f", {"classes": "uniform"}, "fvd2048_128f_uniform_classes"),
        ("fvd2048_128f_subsample8f", {"num_images": 1000}, "fvd1k_128f_subsample8f"),
        ("isv2048_ucf", {}, "isv2048_ucf_mean"),
        ("id_similarity", {"features": "ir_se50"}, "id_similarity_ir_se50"),
        ("id_similarity", {"features": "curricularface"}, "id_similarity_curricularface"),
        ("id_similarity", {}, "id_similarity_face"),  # published figures are those of another network
        ("fid50k,ppl2_wend", {"features": "alexnet_lpips,vgg16"}, "fd50k_vgg16"),
    ],
)
def test_everything_else_is_printed_under_another_name(metrics, options, printed):
    assert names(metrics, **options)[0] == printed


def test_real_images_follow_the_number_of_evaluated_ones_where_the_definition_says_so():
    of = lambda name, **options: choose([name], **options)[0].real
    assert of("fid50k") == 50_000 and of("fid50k", num_images=300) == 300 and of("kid1k") == 1000
    assert of("fvd2048_16f") == 2048 and of("fvd2048_16f", num_images=300) == 300
    assert of("pr50k3_full") == of("pr50k3_full", num_images=300) == 200_000 and of("fid50k_full") > 10**9


def test_paths_of_weights():
    one, two = ["inception"], ["inception", "vgg16"]
    assert paths_of("", two) == {} and paths_of("/a/b", one) == {"inception": "/a/b"}
    assert paths_of("/runs/lr=3/a.pt", one) == {"inception": "/runs/lr=3/a.pt"}
    assert paths_of("inception=/lr=3/a, vgg16=b", two) == {"inception": "/lr=3/a", "vgg16": "b"}
    for text, error in (("inceptoin=a", "'inceptoin', which is not used"), ("inception=a,junk", "'junk' names no net")):
        with pytest.raises(MetricError, match=error):
            paths_of(text, two)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (([],), "name at least one; known: fid50k_full, fid50k"),
        ((["fid50"],), "metric 'fid50': did you mean 'fid50k'.*known: fid50k_full, fid50k"),
        ((["fid50k"], ["inceptoin"]), "feature network 'inceptoin': did you mean 'inception'"),
        ((["ppl2_wend", "ls"], [], 0, 1, "uniform"), "uniform classes change none of the metrics ppl2_wend, ls"),
        ((["rfid50k_full"], ["inception"]), "'inception' is used by none of the metrics rfid50k_full"),
        (
            (["ppl2_wend"], ["dinov2"]),
            "'dinov2' is used by none of the metrics ppl2_wend; metrics that can use it: fid50k_full",
        ),
    ],
)
def test_mistakes_are_answered(arguments, text):
    with pytest.raises(MetricError, match=text):
        choose(*arguments)
