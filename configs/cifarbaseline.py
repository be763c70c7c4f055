"""CIFAR-10 at 32x32 with the `cifarbaseline` settings of StyleGAN2-ADA, before tuning (Karras et al. 2020b).

Command:  python -m stylegan_jax.main --config=configs/cifarbaseline.py --workdir=runs/cifarbaseline
          (prepare the data once with `tfds build cifar10`)
          without classes: --config=configs/cifarbaseline.py:unconditional
          without augmentation, as the baseline of the paper: --config.augment.mode=none
Hardware: 2 accelerators in the source; ours: not measured.
Parameters: generator 21,791,251; discriminator 21,774,848 (with classes).
Expected: not reproduced by us.
"""

from stylegan_jax.configs import cifar10


def get_config(argument: str = "conditional"):
    c = cifar10.get_config()
    c.name = "cifarbaseline"
    cifar10.set_labels(c, argument, "cifarbaseline")
    c.model.mapping_layers = 8
    c.model.d_arch = "resnet"
    c.model.d_mapping_layers = 0  # only the embedding, as in the TensorFlow code with these settings
    c.loss.pl_weight = 2.0
    c.loss.style_mixing_prob = 0.9
    c.train.g_lr = 0.0025
    return c
