"""Training data: the collections of TpuGraphs, and a store that single configs are read from."""
