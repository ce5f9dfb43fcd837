"""How good a model is: scores of a split against what was measured, and the contest's submission."""
