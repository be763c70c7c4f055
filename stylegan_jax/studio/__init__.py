"""The studio: a model in the browser, `python -m stylegan_jax.studio --model=RUN_OR_FILE`.

A server that listens on this machine only (`app`, `guard`), one thread that owns the model (`worker`), and one page of
plain HTML, CSS and JavaScript (`web/`). What a page asks for is a *wish*, JSON that names how a picture is made
(`wishes`, `sources`); what it gets is a picture with the styles that it was drawn from and the command line that
makes it again (`pictures`, `commands`). What takes longer is a job that can be watched and cancelled (`jobs`).
"""
