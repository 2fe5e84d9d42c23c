"""Tokens, words, sentences and spans of a text, and how they are spelled for readers."""
