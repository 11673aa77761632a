"""Isolates work on untrusted bytes in worker processes.

The room holds a pool with deadlines, its fork server, and a memory limit. Begin in `pool`. It is the mechanism only:
the tasks of the workers are in `pipelines/job/worker_tasks.py`.
"""
