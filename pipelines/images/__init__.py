"""Turns the encoded bytes of one image into pixels.

`files` has the accepted formats and opens the files of strangers safely, `graph` decodes, turns and resizes with
TensorFlow ops: begin in `graph.decode`. Beside them stand the form of every image (`image_spec`), how the pixels of a
source are understood (`source_policy`), augmentation and small pictures. `reject_image` says why an image is rejected,
and `files.opening` finds most of these reasons. `file_reader` opens the files of strangers for
other programs, in worker processes.
"""
