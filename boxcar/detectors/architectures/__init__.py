"""The architectures, one file each; `registry` finds every file that lies here.

A file has a tuple ARCHITECTURES of its rows in the table, and loads TensorFlow only when a row's `build` is called.
"""
