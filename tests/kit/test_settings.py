import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepmoat.kit.errors import ConfigError
from deepmoat.kit.settings import Settings, load


class Backend(Settings, frozen=True):
    address: str
    weight: int = 1


class Edge(Settings, frozen=True):
    listen: str = "127.0.0.1:8080"
    backends: tuple[Backend, ...] = ()


class File(Settings, frozen=True):
    edge: Edge = msgspec.field(default_factory=Edge)


REFUSED = [
    ("[edg]\n", "moat.toml: unknown key 'edg': hint: did you mean 'edge'?"),
    ('[edge]\nlisten_ = "x"\n', "moat.toml: [edge]: unknown key 'listen_': hint: did you mean 'listen'?"),
    ("[edge]\nlisten = 5\n", "moat.toml: [edge.listen]: Expected `str`, got `int`"),
    ('[[edge.backends]]\naddres = "x"\n', "unknown key 'addres': hint: did you mean 'address'?"),
    ("[[edge.backends]]\n", "missing required field `address`"),
    ("[edge\n", "the file must be TOML"),
]


@pytest.mark.parametrize(("text", "message"), REFUSED)
def test_a_mistake_names_file_section_and_key(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(File, text, where="moat.toml")
    assert message in str(caught.value)


def test_what_is_right_is_read() -> None:
    text = '[[edge.backends]]\naddress = "127.0.0.1:9000"\n'
    assert load(File, text, where="x").edge.backends[0].address == "127.0.0.1:9000"


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        assert isinstance(load(File, text, where="x"), File)
    except ConfigError as exc:
        assert str(exc).startswith("x")
