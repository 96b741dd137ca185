"""Data sets, forgeries, recipes, training and evaluation: what produces the checkpoints in assets/."""
