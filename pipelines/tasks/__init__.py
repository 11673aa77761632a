"""Says what each kind of task makes of the answers of images.

An answer is what an image is labelled with: a class, several labels, or numbers. It flows through the job as a text,
the label of a `Source`, which only its kind reads. A kind is a file here and a line in `kinds.KINDS`: `classes`,
`multi_label` and `regression`. Begin in `kind`. Imports contract and core.
"""
