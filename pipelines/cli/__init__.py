"""The command line of `python -m pipelines`. Begin in `main`; `options` declares every option."""
