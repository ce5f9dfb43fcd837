"""HLO: reading programs, seeing them as graphs, rewriting them."""
