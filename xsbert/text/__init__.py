"""Tokens, words, sentences and spans of a text, and their display names."""
