# Training on NVIDIA GPUs: the CUDA libraries come with JAX's wheels, the driver from the host. Build from the root of the checkout:
#   docker build --file=launch/docker/cuda.Dockerfile --tag=stylegan_jax:cuda .
# The arguments of the container are those of `python -m stylegan_jax.main`.
ARG PYTHON=3.12
FROM python:${PYTHON}-slim

RUN useradd --uid 1000 --create-home trainer
WORKDIR /home/trainer/stylegan_jax
COPY --chown=trainer:trainer . .
RUN pip install --no-cache-dir -e '.[cuda]' && install -d -o trainer -g trainer /mnt/shared
USER trainer
# HOME for caches also when the container runs as another user; PYTHON for launch/worker.sh.
ENV HOME=/tmp PYTHON=python PYTHONUNBUFFERED=1
ENTRYPOINT ["bash", "launch/worker.sh", "exec", "gpu"]
