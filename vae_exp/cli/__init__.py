"""The command line: what is asked for, and who answers."""
