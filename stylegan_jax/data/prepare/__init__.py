"""Make a data set for training from what people have: `python -m stylegan_jax.data.prepare --source=… --dest=…`.

`sources` finds out what a source is and one module reads each kind, as `examples`; `convert` makes an image of one kind
from any that can be read; `write` puts zip or folder in place in one piece; `run` joins them; `report` says what was
done.
"""

from stylegan_jax.data.prepare.options import Options
from stylegan_jax.data.prepare.report import Report
from stylegan_jax.data.prepare.run import prepare

__all__ = ["Options", "Report", "prepare"]
