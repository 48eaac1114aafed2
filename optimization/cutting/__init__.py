"""One graph cut into stages that run one after the other, perhaps on different hosts: `python -m optimization cut`."""
