"""The architectures, one file each; `catalog` finds every file in this folder. May import `detectors` and what is below.

A file has a tuple ARCHITECTURES of its rows in the table, and loads TensorFlow only when a row's `build` is called.
"""
