"""Implements the command line of `python -m trainer`. Start reading in `main`."""

# Command -> its text in `--help`. It is defined here, because `shardmill --help` prints it without loading the program.
COMMANDS = {
    "train": "train on a prepared dataset, evaluate, export",
    "lr": "find a learning rate: train for some steps with a rising rate",
    "evaluate": "score a trained model on a split",
    "compare": "compare runs on the same records, with paired statistical tests",
    "label-check": "find the labels that predictions contradict most surely, as a page and a table to correct",
    "export": "write a trained model for serving: SavedModel, TFLite or ONNX",
    "predict": "predict the labels of image files",
    "bench": "measure whether training waits for its input, and recommend changes",
    "doctor": "find out why the accuracy is low: examine data, model and a past training",
    "ablate": "measure how much each step of preparing and training adds on your images",
}
