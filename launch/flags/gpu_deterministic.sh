# Use only deterministic kernels, and do not choose kernels by timing, which differs from run to run.
export XLA_FLAGS="--xla_gpu_deterministic_ops=true --xla_gpu_exclude_nondeterministic_ops=true --xla_gpu_autotune_level=0 ${XLA_FLAGS:-}"
