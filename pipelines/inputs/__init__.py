"""Lists the images of an input: class folders, a glob, or a manifest in CSV or JSON lines.

Begin in `listing`, which chooses between `folders` and `manifest`. Imports configuration, core and storage.
"""
