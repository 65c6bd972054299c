"""Files made to do harm, served: each is refused, or every chunk is answered as a reader of the file finds it."""

from __future__ import annotations

import collections
import http.client
import itertools
import json
import math
import os
import warnings
from pathlib import Path
from urllib.parse import urlsplit

import pytest

import ilastik_lazy as il
from ilastik_lazy.errors import IlastikLazyError
from tests.acceptance.hostile_cases import MAKER, make_corpus

# Each file of HDF5 is read in a child, twice: three minutes for all of them.
EVERY = 1 if "ILASTIK_LAZY_LONG" in os.environ else 12
_MOST_CHUNKS = 300
_SUFFIXES = (".h5", ".ilp", ".n5", ".zarr")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    if not MAKER.exists():
        pytest.skip("the maker of hostile files is not beside the repository")
    folder = tmp_path_factory.mktemp("hostile") / "files"
    make_corpus(folder)
    stores = {path for path in folder.rglob("*") if path.suffix in _SUFFIXES}
    return sorted(path for path in stores if not stores & set(path.parents))


def statuses(url: str) -> collections.Counter[int]:
    """Number of answers of each status, over the chunks of level 0."""
    place, found = urlsplit(url), collections.Counter[int]()
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=60)

    def answer(key: str) -> tuple[int, bytes]:
        connection.request("GET", f"{place.path}/scale0/image/{key}")
        response = connection.getresponse()
        return response.status, response.read()

    status, body = answer("zarr.json")
    assert status == 200
    document = json.loads(body)
    lengths = zip(document["shape"], document["chunk_grid"]["configuration"]["chunk_shape"], strict=True)
    grid = [range(math.ceil(length / chunk)) for length, chunk in lengths]
    for index in itertools.islice(itertools.product(*grid), _MOST_CHUNKS):
        found[answer("c/" + "/".join(map(str, index)))[0]] += 1
    connection.close()
    return found


@pytest.mark.shared
@pytest.mark.filterwarnings("ignore")
def test_chunks_are_answered_where_the_file_can_be_read(corpus: list[Path]):
    served = 0
    for path in corpus[::EVERY]:
        try:
            array = il.open_dataarray(path, trust="untrusted")
            with il.serve(array) as server:
                found = statuses(server.url)
        except IlastikLazyError:
            continue
        served += 1
        try:
            with warnings.catch_warnings():
                array.compute()
            is_whole = True
        except IlastikLazyError:
            is_whole = False
        assert set(found) <= {200, 409, 500}, (path.name, found)
        assert (set(found) <= {200}) == is_whole, (path.name, found)
    assert served > len(corpus[::EVERY]) / 4
