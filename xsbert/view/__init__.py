"""Views of a result: text summaries, interactive pages and plots."""
