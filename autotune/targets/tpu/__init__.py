"""TPUs: layouts and tiles, estimated by the TPU compiler (libtpu) on any host, or timed on a TPU of this one."""
