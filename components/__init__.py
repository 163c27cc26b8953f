"""The steps as Kubeflow components, one thin file each; imports kfp and boxcar.

kfp compiles only the source of a component's function into a pipeline, not its module. The function imports what it uses.
"""
