"""Lists the images of an input: folders, a glob, or a table.

`layouts/` finds out how a folder is read, and `tables/` reads tables. Begin in `listing`, which chooses between
`folders` and `tables`. This room imports core and storage.
"""
