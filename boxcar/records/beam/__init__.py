"""The records step as an Apache Beam pipeline: on this machine, or on the workers of Dataflow, Flink, and other runners.

`pipeline` says which transform calls which function of `transforms`; these call the functions that the local path calls.
`engine` is the part that runs in the command's process. Only `pipeline` imports `apache_beam`.
"""
