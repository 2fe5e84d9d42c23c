"""The command line: options, subcommands, files of pairs, and output."""
