"""Implements the command line of `python -m trainer`. Start reading in `main`."""

# Command -> its text in `--help`. It is defined here, because `shardmill --help` prints it without loading the program.
COMMANDS = {
    "train": "train on a prepared dataset, evaluate, export",
    "evaluate": "score a trained model on a split",
    "compare": "set runs side by side on the same records, with paired tests",
    "export": "write a trained model for serving: SavedModel, TFLite or ONNX",
    "predict": "tell the labels of image files",
    "bench": "tell whether training waits for its input, and what to change",
    "doctor": "tell why the accuracy is low: look at data, model and a past training",
    "ablate": "tell what each step of preparing and training is worth on your images",
}
