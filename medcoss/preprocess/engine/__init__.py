"""Runs recipes: over the cores, a piece at a time, going on after a crash where it was.

A plan (plan.py) lists the items on disk. Workers (work.py, in processes of pool.py) turn items into records
(records.py), which are gathered in parts (parts.py): files that say which items they hold and are kept wherever the
run keeps its checkpoints. What is in a part is never made again. At the end the parts, in the order of the items, are
put together to a dataset and a report (assemble.py), so that the same plan gives the same dataset whoever made the
parts, on however many processes or machines.
"""
