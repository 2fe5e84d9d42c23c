"""Helpers that know nothing of the subject: validation, progress, files, optional imports."""
