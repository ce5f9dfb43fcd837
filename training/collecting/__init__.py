"""Making training data: configs of many programs, evaluated, in the format of TpuGraphs (`autotune collect`).

A collection is a function of its programs, its seed and what the database says of the configs drawn: whoever repeats an
interrupted one draws the same configs, finds in the database those that were evaluated, and goes on with the next.
"""
