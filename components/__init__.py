"""The steps as Kubeflow components, one thin file each, and what they need to know that the commands need not.

A component's function is compiled into a pipeline alone, without the module that it stands in; so it imports what it uses.
"""
