"""Write torch_fidelity.json, the results of torch-fidelity on the features of draw.py.

In an environment apart: pip install numpy torch torchvision torch-fidelity, then, in this folder,
python torch_fidelity_results.py
"""

from __future__ import annotations

import json
from pathlib import Path

import draw
import torch
import torch_fidelity
from torch_fidelity import metric_fid, metric_isc, metric_kid, metric_prc


def main() -> None:
    first, second = (torch.from_numpy(x) for x in draw.features())
    stats = [metric_fid.fid_features_to_statistics(x.double()) for x in (first, second)]
    results = metric_fid.fid_statistics_to_metric(*stats, verbose=False)
    options = {"kid_subsets": 20, "kid_subset_size": 600, "kid_kernel": "poly", "kid_kernel_poly_degree": 3}
    options |= {"kid_kernel_poly_gamma": None, "kid_kernel_poly_coef0": 1, "mmd_est": "unbiased", "rng_seed": 2020}
    results |= metric_kid.kid_features_to_metric(first.double(), second.double(), verbose=False, **options)
    results |= metric_isc.isc_features_to_metric(torch.from_numpy(draw.logits()), 10, shuffle=False)
    prc = {"prc_neighborhood": 3, "prc_batch_size": 10000, "save_cpu_ram": False, "verbose": False}
    results |= metric_prc.prc_features_to_metric(second, first, **prc)  # generated first
    versions = {"torch": torch.__version__, "torch-fidelity": torch_fidelity.__version__}
    text = json.dumps({"results": results, "versions": versions}, indent=2)
    Path(__file__).with_name("torch_fidelity.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
