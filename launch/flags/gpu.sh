# Overlap the gradient's all-reduce with the backward pass; search longer for convolution and matrix-product kernels.
export XLA_FLAGS="--xla_gpu_enable_latency_hiding_scheduler=true --xla_gpu_enable_pipelined_all_reduce=true --xla_gpu_autotune_level=4 --xla_gpu_triton_gemm_any=true ${XLA_FLAGS:-}"
