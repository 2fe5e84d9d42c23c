"""The command line: what may be asked for, subcommands, files of pairs, and what is printed and written."""
