"""Forgeries with exact ground truth, made from genuine footage. training/forge/footage.py says what one is."""
