"""What Kubeflow's components and pipelines call, and the client of a Kubeflow endpoint; imports the steps, and never kfp.

`components/` and `pipelines/`, at the top of the repository, import kfp and this package. They are not installed: an installed
Boxcar holds the compiled pipelines.
"""
