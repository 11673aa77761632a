"""Networks, whether a network fits a contract, and how its outputs are read. Begin in `build`."""
