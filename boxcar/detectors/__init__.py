"""What is trained: tasks, architectures, their networks and initial weights. Imports `scoring`, `inference` and what is below.

This file imports nothing, and the catalog does not load TensorFlow.
"""
