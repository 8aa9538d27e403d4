"""Values of atoms over time from CSV files."""

from __future__ import annotations

import numpy as np
import pytest

from pymol_dsr.scene.objects import SceneError
from pymol_dsr.scene.value_table import read_values, values_over_time


def test_values_go_in_straight_lines_and_are_held(tmp_path):
    path = tmp_path / "v.csv"
    path.write_text("index,value, State ,note\n2,1.5,1,a\n2,3.5,3,b\n\n1,7,2,\n")
    series = read_values(str(path))
    assert series == {2: ([1.0, 3.0], [1.5, 3.5]), 1: ([2.0], [7.0])}
    table = values_over_time(series, np.array([1, 0, 5], np.int32), [0.0, 1.0, 1.5, 3.0, 9.0])
    np.testing.assert_allclose(table.T, [[1.5, 1.5, 2.0, 3.5, 3.5], [7.0] * 5, [np.nan] * 5])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "v.csv, line 1: it reads ''; write the columns state,index,value"),
        ("state,atom,value\n1,1,1\n", "line 1: it reads 'state,atom,value'"),
        ("state,index,value\n", "v.csv: it holds no values"),
        ("state,index,value\n1,1,1\n\n1,2,x\n", "v.csv, line 4: value 'x' is not a number"),
        ("state,index,value\n1,1,nan\n", "line 2: value 'nan' is not finite"),
        ("state,index,value\n1,1\n", "line 2: 2 columns, where the first line has 3"),
        ("state,index,value\n1,0,2\n", "line 2: index 0 is no atom; PyMOL's index counts from 1"),
        ("state,index,value\n1,1.5,2\n", "line 2: index 1.5 is no atom"),
        ("state,index,value\n1,4,2\n1,4,3\n", "line 3: index 4 has a value for state 1 already"),
    ],
)
def test_faults_of_files_name_the_line(tmp_path, text, message):
    path = tmp_path / "v.csv"
    path.write_text(text)
    with pytest.raises(SceneError) as error:
        read_values(str(path))
    assert message in str(error.value) and "\n" not in str(error.value)
