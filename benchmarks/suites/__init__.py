"""The suites, found by name: a module or package here is one.

A suite has a docstring (its first line is shown by `--list`), `CASES`, the functions that measure,
and `PEERS`, the distributions it compares with, by the name they are reported under.
"""
