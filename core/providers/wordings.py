"""How providers word their refusals: one pattern for each stable code.

The alternatives are words of OpenAI, Azure, Anthropic, Gemini, Mistral, Groq, DeepSeek, DashScope,
Zhipu, OpenRouter, Together, Bedrock, vLLM, SGLang, TGI, llama.cpp, Ollama, LM Studio and LiteLLM.
tests/unit/test_refusals.py has whole sentences.
"""

import re


def _any_of(*alternatives: str) -> re.Pattern[str]:
    return re.compile("|".join(alternatives), re.IGNORECASE | re.DOTALL)


FILTERED = _any_of(
    r"content[_ ]?(?:filter|policy|management)",
    r"responsible ?ai|data_?inspection_?failed|prohibited_content|guardrail",
    r"safety (?:system|filter|setting|policy)|was filtered|content exists risk",
    r"inappropriate content|requires moderation|flagged (?:for|as)",
    r"violat\w+ .{0,30}(?:usage|content) (?:guideline|polic)",
    r"敏感内容|不安全|违规",
)
TOO_LONG = _any_of(
    r"context[_ ](?:length|size|window|limit)|exceed_context|maximum context|context the overflow",
    r"prompt is too long|string_above_max_length|too many (?:input )?tokens|string too long",
    r"(?:less|more|fewer|longer) than \d+ tokens",
    r"(?:input|prompt|text|sequence|request)s?\b.{0,60}(?:too (?:long|large)|exceed|longer than)"
    r".{0,60}(?:token|context|length|model|physical batch)",
    r"exceeds? (?:the )?max(?:imum)? (?:number of (?:input )?)?(?:tokens|length|sequence|context)",
    r"tokens?\b.{0,40}\bexceeds? the max|tokens?`? \+ `?max\w*tokens?`? must be",
    r"max(?:imum)?_? ?(?:input|sequence|prompt)_? ?(?:length|tokens)",
    r"range of input length|reduce the length of (?:the|your) (?:messages|prompt|input)",
    r"超长|过长|超过.{0,12}长度",
)
NO_MODEL = _any_of(
    r"model_not_found|deploymentnotfound|unknown_model|model_not_exist|invalid_model",
    r"\b(?:models?|deployment)\b.{0,80}(?:not (?:found|exist|supported|available)|n't exist"
    r"|unknown|not a valid|no access|have access|decommissioned|no longer|identifier is invalid)",
    r"(?:no such|unknown|invalid|unsupported|unavailable|not found:?|not a valid) "
    r"(?:the )?(?:model|deployment)",
    r"no models? (?:is |are )?loaded|no endpoints? found|unable to access model",
    r"could not find (?:a |the )?(?:real )?model|模型不存在",
)
BAD_KEY = _any_of(
    r"invalid_?api_?key",
    r"api[_ -]?key.{0,40}(?:not valid|invalid|incorrect|expired|missing|required)",
    r"(?:invalid|incorrect|missing|expired|no|bad) (?:api[_ -]?key|access token|credentials)",
    r"unauthori[sz]ed|unauthenticated|authentication",
)
NO_MONEY = _any_of(
    r"insufficient[_ ](?:balance|quota|credit|fund)|exceeded[_ ](?:your[_ ])?current[_ ]quota",
    r"quota[_ ]exceeded|quota (?:has been|was|is) exceeded|\bquota\b",
    r"out of credit|credit balance|payment required|available credits|arrearage|good standing",
    r"balance (?:is )?(?:insufficient|too low|not enough)|(?:spending|usage) limits?\b",
    r"billing_(?:hard_limit|not_active)|billing details|欠费|余额不足",
)
HARD_QUOTA = _any_of(
    r"insufficient[_ ](?:quota|balance|credit|fund)|billing_|exceeded_current_quota|欠费|余额不足"
)
RATE = _any_of(r"rate[_ ]?limit|too many requests|overloaded|try again later")
# A refusal that does not say which parameter it is about.
UNNAMED_PARAMETER = _any_of(
    r"request body|invalid request\b|bad request|unrecogni[sz]ed|unknown (?:field|param|arg)",
    r"not permitted|extra (?:inputs?|fields?)|unexpected (?:field|key|param)|unsupported param",
)
