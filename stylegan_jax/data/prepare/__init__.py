"""Make a data set for training from existing files: `python -m stylegan_jax.data.prepare --source=… --dest=…`.

`sources` identifies a source, and one module reads each kind, as `examples`; `convert` makes an image of one kind from
any readable one; `write` puts the zip or folder in place in one piece; `run` joins them; `report` says what was done.
"""

from stylegan_jax.data.prepare.options import Options
from stylegan_jax.data.prepare.report import Report
from stylegan_jax.data.prepare.run import prepare

__all__ = ["Options", "Report", "prepare"]
