"""The command `isthmus`: one file per group of subcommands."""
