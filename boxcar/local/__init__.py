"""A run on this machine: the steps in a row, with trainer and evaluator as child processes.

May import the steps and what is below.
"""
