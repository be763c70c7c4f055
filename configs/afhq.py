"""AFHQ Cat, Dog or Wild at 512x512, from scratch with the settings of StyleGAN2-ADA (Karras et al. 2020b).

Command:
  python -m stylegan_jax.main --config=configs/afhq.py:dog --workdir=runs/afhqdog --config.data.path=afhqdog-512x512.zip
  fine-tuned instead: --config.train.init_from=MODEL --config.augment.kimg=100 (--config.train.freeze_d=10: Freeze-D)
Hardware: 8 accelerators. NVIDIA states 9.11 s/kimg on 8 V100 and 5.28 on 8 A100 for these settings with its own
implementation (docs/configs.md of NVlabs/stylegan3); ours: not measured.
Parameters: generator 30,276,583; discriminator 28,982,849.
Expected: not reproduced by us. The settings are those of the run `afhqdog-mirror-paper512-ada` (README of
NVlabs/stylegan2-ada).
"""

from stylegan_jax.configs import paper512

CLASSES = ("cat", "dog", "wild")


def get_config(argument: str = "cat"):
    if argument not in CLASSES:
        raise ValueError(f"configs/afhq.py:{argument}: write one of " + ", ".join(f":{name}" for name in CLASSES))
    c = paper512.get_config()
    c.name = f"afhq{argument}"
    c.data.path = f"datasets/afhq{argument}-512x512.zip"
    c.data.xflip = True
    return c
