# Overlap the gradient's all-reduce with the backward pass.
export LIBTPU_INIT_ARGS="--xla_tpu_enable_async_collective_fusion=true --xla_tpu_enable_async_collective_fusion_fuse_all_reduce=true --xla_tpu_overlap_compute_collective_tc=true --xla_enable_async_all_reduce=true ${LIBTPU_INIT_ARGS:-}"
