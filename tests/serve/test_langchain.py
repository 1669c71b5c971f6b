"""LangChain's clients, unmodified, against a real server."""

import pytest

pytestmark = pytest.mark.slow

langchain_openai = pytest.importorskip("langchain_openai", reason="needs langchain-openai")
HumanMessage = pytest.importorskip("langchain_core.messages").HumanMessage

PROMPT = "Tomas Brill, an engineer from Łódź, grew up in"


def expected(engine, model, limit=16):
    policy = model.partition(":")[2] or None
    return engine.variant(policy).generate([PROMPT], max_new_tokens=limit)[0]


@pytest.fixture
def reach(server):
    return {"base_url": server.url + "/v1", "api_key": "none", "max_retries": 0, "max_tokens": 16}


@pytest.mark.parametrize("model", ["slm:never", "slm:always"])
def test_a_chat(engine, reach, model):
    chat = langchain_openai.ChatOpenAI(model=model, temperature=0, **reach)
    answer = expected(engine, model)
    got = chat.invoke(PROMPT)
    assert got.content == answer.continuation
    assert got.usage_metadata["output_tokens"] == answer.tokens
    assert got.response_metadata["finish_reason"] in ("stop", "length")
    chunks = list(chat.stream(PROMPT))
    assert len(chunks) > 3 and "".join(chunk.content for chunk in chunks) == answer.continuation
    several = chat.batch([PROMPT, [("system", "Be brief."), ("user", PROMPT)]])
    assert [message.content for message in several] == [answer.continuation] * 2


def test_a_chat_with_logprobs_and_stop_strings(engine, reach):
    chat = langchain_openai.ChatOpenAI(
        model="slm:never", temperature=0, logprobs=True, top_logprobs=2, **reach
    )
    answer = expected(engine, "slm:never")
    content = chat.invoke(PROMPT).response_metadata["logprobs"]["content"]
    assert len(content) == answer.tokens and len(content[0]["top_logprobs"]) == 2
    stop = answer.continuation[4:6]
    assert chat.invoke(PROMPT, stop=[stop]).content == answer.continuation.partition(stop)[0]
    sampled = langchain_openai.ChatOpenAI(model="slm", temperature=1, seed=3, n=2, **reach)
    texts = [
        [each.text for each in sampled.generate([[HumanMessage(PROMPT)]]).generations[0]]
        for _ in range(2)
    ]
    assert texts[0] == texts[1] and len(set(texts[0])) == 2


@pytest.mark.parametrize("model", ["slm:never", "slm:always"])
def test_a_completion(engine, reach, model):
    plain = langchain_openai.OpenAI(model=model, temperature=0, **reach)
    answer = expected(engine, model)
    assert plain.invoke(PROMPT) == answer.continuation
    assert "".join(plain.stream(PROMPT)) == answer.continuation


def test_langchain_raises_for_errors(reach):
    import openai

    chat = langchain_openai.ChatOpenAI(model="other", **reach)
    with pytest.raises(openai.NotFoundError, match="there is no model"):
        chat.invoke(PROMPT)
    tools = langchain_openai.ChatOpenAI(model="slm", **reach).bind_tools(
        [{"name": "look", "description": "look up", "parameters": {"type": "object"}}]
    )
    with pytest.raises(openai.BadRequestError, match="tools is not supported"):
        tools.invoke(PROMPT)
