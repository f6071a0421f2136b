"""Estimated tokens: near what tokenizers count, and cheap for any length."""
# ruff: noqa: E501 - texts stay on one line

from hypothesis import given
from hypothesis import strategies as st

from deepmoat.edge.llm.estimate import sample, tokens, weight

# text, tokens by o200k_base and by cl100k_base (counted once with a port of them, not here)
TEXTS = (
    (
        "The old harbour lay quiet in the morning light, and nobody who walked along its stones could have "
        "guessed what had happened there during the night. A woman with a basket of oranges stopped to talk to "
        "the fishermen, who were mending their nets, and asked whether the boat from the island had already come "
        "in. They shook their heads; it would be late, they said, because of the wind. She thanked them and went "
        "on towards the market, where her brother had promised to keep a place for her between the baker and the "
        "man who sold lamps.",
        111,
        111,
    ),
    (
        "今天上午，公司召开了年度安全工作会议，讨论了如何在大模型服务前部署流量防护。会议指出，传统的网页防火墙无法识别提示词注入，"
        "也不能统计每个用户消耗的令牌数量，因此需要一个能够理解模型调用的网关。与会者一致认为，应当先观察再拦截，避免误伤正常用户的"
        "请求，同时要保留足够的日志，以便事后分析和追责。",
        101,
        161,
    ),
    (
        "昨日の夜、東京では強い雨が降りました。駅の前で友だちを待っていると、知らない人が傘を貸してくれました。とても親切な人だったので、"
        "名前を聞いてお礼を言いました。モデルの呼び出しを監視するには、トークンの数を正しく数える必要があります。",
        83,
        124,
    ),
    (
        "Heute Morgen fand in der Firma eine Sitzung über Sicherheit statt. Die Teilnehmer überlegten, wie man einen "
        "Dienst mit einem großen Sprachmodell vor Missbrauch schützt, und beschlossen, für jeden Nutzer die "
        "verbrauchten Token genau zu zählen.",
        47,
        65,
    ),
)  # fmt: skip


def test_estimates_lie_within_a_third_of_what_tokenizers_count() -> None:
    for text, newer, older in TEXTS:
        reckoned = weight(text.encode()) / 100
        assert 0.67 * min(newer, older) < reckoned < 1.33 * max(newer, older), text[:20]
    assert len(TEXTS) == 4


def tokens_in_body(body: bytes | bytearray, size: int = 0) -> int:
    return tokens(sample(body), max(size, len(body)))


@given(st.text(max_size=200), st.text(max_size=200))
def test_the_weight_of_a_whole_is_the_sum_of_its_parts(one: str, two: str) -> None:
    assert weight((one + two).encode()) == weight(one.encode()) + weight(two.encode())


@given(st.binary(max_size=3000), st.integers(0, 10_000))
def test_any_body_has_an_estimate_in_proportion(body: bytes, size: int) -> None:
    assert 0 <= tokens_in_body(body, size) <= 2 * max(len(body), size) + 1


def test_a_long_body_is_estimated_from_pieces_of_it() -> None:
    body = (
        b'{"messages":[{"role":"user","content":"' + b"Tell me more about the moat, please. " * 3000 + b'"}]}'
    )
    assert abs(tokens_in_body(body) / (weight(body) / 100) - 1) < 0.1
    assert abs(tokens_in_body(bytearray(body[:1000]), len(body)) / (weight(body) / 100) - 1) < 0.1


def test_an_image_is_no_text_of_its_length() -> None:
    picture = b"iVBORw0KGgoAAAANSUhEUgAA" * 20_000
    body = b'{"messages":[{"content":[{"image_url":{"url":"data:image/png;base64,' + picture + b'"}}]}]}'
    assert 1000 <= tokens_in_body(body) < 20_000


def test_escaped_characters_count_once() -> None:
    plain, escaped = "护城河有多深".encode() * 20, "护城河有多深".encode("unicode_escape") * 20
    assert abs(tokens_in_body(escaped) / tokens_in_body(plain) - 1) < 0.25
