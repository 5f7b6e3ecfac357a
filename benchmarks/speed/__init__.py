"""Speed of the parts and of the whole, beside VoxelMorph 0.2, PyTorch, Greedy and ANTs.

python -m benchmarks.speed --out runs/speed [--environments peers] [--sizes 48x64x48 80x96x112 160x192x224]
"""
