"""Derivative rules for what torch differentiates slowly or not at all in forward mode."""
