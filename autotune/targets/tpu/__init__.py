"""The TPU compiler (libtpu), with or without a TPU: layouts and tiles, estimated in the compiler's own cycles."""
