"""Networks, and whether a network fits a contract. Begin in `build`."""
