"""Offline scoring: a model answers every row of files, and goes on where it was stopped.

    files -> plan: numbered chunks of rows -> each chunk: read, made tensors, predicted, one file written -> done
                                                 |
                        spread over a cluster's CPUs (`on_ray`, the one file that knows Ray)

A chunk may be scored twice, after a crash or because Ray runs it again: its file then replaces an equal one. So no row
is lost and none is doubled, whatever dies and when.
"""
