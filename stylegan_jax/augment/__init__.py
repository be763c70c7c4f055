"""Augmentation of what the discriminator sees, for training with limited data (Karras et al. 2020, "ADA").

`make_augment(config.augment, image_shape, shards)` returns an `Augment`: `draw(key, n, p)` and `apply(params, images)`,
or both at once as `augment(key, p, images)`. Everything is pure, differentiable in the images to any order, and
compiled once for all p. How a training step uses it:

- Reals and fakes pass through it on every way into the discriminator, each with draws of their own:
  `{"image": augment(key_fake, p, fake)}` is the sample of `gan.discriminate`. The gradient of the generator's loss
  passes through it.
- R1 is taken with respect to the image before augmentation (`regularizers.squared_norm` of a critic that calls
  `augment.apply(params, x)`, with `params` drawn outside it).
- Two keys per phase, from `rng.stream(root, f"{phase}/augment/real", step)` and `.../fake`.
- `p` is `control.p` of the training state. `controller.observe(control, logits)` takes the logits of augmented reals in
  every phase that has them (`d_main` and R1's); `controller.update(config.augment, control, step, batch_size)`
  moves p at the end of an iteration.
- In mode 'none' all of this leaves images, and the compiled program, as they are.

`controller` also steers APA, which shows fakes as reals (`config.augment.apa`, `train.gan.objective.deceived`).

Families: the ADA pipe (`draws`, `affine`, `warp`, `color`, `spectrum`, `cutout`; `pipes` names them) and `diffaugment`.
"""

from stylegan_jax.augment import controller
from stylegan_jax.augment.controller import Control
from stylegan_jax.augment.pipeline import Augment, make_augment
from stylegan_jax.augment.pipes import GROUPS, PIPES

__all__ = ["GROUPS", "PIPES", "Augment", "Control", "controller", "make_augment"]
