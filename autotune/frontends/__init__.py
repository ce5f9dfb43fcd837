"""From a user's function to a program, and from a tuned program back to something that can be called.

    tuned = autotune.tune(step, params, batch)        # search, and the tuned function
    step = autotune.jit(step)                         # elsewhere: what was tuned runs tuned
    autotune.load("step.autotune").callable()         # from a result folder

Programs are looked up while jax traces, so a call of a tuned function costs what one of `jax.jit` costs.
"""
