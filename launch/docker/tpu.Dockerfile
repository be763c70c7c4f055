# Training on TPU VMs and GKE: libtpu comes with JAX's wheels. Build from the root of the checkout:
#   docker build --file=launch/docker/tpu.Dockerfile --tag=stylegan_jax:tpu .
# The arguments of the container are those of `python -m stylegan_jax.main`.
ARG PYTHON=3.12
FROM python:${PYTHON}-slim

RUN useradd --uid 1000 --create-home trainer
WORKDIR /home/trainer/stylegan_jax
COPY --chown=trainer:trainer . .
RUN pip install --no-cache-dir -e '.[tpu]' && install -d -o trainer -g trainer /mnt/shared
USER trainer
# HOME for caches also when the container runs as another user; PYTHON for launch/worker.sh.
ENV HOME=/tmp PYTHON=python PYTHONUNBUFFERED=1
ENTRYPOINT ["bash", "launch/worker.sh", "exec", "tpu"]
