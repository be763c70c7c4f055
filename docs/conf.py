"""The documentation site: `sphinx-build -W -n docs site`. Nothing is fetched, neither to build it nor to read it."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

import pages  # noqa: E402  (beside this file; what the site computes from the code)

from stylegan_jax import __version__  # noqa: E402

project, author, release = "stylegan_jax", "The stylegan_jax authors", __version__
copyright = "the stylegan_jax authors, Apache-2.0"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence", "deflist"]
exclude_patterns = ["site"]
default_role = "code"  # docstrings write code between single backticks
html_theme = "furo"
html_title = f"stylegan_jax {release}"
html_copy_source = False
html_show_sphinx = False
autodoc_typehints = "none"  # the signature has them, and their own names would need other projects' inventories
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True}
napoleon_google_docstring, napoleon_numpy_docstring = True, False
napoleon_use_ivar = True
nitpick_ignore_regex = [("py:.*", ".*")]  # links to names of other projects; those between pages are checked by myst


def setup(app) -> None:
    """Write the pages that come from the code before any is read."""
    app.connect("builder-inited", lambda app: pages.write(Path(app.srcdir), ROOT))
    app.connect("source-read", pages.name_outside)
    app.connect("autodoc-process-docstring", pages.keep_stars)
