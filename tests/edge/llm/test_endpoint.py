"""Which requests are model calls: those of the known APIs under any prefix, and the operator's own."""

import pytest

from deepmoat.edge.llm.endpoint import Endpoints, find_endpoint
from deepmoat.edge.llm.settings import AssetSettings, LlmSettings
from deepmoat.kit.errors import ConfigError
from deepmoat.kit.settings import load

ENDPOINTS = (
    ("/v1/chat/completions", "openai", "chat", "chat"),
    ("/proxy/openai/v1/chat/completions", "openai", "chat", "chat"),
    ("/v1/completions", "openai", "text_completion", "completions"),
    ("/v1/embeddings", "openai", "embeddings", "embeddings"),
    ("/v1/responses", "openai", "chat", "responses"),
    ("/v1/messages", "anthropic", "chat", "messages"),
    ("/anthropic/v1/messages", "anthropic", "chat", "messages"),
    ("/api/chat", "ollama", "chat", "ollama"),
    ("/api/generate", "ollama", "text_completion", "ollama"),
    ("/api/embed", "ollama", "embeddings", "ollama"),
)
NONE = (
    "/",
    "/v1/models",
    "/messages",
    "/chat/completions/x",
    "/v1/messages/count_tokens",
    "/v1/messages/batches",
    "/v1/responses/resp_1/cancel",
    "/completionsx",
    "",
)


def test_model_endpoints_are_known_under_any_prefix_and_nothing_else_is() -> None:
    find = Endpoints(LlmSettings()).find
    for path, provider, operation, api in ENDPOINTS:
        endpoint = find_endpoint("POST", path)
        assert endpoint and (endpoint.provider, endpoint.operation, endpoint.api) == (
            provider,
            operation,
            api,
        ), path
        assert find("POST", "any", path) is endpoint
        assert find_endpoint("GET", path) is None and find("GET", "any", path) is None
    assert [find_endpoint("POST", path) for path in NONE] == [None] * len(NONE)
    assert [find("POST", "any", path) for path in NONE] == [None] * len(NONE)
    assert len(ENDPOINTS) == 10 and len(NONE) == 9


def test_assets_are_found_by_method_host_and_path_before_the_known_apis() -> None:
    settings = load(
        LlmSettings,
        """
        [[assets]]
        name = "bot"
        hosts = ["bot.example.com", "*.bots.example.com"]
        path = "/ask"
        prompt = "$.question"
        [[assets]]
        name = "all"
        path = "/models/*"
        method = "PUT"
        provider = "own"
        operation = "text_completion"
        [[assets]]
        name = "mine"
        path = "/v1/chat/completions"
        hosts = ["mine.example.com"]
        """,
        where="moat.toml",
    )
    find = Endpoints(settings).find
    found = {
        name: (endpoint.asset.name if endpoint.asset else endpoint.provider) if endpoint else None
        for name, endpoint in (
            ("host", find("POST", "bot.example.com", "/ask")),
            ("domain", find("POST", "a.b.bots.example.com", "/ask")),
            ("bare domain", find("POST", "bots.example.com", "/ask")),
            ("look-alike", find("POST", "evilbots.example.com", "/ask")),
            ("other host", find("POST", "example.com", "/ask")),
            ("below", find("POST", "bot.example.com", "/ask/more")),
            ("beginning", find("PUT", "any", "/models/x/y")),
            ("method", find("POST", "any", "/models/x/y")),
            ("mine", find("POST", "mine.example.com", "/v1/chat/completions")),
            ("known", find("POST", "other.example.com", "/v1/chat/completions")),
        )
    }
    assert found == {
        "host": "bot",
        "domain": "bot",
        "bare domain": None,
        "look-alike": None,
        "other host": None,
        "below": None,
        "beginning": "all",
        "method": None,
        "mine": "mine",
        "known": "openai",
    }


def test_an_asset_that_cannot_work_is_refused_with_its_place() -> None:
    bad = (
        (AssetSettings(name="a", path="ask"), "edge.llm.assets[0].path"),
        (AssetSettings(name="a", path="/ask", hosts=("a.*.com",)), "edge.llm.assets[0].hosts"),
        (AssetSettings(name="a", path="/ask", hosts=("a:80",)), "edge.llm.assets[0].hosts"),
        (AssetSettings(name="a", path="/ask", prompt="$.["), "edge.llm.assets[0].prompt"),
        (AssetSettings(name="a", path="/ask", answer="answer"), "edge.llm.assets[0].answer"),
        (AssetSettings(name="a", path="/ask", model="$..a..b"), "edge.llm.assets[0].model"),
    )
    for asset, where in bad:
        with pytest.raises(ConfigError) as caught:
            Endpoints(LlmSettings(assets=(asset,)))
        assert caught.value.where == where and caught.value.hint
    with pytest.raises(ConfigError, match="promt"):
        load(LlmSettings, '[[assets]]\nname = "a"\npath = "/a"\npromt = "$.x"', where="moat.toml")
