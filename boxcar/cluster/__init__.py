"""A run as Kubernetes Jobs, one per step: created, watched, and explained. The only package that uses the Kubernetes client.

May import `local`, the steps, and the packages below them. The client is loaded when a cluster is first used.
"""
