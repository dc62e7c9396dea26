"""What providers really say when they refuse, and the stable code for it."""

import json
from typing import Any

import pytest

from core.answering.dialect import Dialect
from core.embedding.limits import EndpointLimits
from core.providers.failures import read_refusal, refusal_of

TOO_LONG = [
    (400, "This model's maximum context length is 8192 tokens. However, your messages had 9"),
    (400, "'max_tokens' or 'max_completion_tokens' is too large: 900. This model's maximum context "
     "length is 1024 tokens and your request has 700 input tokens (900 > 1024 - 700)."),
    (400, "the request exceeds the available context size (4096 tokens), try increasing it"),
    (400, "prompt is too long: 208310 tokens > 200000 maximum"),
    (400, "The input token count (1200000) exceeds the maximum number of tokens allowed (9999)."),
    (400, "Prompt contains 40000 tokens and 0 draft tokens, too large for model with 32768 maximum "
     "context length"),
    (413, "Request too large for model `m` on tokens per minute (TPM): Limit 6000, Requested 7500, "
     "please reduce your message size and try again."),
    (400, "Please reduce the length of the messages or completion."),
    (400, "Trying to keep the first 5000 tokens when context the overflows. However, the model is "
     "loaded with context length of only 4096 tokens"),
    (400, "too many tokens: total number of tokens in the prompt cannot exceed 4081 - received 5"),
    (400, "Input is too long for requested model."),
    (400, "Range of input length should be [1, 30720]"),
    (400, "Invalid request: Your request exceeded model token limit: 8192"),
    (422, "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4097. Given: 5000 "
     "`inputs` tokens and 512 `max_new_tokens`"),
    (400, "The input (5000 tokens) is longer than the model's context length (4096 tokens)."),
    (400, "Requested token count exceeds the model's maximum context length of 4096 tokens."),
    (500, "Requested tokens (1500) exceed context window of 512"),
    (400, "This model's maximum prompt length is 131072 but the request contains 150000 tokens."),
    (400, "Input tokens exceed the configured limit of 272000 tokens."),
    (400, "Your input exceeds the context window of this model."),
    (400, "输入过长，超过模型最大长度限制"),
]  # fmt: skip
FILTERED = [
    (
        400,
        "The response was filtered due to the prompt triggering Azure OpenAI's content management",
    ),
    (400, "Your request was rejected as a result of our safety system."),
    (400, "Input data may contain inappropriate content."),
    (400, "Content Exists Risk"),
    (400, "系统检测到输入或生成内容可能包含不安全或敏感内容"),
    (400, "Output blocked by content filtering policy"),
    (403, "Your chosen model requires moderation and your input was flagged for violence."),
    (400, "Invalid prompt: it was flagged as potentially violating our usage policy."),
    (400, "Violated guardrail policy"),
    (403, "Content violates usage guidelines."),
]
QUOTA = [
    (402, "Insufficient Balance"),
    (
        402,
        "This request requires more credits, or fewer max_tokens. You requested up to 4096 tokens",
    ),
    (400, "Your credit balance is too low to access the API."),
    (403, "Sorry, your account balance is insufficient"),
    (400, "Access denied, please make sure your account is in good standing. (Arrearage)"),
    (429, "You exceeded your current quota, please check your plan and billing details."),
    (403, "您的账户已欠费，请充值后重试"),
    (400, "You have reached your specified API usage limits."),
    (403, "Your team has used all available credits or reached its monthly spending limit."),
]
NO_MODEL = [
    (404, "The model `gpt-5x` does not exist or you do not have access to it."),
    (404, 'model "x" not found, try pulling it first'),
    (404, "No models loaded. Please load a model in the developer page or use the `lms load`."),
    (400, "Invalid model name passed in model=x. Call `/v1/models` to view available models."),
    (400, "Invalid model: x"),
    (400, "The model `x` has been decommissioned and is no longer supported."),
    (400, "Model Not Exist"),
    (404, "The API deployment for this resource does not exist."),
    (400, "Unavailable model: x"),
    (400, "x is not a valid model ID"),
    (404, "No endpoints found for x."),
    (400, "Unable to access model x. Please visit our list of supported models."),
    (400, "The provided model identifier is invalid."),
    (404, "models/x is not found for API version v1beta, or is not supported."),
    (404, "could not find real modelID for x"),
    (400, "模型不存在，请检查模型代码。"),
]
AUTH = [
    (401, "Incorrect API key provided: sk-12345"),
    (400, "API key not valid. Please pass a valid API key."),
    (401, "No auth credentials found"),
    (403, "Forbidden"),
    (400, "Missing API key"),
    (500, "invalid_api_key"),
]
OTHER = [
    (400, "messages: at least one message is required"),
    (404, "Not Found"),
    (429, "Rate limit reached for requests"),
    (429, "Request too large on tokens per min (TPM): Limit 30000, Requested 40000"),
    (503, "The model is currently overloaded. Please try again later."),
    (500, "Internal server error"),
    (422, "body.n: Input should be less than or equal to 1"),
]
CODES = {
    "context_too_long": TOO_LONG,
    "content_filtered": FILTERED,
    "provider_quota": QUOTA,
    "provider_model_unknown": NO_MODEL,
    "provider_auth": AUTH,
    "provider_unavailable": OTHER,
}
SAID = [(code, status, said) for code, listed in CODES.items() for status, said in listed]


@pytest.mark.parametrize(("code", "status", "message"), SAID)
def test_each_refusal_gets_its_code(code: str, status: int, message: str) -> None:
    bodies = [{"error": {"message": message}}, {"error": message}, {"message": message}]
    for body in [*map(json.dumps, bodies), message, f"<html><h1>{message}</h1></html>"]:
        assert read_refusal(status, body).code == code, body


PARAMETERS = [
    (400, {"error": {"message": "Unsupported parameter", "param": "max_tokens"}}, "max_tokens"),
    (400, {"error": {"message": "`temperature` is deprecated for this model."}}, "temperature"),
    (
        422,
        {"detail": [{"loc": ["body", "stream_options"], "msg": "Extra inputs are not permitted"}]},
        "stream_options",
    ),
    (
        422,
        {
            "object": "error",
            "message": {"detail": [{"loc": ["body", "stream_options"], "msg": "Extra inputs"}]},
        },
        "stream_options",
    ),
    (400, {"error": 'json: unknown field "stream_options"'}, "stream_options"),
    (400, {"message": "Invalid request body"}, "stream_options"),
    (400, {"error": {"message": "This model does not support streaming."}}, "stream"),
    (400, {"error": {"message": "Your organization must be verified to stream this."}}, "stream"),
    (501, {"error": {"message": "Streaming is not implemented"}}, "stream"),
    (400, {"error": {"message": "System role not supported"}}, "system"),
    (400, {"error": {"message": "Only user and assistant roles are supported!"}}, "system"),
    (500, {"error": {"message": "Template error: System role not supported"}}, "system"),
    (400, {"error": {"message": "Developer instruction is not enabled for models/g"}}, "system"),
    (400, {"error": {"message": "Unexpected role 'system' in messages"}}, "system"),
    (400, {"error": {"message": "'system' is not one of ['user', 'assistant']"}}, "system"),
    (
        422,
        {"detail": [{"loc": ["body", "messages", 0, "role"], "msg": "Input should be 'user'"}]},
        "system",
    ),
    (
        400,
        {"error": {"message": "Conversation roles must alternate user/assistant/user/assistant"}},
        "system",
    ),
]


@pytest.mark.parametrize(("status", "said", "refused"), PARAMETERS)
def test_a_refused_parameter_is_left_out(status: int, said: Any, refused: str) -> None:
    dialect = Dialect(max_tokens=300, temperature=0.2)
    messages = [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]
    sent = dialect.body(model="m", messages=messages)
    assert dialect.learn(refusal_of(said, status=status), sent)
    after = dialect.body(model="m", messages=messages)
    if refused == "system":
        assert [one["role"] for one in after["messages"]] == ["user"]
        return
    expected = {"stream", "stream_options"} if refused == "stream" else {refused}
    assert sent.keys() - after.keys() == expected


@pytest.mark.parametrize(("status", "message"), [*TOO_LONG, *QUOTA, *NO_MODEL, *AUTH, *FILTERED])
def test_other_refusals_are_about_no_parameter(status: int, message: str) -> None:
    dialect = Dialect(max_tokens=300, temperature=0.2)
    messages = [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]
    sent = dialect.body(model="m", messages=messages)
    assert not dialect.learn(refusal_of({"message": message}, status=status), sent)


BATCHES = [
    (422, "batch size 64 > maximum allowed batch size 32", 32),
    (400, "batch size is invalid, it should not be larger than 10.: input.contents", 10),
    (400, "invalid request: total number of texts must be at most 48", 48),
    (400, "Requested 400000 tokens, max 300000 tokens per request", 32),
    (400, "The max allowed tokens per submitted batch is 120000. Your batch has 130000", 32),
    (400, "Too many tokens overall, split into more batches.", 32),
    (400, "Number of inputs exceeds 16", 16),
    (400, "input数组最大不得超过25条", 25),
    (400, "the length of `input` should be less than or equal to 20", 20),
    (413, "<html>413 Request Entity Too Large</html>", 32),
]
TEXTS = [
    (413, "Input validation error: `inputs` must have less than 512 tokens. Given: 9000", 512),
    (400, "the input length exceeds the context length", None),
    (500, "input (2000 tokens) is too large to process. increase the physical batch size (current "
     "batch size: 512)", 512),
    (400, "Range of input length should be [1, 1024]", 1024),
    (400, "Single text cannot exceed 1000 tokens. 2000 tokens given.", 1000),
    (400, "Too many input tokens. Max input tokens: 800, request input token count: 2000", 800),
    (400, "Invalid 'input[0]': string too long. Expected a string with maximum length 700", 700),
]  # fmt: skip


def limits() -> EndpointLimits:
    return EndpointLimits(
        count_tokens=lambda text: len(text) // 4,
        batch_size=64,
        max_tokens=None,
        sends_dimensions=False,
    )


@pytest.mark.parametrize(("status", "message", "most"), BATCHES)
def test_an_endpoint_that_takes_fewer_texts_gets_fewer(
    status: int, message: str, most: int
) -> None:
    learning = limits()
    assert learning.learn(read_refusal(status, message), {"input": ["word"] * 64})
    assert learning.batch_size == most


@pytest.mark.parametrize(("status", "message", "tokens"), TEXTS)
def test_an_endpoint_that_takes_shorter_texts_gets_shorter_ones(
    status: int, message: str, tokens: int | None
) -> None:
    learning = limits()
    assert learning.learn(read_refusal(status, message), {"input": ["word" * 2000, "a"]})
    assert learning.batch_size == 64
    assert len(learning.cut("word" * 2000)) == 4 * (tokens or 1400)
