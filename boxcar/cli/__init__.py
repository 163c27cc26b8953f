"""The command `boxcar`, one file per group of sub-commands.

May import everything; does so inside the commands, so `--help` is fast.
"""
