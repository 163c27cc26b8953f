"""The steps as Kubeflow components, one thin file each; imports kfp and boxcar.

kfp compiles the source of a component's function into a pipeline, and nothing of its module: the function imports what it uses.
"""
