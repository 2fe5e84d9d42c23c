"""Derivative rules for functions that torch differentiates slowly or not at all in forward mode."""
