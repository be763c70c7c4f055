"""The studio: a model in the browser, `python -m stylegan_jax.studio --model=RUN_OR_FILE`.

A server that listens on this machine only (`app`, `guard`), one thread that owns the model (`worker`), and one page of
plain HTML, CSS and JavaScript (`web/`). A page sends a *wish*, JSON that describes a picture (`wishes`, `sources`), and
receives the picture with its styles and the command line that reproduces it (`pictures`, `commands`). Anything that
takes longer is a job, which can be watched and cancelled (`jobs`).
"""
