"""General helpers: validation, progress, files, optional imports."""
