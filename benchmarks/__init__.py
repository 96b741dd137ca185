"""Speed, memory and robustness figures, each a command."""
