"""The typed settings of a run: one object for the command, Kubeflow, and Jobs.

May import `data`, `detectors`, and what is below.
"""
