"""Files: no damage passes for content, files of 0.1.0 load, and a save is whole or not there, whatever it writes to."""

import os
import signal
import stat
import subprocess
import sys
import threading
import warnings
from dataclasses import MISSING, asdict, fields, replace
from pathlib import Path

import numpy as np
import pytest

from tests.attribution.test_files import SETTINGS, make_result, rewrite
from tests.factors.test_files import make_factors, same
from xsbert import Attribution, load_factors, save_factors
from xsbert._utils import atomic_files as files
from xsbert._utils.atomic_files import write
from xsbert.attribution.files import read_metadata
from xsbert.factors.text_factors import TextFactors

DATA = Path(__file__).parents[1] / "data"
OLD_NOTE = r"was written by xsbert 0\.1\.0, which adds no checksum over the whole file"


def same_result(found, wanted):
    same([found.a, found.b], [wanted.a, wanted.b])
    assert found.similarity == wanted.similarity
    assert asdict(found.settings) == asdict(wanted.settings)


# Damage


def mutations(whole, seed=0):
    """The file with each of its bytes replaced by any other, and by a neighbour: the next digit, the next letter."""
    flips = np.random.default_rng(seed).integers(1, 256, len(whole))
    for place, (byte, flip) in enumerate(zip(whole, flips.tolist(), strict=True)):
        for other in (byte ^ flip, byte ^ 1):
            yield whole[:place] + bytes([other]) + whole[place + 1 :]


@pytest.mark.parametrize("kind", ["result", "factors"])
def test_a_mutated_file_is_refused_or_holds_the_same(tmp_path, kind):
    path = tmp_path / "file"
    if kind == "result":
        make_result().save(path)
        load, same_content, wanted = Attribution.load, same_result, make_result()
    else:
        save_factors(path, make_factors())
        load, same_content, wanted = load_factors, same, make_factors()
    whole, mutated = path.read_bytes(), path.with_name("mutated")
    n_files, n_refused = 0, 0
    with warnings.catch_warnings():
        # A file that passed for one of 0.1.0 would have come by without a check.
        warnings.simplefilter("error")
        for content in mutations(whole):
            mutated.write_bytes(content)
            n_files += 1
            try:
                found = load(mutated)
            except ValueError:
                n_refused += 1
            else:
                same_content(found, wanted)
    assert n_files > 4000
    assert n_refused > 0.95 * n_files
    same_content(load(path), wanted)


def test_settings_are_under_the_checksum(tmp_path):
    save_factors(tmp_path / "f", make_factors())
    whole = (tmp_path / "f").read_bytes()
    assert whole.count(b'\\"layer\\": 4') == 1
    (tmp_path / "f").write_bytes(whole.replace(b'\\"layer\\": 4', b'\\"layer\\": 3'))
    with pytest.raises(ValueError, match="its header does not fit its checksum"):
        load_factors(tmp_path / "f")


def test_texts_of_another_file_do_not_pass(tmp_path):
    """Each text fits its own checksum, but not the settings that this header would give it."""
    save_factors(tmp_path / "f", make_factors())
    other = make_factors(settings=type(SETTINGS)(**{**asdict(SETTINGS), "layer": 3}))
    save_factors(tmp_path / "g", other)
    one, two = ((tmp_path / name).read_bytes() for name in "fg")
    start = 8 + int.from_bytes(one[:8], "little")
    assert len(one) == len(two)
    (tmp_path / "f").write_bytes(two[:start] + one[start:])
    with pytest.raises(ValueError, match="text 0 does not fit its checksum"):
        load_factors(tmp_path / "f")


def test_a_key_that_stands_twice(tmp_path):
    make_result().save(tmp_path / "r")
    whole = (tmp_path / "r").read_bytes()
    start = 8 + int.from_bytes(whole[:8], "little")
    header = whole[8:start].rstrip().removesuffix(b"}") + b', "a.factors": {"dtype": "F64"}}'
    (tmp_path / "r").write_bytes(len(header).to_bytes(8, "little") + header + whole[start:])
    with pytest.raises(ValueError, match=r"'a\.factors' stands twice in one JSON object"):
        Attribution.load(tmp_path / "r")


@pytest.mark.parametrize(
    ("version", "problem"),
    [
        (0, "format version 0, and this xsbert reads versions 1 to 2"),
        (-1, "format version -1, and this xsbert reads versions 1 to 2"),
        (3, "format version 3, and this xsbert reads versions 1 to 2; upgrade xsbert"),
        # A sealed file does not pass for one of 0.1.0, which would be read with less care.
        (1, "it has a checksum, and format version 1 has none"),
    ],
)
def test_formats_that_are_not_known(tmp_path, version, problem):
    make_result().save(tmp_path / "r")
    rewrite(tmp_path / "r", lambda content: content.update(format_version=version))
    with pytest.raises(ValueError, match=problem):
        Attribution.load(tmp_path / "r")


def test_the_data_are_under_a_checksum(tmp_path):
    make_result().save(tmp_path / "r")
    whole = bytearray((tmp_path / "r").read_bytes())
    whole[-1] ^= 1
    (tmp_path / "r").write_bytes(whole)
    with pytest.raises(ValueError, match="its data do not fit their checksum"):
        Attribution.load(tmp_path / "r")


# Files of version 0.1.0, which wrote the two in tests/data


def test_a_result_of_an_earlier_version(tmp_path):
    with pytest.warns(UserWarning, match=rf"result-0\.1\.0\.safetensors {OLD_NOTE}") as noted:
        found = Attribution.load(DATA / "result-0.1.0.safetensors")
    assert noted[0].filename == __file__
    same_result(found, make_result())
    found.save(tmp_path / "again")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        same_result(Attribution.load(tmp_path / "again"), found)
        assert read_metadata(tmp_path / "again")["format_version"] == 2


def test_factors_of_an_earlier_version(tmp_path):
    with pytest.warns(UserWarning, match=rf"factors-0\.1\.0\.safetensors {OLD_NOTE}") as noted:
        found = load_factors(DATA / "factors-0.1.0.safetensors")
    assert noted[0].filename == __file__
    same(found, make_factors())
    damaged = bytearray((DATA / "factors-0.1.0.safetensors").read_bytes())
    damaged[-1000] ^= 1
    (tmp_path / "damaged").write_bytes(damaged)
    with pytest.warns(UserWarning, match=OLD_NOTE), pytest.raises(ValueError, match="does not fit its checksum"):
        load_factors(tmp_path / "damaged")


def test_all_that_a_text_has_comes_back(tmp_path):
    """Each field of a text, with a value of its own; of a pair, also what holds for that pair alone."""
    result = make_result()
    own = {"encoded_by": "encode_query", "factor_error": 0.25, "embedding_unshifted": np.arange(7.0), "n_cut": 4}
    a, b = (replace(side, **own, settings=SETTINGS) for side in (result.a, result.b))
    defaults = {field.name: field.default for field in fields(TextFactors) if field.default is not MISSING}
    left = {name for name, default in defaults.items() if getattr(a, name) is default}
    assert left == {"known_residual", "outputs"}
    save_factors(tmp_path / "f", [a, b])
    same(load_factors(tmp_path / "f"), [a, b])
    projected = replace(result, a=replace(a, known_residual=0.5), b=b)
    projected.save(tmp_path / "r")
    same_result(Attribution.load(tmp_path / "r"), projected)


# What is written to


def save_result(path):
    make_result(seed=1).save(path)


def save_some_factors(path):
    save_factors(path, make_factors())


def save_page(path):
    make_result(seed=1).to_html(path)


SAVES = [save_result, save_some_factors, save_page]


@pytest.fixture(params=SAVES)
def save(request):
    return request.param


def test_permissions_stay(tmp_path, save):
    path = tmp_path / "file"
    path.touch()
    path.chmod(0o640)
    save(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    save(tmp_path / "new")
    (tmp_path / "usual").touch()
    assert (tmp_path / "new").stat().st_mode == (tmp_path / "usual").stat().st_mode


@pytest.mark.parametrize("exists", [True, False])
def test_a_link_stays_a_link(tmp_path, save, exists):
    (tmp_path / "there").mkdir()
    real, link = tmp_path / "there" / "real", tmp_path / "link"
    if exists:
        real.write_bytes(b"old")
    link.symlink_to(Path("there") / "real")
    save(link)
    assert link.is_symlink()
    save(tmp_path / "direct")
    assert real.read_bytes() == (tmp_path / "direct").read_bytes()
    assert [entry.name for entry in real.parent.iterdir()] == ["real"]


def test_a_folder_that_is_not_there_is_named(tmp_path, save):
    with pytest.raises(FileNotFoundError, match="No such file or directory") as caught:
        save(tmp_path / "missing" / "file")
    assert caught.value.filename == str(tmp_path / "missing")
    assert "unfinished" not in str(caught.value)


def test_a_loop_of_links(tmp_path, save):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError, match="symbolic link"):
        save(tmp_path / "a")
    assert (tmp_path / "a").is_symlink()


def test_a_device_stays_a_device(save):
    save(os.devnull)
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)


def test_a_pipe_without_a_reader_is_an_error(tmp_path, save):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="No such device or address"):
        save(tmp_path / "pipe")
    assert (tmp_path / "pipe").is_fifo()


def test_a_pipe_with_a_reader(tmp_path, save):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    # Opened for both, so that neither end waits for the other.
    number = os.open(pipe, os.O_RDWR)
    content = []

    def read():
        wanted = (tmp_path / "direct").stat().st_size
        while sum(map(len, content)) < wanted:
            content.append(os.read(number, 65536))

    save(tmp_path / "direct")
    reader = threading.Thread(target=read)
    reader.start()
    save(pipe)
    reader.join()
    os.close(number)
    assert b"".join(content) == (tmp_path / "direct").read_bytes()


@pytest.mark.parametrize("load", [Attribution.load, load_factors, read_metadata])
def test_what_is_no_file_is_not_read(tmp_path, load):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="Not a regular file"):
        load(tmp_path / "pipe")
    with pytest.raises(OSError, match="Not a regular file"):
        load(os.devnull)
    with pytest.raises(IsADirectoryError):
        load(tmp_path)


def test_a_folder_is_not_replaced(tmp_path, save):
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError):
        save(tmp_path / "folder")


def test_a_long_name(tmp_path, save):
    save(tmp_path / ("é" * 127))
    assert len(list(tmp_path.iterdir())) == 1


def test_a_page_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "page.html"
    path.write_text("old")

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        save_page(path)
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["page.html"]


# What is left behind, and who writes at the same time

KILLED = """
import os, signal, sys
sys.path.insert(0, {root!r})
from xsbert._utils.atomic_files import write

def chunks():
    yield b"half"
    os.kill(os.getpid(), signal.SIGKILL)

write({path!r}, chunks())
"""


def test_what_a_killed_save_left_is_removed_by_the_next(tmp_path):
    path = tmp_path / "file"
    script = KILLED.format(root=str(Path(__file__).parents[2]), path=str(path))
    killed = subprocess.run([sys.executable, "-c", script], check=False)
    assert killed.returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    assert left != path
    write(tmp_path / "other", [b"other"])
    assert left.exists()
    write(path, [b"whole"])
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["file", "other"]
    assert path.read_bytes() == b"whole"


def test_somebody_who_is_still_writing_is_not_disturbed(tmp_path):
    path = tmp_path / "file"

    def slow():
        yield b"first "
        write(path, [b"in between"])
        assert path.read_bytes() == b"in between"
        yield b"last"

    write(path, slow())
    assert path.read_bytes() == b"first last"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_a_place_that_changed_hands_is_not_cleared(tmp_path, monkeypatch):
    """Its writer finishes, and the next one takes the place, between the look at the file and its lock."""
    unfinished, lock = tmp_path / "place", files._lock
    unfinished.write_bytes(b"finished")

    def late(number):
        unfinished.rename(tmp_path / "file")
        unfinished.write_bytes(b"of the next")
        return lock(number)

    monkeypatch.setattr(files, "_lock", late)
    files._remove_left_behind(unfinished)
    assert unfinished.read_bytes() == b"of the next"
    assert (tmp_path / "file").read_bytes() == b"finished"


def test_many_writers_of_one_file(tmp_path):
    path = tmp_path / "file"
    contents = {bytes([letter]) * 100_000 for letter in b"abcdefgh"}
    read, stop = set(), threading.Event()

    def look():
        while not stop.is_set():
            if path.exists():
                read.add(path.read_bytes())

    def repeat(content):
        for _ in range(20):
            write(path, [content[:50_000], content[50_000:]])

    reader = threading.Thread(target=look)
    reader.start()
    writers = [threading.Thread(target=repeat, args=(content,)) for content in contents]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    stop.set()
    reader.join()
    assert read <= contents
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]
