"""The command line: what may be asked for, files of pairs, and what is printed and written."""
