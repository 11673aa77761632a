"""Executes a user's script or notebook, unchanged, and examines how it trains.

`launch` starts it in a process of its own, in a copy of the folder (`folder_copy`), and ends it in time. There,
`child` runs the code and calls the watcher (`watching/`). `fitted` builds the subject of a training, and `planned`
that of a program which stops before. `old_keras` knows the names that Keras 3 does not know any more.
"""
