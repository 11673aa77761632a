"""Processes that touch untrusted bytes: a pool with deadlines, its fork server, a limit of memory.

Begin in `pool`. This room is the mechanism only; what the workers do is in `pipelines/job/worker_tasks.py`.
"""
