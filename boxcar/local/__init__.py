"""A run on this machine: one step after the other, with trainer and evaluator as child processes.

May import the steps and the packages below them.
"""
