import pytest

from nacelle_engine.build_memory import BUILD, BuildMemory, read_build_memory
from nacelle_engine.errors import CorruptBundle


def test_what_was_written_is_read(tmp_path):
    held = BuildMemory(peak_mib=12345)
    (tmp_path / BUILD).write_text(held.model_dump_json(by_alias=True))
    assert (tmp_path / BUILD).read_text() == '{"peakMib":12345}'
    assert read_build_memory(tmp_path) == held


def test_a_bundle_need_not_tell(tmp_path):
    assert read_build_memory(tmp_path) is None


@pytest.mark.parametrize("text", ["", "{}", '{"peakMib": -1}'])
def test_a_file_of_something_else_is_named(tmp_path, text):
    (tmp_path / BUILD).write_text(text)
    with pytest.raises(CorruptBundle, match=r"build\.json cannot be read as a build's figures"):
        read_build_memory(tmp_path)
