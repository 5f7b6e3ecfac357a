"""AutoReg: architecture, loss weights and network weights searched for a folder of scans, within a budget."""
