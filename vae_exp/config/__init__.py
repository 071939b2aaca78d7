"""The config of a command: composed once, checked once."""
