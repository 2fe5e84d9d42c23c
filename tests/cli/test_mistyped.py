"""Mistyped options and commands are answered with the nearest ones."""

import pytest

from xsbert.__main__ import main


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (["--parirs", "x"], "unrecognized arguments: --parirs (did you mean --pairs?)"),
        (["a", "b", "--wrods"], "(did you mean --words?)"),
        (["a", "b", "--tolerence=0.1"], "(did you mean --tolerance?)"),
        (["rank", "q", "d", "--topk", "3"], "(did you mean --top-k?)"),
        (["corpus", "a", "b", "--colums", "x", "--unit-s"], "(did you mean --columns?; did you mean --units?)"),
        (["corpus", "a", "b", "--what", "pair"], "(did you mean pairs?)"),
        (["rnak", "q", "d"], "got 3 of 2 texts; did you mean xsbert rank?"),
    ],
)
def test_the_nearest_name_is_suggested(capsys, arguments, answer):
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert capsys.readouterr().err.endswith(f"{answer}\n")


@pytest.mark.parametrize("arguments", [["a", "b", "--zzz"], ["a cat", "a dog", "a bird"], ["corpus", "a", "b", "c"]])
def test_nothing_is_suggested_where_nothing_is_near(capsys, arguments):
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert "did you mean" not in capsys.readouterr().err
