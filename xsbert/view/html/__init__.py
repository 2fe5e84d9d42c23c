"""Interactive pages of pairs and rankings."""
