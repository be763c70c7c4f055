"""Make a data set for training from existing files: `python -m stylegan_jax.data.prepare --source=… --dest=…`.

`sources` identifies the kind of a source, and a module for each kind reads it as `examples`. `convert` turns any
readable image into one of the wanted kind, `write` puts the zip or folder in place atomically, `run` joins these steps,
and `report` says what was done.
"""

from stylegan_jax.data.prepare.options import Options
from stylegan_jax.data.prepare.report import Report
from stylegan_jax.data.prepare.run import prepare

__all__ = ["Options", "Report", "prepare"]
