"""Isolates work on untrusted bytes in worker processes.

Begin in `pool`, which divides requests among workers. `worker_process` starts a worker and exchanges messages with it,
`fork_server` is the process that forks workers, and `memory_limit` bounds the memory of an image. It is the mechanism
only: the tasks of the workers are in `pipelines/job/worker_tasks.py`.
"""
