"""Packaging; the command line is `bilevelmorph`."""

from pathlib import Path

from setuptools import find_packages, setup

setup(
    name="bilevelmorph",
    version="0.1.0",
    description="Deformable registration of medical images with bilevel learning, on TensorFlow and Keras",
    long_description=Path("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=[*find_packages(include=["bilevelmorph", "bilevelmorph.*"]), "bilevelmorph.bundled"],
    package_dir={"bilevelmorph.bundled": "models"},
    package_data={"bilevelmorph.bundled": ["*/*"], "bilevelmorph.volumes": ["splits/*.json"]},
    install_requires=[
        "tensorflow>=2.19",
        "tensorboard>=2.19",  # tf.summary needs it, tensorflow no longer brings it
        "keras>=3.10",
        # 0.3 of both is PyTorch; 0.2 is the last TensorFlow release.
        "voxelmorph==0.2",
        "neurite==0.2",
        "keras-tuner>=1.4",
        "nibabel>=5.2",
        "numpy>=1.26",
        "scipy>=1.11",
        "h5py>=3.10",
        "SimpleITK>=2.3",
        "matplotlib>=3.8",
        "tqdm>=4.66",
        "pooch>=1.8",
    ],
    extras_require={
        "demo": ["nilearn>=0.11"],
        "cohort": ["dask>=2024.8", "distributed>=2024.8"],
        "onnx": ["tf2onnx>=1.17"],
        "serving": ["tensorflow-serving-api>=2.19"],
        "test": [
            "nilearn>=0.11",
            "pytest>=8",
            "pytest-xdist>=3.5",
            "ruff>=0.15",
            "mypy>=1.15",
            "tf-keras>=2.19",
            "antspyx>=0.6",
            "dask>=2024.8",
            "distributed>=2024.8",
            "tf2onnx>=1.17",
            "onnxruntime>=1.20",
            "jax>=0.6",
            "openvino>=2025.0",
            "tensorflow-serving-api>=2.19",
        ],
    },
    entry_points={"console_scripts": ["bilevelmorph=bilevelmorph.cli.main:main"]},
)
