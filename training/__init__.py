"""Making cost models: data sets, losses, recipes and the training loop."""
