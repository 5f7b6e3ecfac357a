"""Packaging; the command line is `bilevelmorph`."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
VERSION = re.search(
    r'^__version__ = "(.+)"$', (ROOT / "bilevelmorph" / "__init__.py").read_text("utf-8"), re.M
)

TENSORFLOW = [
    "tensorflow>=2.19",
    "tensorboard>=2.19",  # tf.summary needs it, tensorflow no longer brings it
    # Private parts of its optimizers are read: moments and moving averages.
    "keras>=3.10,<3.17",
    # 0.3 of both is PyTorch; 0.2 is the last TensorFlow release.
    "voxelmorph==0.2",
    "neurite==0.2",
    # Private names of its oracles and tuners are overridden, so that they write whole files.
    "keras-tuner>=1.4,<1.5",
]
DEMO = ["nilearn>=0.11"]
BENCHMARK = ["nilearn>=0.14"]  # brings NiiVue, for the view in three dimensions
BATCH = ["dask>=2024.8", "distributed>=2024.8"]
ONNX = ["tf2onnx>=1.17"]
ZARR = ["zarr>=3"]
SERVING = ["tensorflow-serving-api>=2.19"]
DOCS = ["mkdocs-material>=9.5", "mkdocstrings[python]>=0.26"]

setup(
    name="bilevelmorph",
    version=VERSION[1],
    description="Deformable registration of medical images with bilevel learning, on TensorFlow and Keras",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author="The BilevelMorph authors",
    license="Apache-2.0",
    keywords="medical imaging, image registration, bilevel optimization, architecture search, VoxelMorph",
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Science/Research",
        "License :: OSI Approved :: Apache Software License",
        "Operating System :: OS Independent",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Medical Science Apps.",
        "Topic :: Scientific/Engineering :: Image Processing",
        "Typing :: Typed",
    ],
    python_requires=">=3.11,<3.14",
    packages=[*find_packages(include=["bilevelmorph", "bilevelmorph.*"]), "bilevelmorph.bundled"],
    package_dir={"bilevelmorph.bundled": "models"},
    package_data={
        "bilevelmorph": ["py.typed"],
        "bilevelmorph.bundled": ["*/*"],
        "bilevelmorph.datasets": ["splits/*.json"],
    },
    install_requires=[
        *TENSORFLOW,
        "nibabel>=5.2",
        "numpy>=1.26",
        "scipy>=1.11",
        "h5py>=3.10",
        "isal>=1.6",
        "SimpleITK>=2.3",
        "matplotlib>=3.8",
        "tqdm>=4.66",
        "pooch>=1.8",
        "tyro>=1.0,<2",
        "typeguard>=4.4",
        "PyYAML>=6",
    ],
    extras_require={
        "demo": DEMO,
        "batch": BATCH,
        "benchmark": BENCHMARK,
        "cohort": BATCH,  # its name until version 0.3
        "onnx": ONNX,
        "serving": SERVING,
        "zarr": ZARR,
        "docs": DOCS,
        "test": [
            *DEMO,
            *BATCH,
            *BENCHMARK,
            *ONNX,
            *SERVING,
            *ZARR,
            *DOCS,
            "pytest>=8",
            "pytest-cov>=5",
            "pytest-xdist>=3.5",
            "ruff>=0.15",
            "mypy>=1.15",
            "types-PyYAML",
            "import-linter>=2",
            "tf-keras>=2.19",
            "antspyx>=0.6",
            "onnxruntime>=1.20",
            "jax>=0.6",
            "openvino>=2025.0",
        ],
    },
    entry_points={"console_scripts": ["bilevelmorph=bilevelmorph.cli.main:main"]},
)
