"""Hand-made descriptions of configs, from which small networks learn to rank those of programs they have never seen."""
