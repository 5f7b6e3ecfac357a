"""One registration by Greedy or ANTs, where picsl-greedy, antspyx and SimpleITK are installed.

python benchmarks/peer.py greedy FIXED MOVING MOVING_LABELS MOVED_LABELS THREADS

Prints the seconds of the registration itself: images in memory, files and imports outside the clock.
"""

import sys
import time


def greedy(fixed: str, moving: str, labels: str, moved: str, threads: int) -> float:
    """Affine and deformable, windows of 5 voxels; labels by nearest neighbour."""
    import SimpleITK
    from picsl_greedy import Greedy3D

    tool = Greedy3D()
    images = {"fixed": SimpleITK.ReadImage(fixed, 8), "moving": SimpleITK.ReadImage(moving, 8)}
    usual = f"-m NCC 2x2x2 -n 100x50x20 -threads {threads} -V 0"
    begun = time.perf_counter()
    tool.execute(f"-i fixed moving -a -dof 12 -ia-image-centers {usual} -o affine", **images, affine=None)
    tool.execute(f"-i fixed moving -it affine {usual} -o warp", warp=None)
    seconds = time.perf_counter() - begun
    seg = SimpleITK.ReadImage(labels, 8)
    tool.execute("-rf fixed -ri NN -rm seg result -r warp affine", seg=seg, result=None)
    SimpleITK.WriteImage(SimpleITK.Cast(tool["result"], SimpleITK.sitkInt32), moved)
    return seconds


def ants(fixed: str, moving: str, labels: str, moved: str, threads: int) -> float:
    """SyN with its defaults, which begin with an affine step; labels by nearest neighbour."""
    import os

    os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = str(threads)
    import ants as tool

    target, source = tool.image_read(fixed), tool.image_read(moving)
    begun = time.perf_counter()
    found = tool.registration(target, source, "SyN")
    seconds = time.perf_counter() - begun
    seg = tool.image_read(labels)
    out = tool.apply_transforms(target, seg, found["fwdtransforms"], interpolator="nearestNeighbor")
    tool.image_write(out, moved)
    for path in {*found["fwdtransforms"], *found["invtransforms"]}:
        os.remove(path)
    return seconds


if __name__ == "__main__":
    name, *files, count = sys.argv[1:]
    print({"greedy": greedy, "ants": ants}[name](*files, int(count)))
