"""Tables of results."""

from __future__ import annotations

import pytest

from bilevelmorph.benchmark.summary import cells_of, main_score, markdown, summarise_benchmark

ROWS = [
    {
        "method": m,
        "pair": str(i),
        "dice": str(d),
        "seconds": str(s),
        "memory_mb": "10",
        "error": "",
        "versions": "x 1",
    }
    for m, dices, s in (("ours", (0.8, 0.7, 0.9), 1.0), ("theirs", (0.7, 0.7, 0.8), 4.0))
    for i, d in enumerate(dices)
]
FAILED = [{"method": "broken", "pair": str(i), "error": "ended with signal 11"} for i in range(3)]


def test_one_row_a_method_in_the_given_order():
    ours, broken, theirs = summarise_benchmark([*ROWS, *FAILED], ["ours", "broken", "theirs"])
    assert ours["dice"] == pytest.approx(0.8)
    assert ours["dice_sd"] == pytest.approx(0.1)
    assert "difference" not in ours
    assert theirs["difference"] == pytest.approx(-0.2 / 3)
    assert theirs["seconds"] == 4
    assert broken["pairs"] == 0
    assert broken["failed"] == {"ended with signal 11": 3}


def test_cells_name_failures_and_leave_out_what_nobody_has():
    headings, lines = cells_of(summarise_benchmark([*ROWS, *FAILED], ["ours", "broken", "theirs"]))
    assert "HD95, mm" not in headings
    assert lines[1][1] == "0; failed: ended with signal 11 (3)"
    assert lines[0][2] == "0.800 (0.100)"
    assert lines[2][-1].startswith("-0.067 [-0.100, ")
    text = markdown(headings, lines).splitlines()
    assert len(text) == 5
    assert len({line.count("|") for line in text}) == 1


def test_landmarks_are_compared_where_there_are_no_labels():
    rows = [{"method": "a", "pair": "0", "tre_mm": "1.5", "error": ""}]
    assert main_score(rows) == "tre_mm"
    assert main_score(ROWS) == "dice"
