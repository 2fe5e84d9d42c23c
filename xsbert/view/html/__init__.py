"""Interactive pages of a pair and of a ranking."""
