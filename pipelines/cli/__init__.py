"""Defines the command line of `python -m pipelines`.

Begin in `main`; `options` declares every option.
"""

# Name of each command -> its text in `--help`. It is here because `shardmill --help` prints it without loading the
# program.
COMMANDS = {
    "look": "show how prepare would read an input: splits, classes, images, and what is left aside",
    "prepare": "prepare a dataset from a folder, a manifest or a glob",
    "inspect": "show what is in a prepared dataset",
    "verify": "check every file, digest, record and count of a prepared dataset",
    "worker-pool": "start Python workers for the engine (Flink, Spark) on this machine",
    "sample": "draw the project's own sample images",
}
