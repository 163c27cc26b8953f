"""The Kubeflow pipelines and their compiled files, and what runs them on this machine; imports kfp, components and boxcar."""
