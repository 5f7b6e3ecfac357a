"""AutoReg: a network, its loss weights and its weights from a folder of scans and a time budget."""
