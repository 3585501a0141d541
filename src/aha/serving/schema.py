"""What clients may send, field by field: OpenAI's names, and those that DeepSeek, vLLM and OpenRouter have added.

An unknown field is an error that names the nearest one. Fields of `REFUSED` ask for what this server does not do; those
that stand under "accepted, without effect" ask for nothing that would change an answer.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

SEED = 2**63
Ids = list[Annotated[int, Field(ge=0, lt=2**31)]]

REFUSED = {
    "guided_json": "use response_format with type json_schema",
    "guided_regex": "use structured_outputs",
    "guided_choice": "use structured_outputs",
    "guided_grammar": "use structured_outputs",
    "best_of": "use n",
    "suffix": "filling in the middle is not served",
    "functions": "use tools",
    "function_call": "use tool_choice",
    "audio": "only text is served",
    "prediction": "predicted outputs are not served",
    "web_search_options": "the server searches nothing",
    "chat_template": "templates come from the model alone",
    "prompt_logprobs": "use echo with logprobs at /v1/completions",
    "previous_response_id": "no response is stored; send the whole conversation as input",
    "conversation": "no conversation is stored; send it as input",
    "background": "answers are not made in the background",
    "prompt": "prompts are not stored here; send input",
}


STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)


class Loose(BaseModel):
    """Other fields are let through: clients send back what other servers gave them."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)


class StreamOptions(Loose):
    include_usage: bool | None = None


class JsonSchema(Loose):
    name: str = "answer"
    json_schema: dict[str, Any] | bool | None = Field(default=None, alias="schema")
    strict: bool | None = None


class ResponseFormat(Loose):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None


class StructuredOutputs(BaseModel):
    """vLLM's: exactly one of these."""

    model_config = STRICT
    json_: dict[str, Any] | str | None = Field(default=None, alias="json")
    json_object: bool | None = None
    regex: str | None = None
    choice: list[str] | None = None
    grammar: str | None = None


class Thinking(Loose):
    """DeepSeek's switch, and OpenRouter's `reasoning` without its `exclude`."""

    type: Literal["enabled", "disabled"] = "enabled"
    budget_tokens: Annotated[int, Field(ge=0)] | None = None


class Reasoning(Loose):
    effort: str | None = None
    max_tokens: Annotated[int, Field(ge=0)] | None = None
    enabled: bool | None = None
    exclude: bool | None = None
    summary: Any = None


class Generation(BaseModel):
    """What all endpoints share."""

    model_config = STRICT
    model: str | None = None
    temperature: Annotated[float, Field(ge=0, le=100)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=-1, lt=2**31)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    repetition_penalty: Annotated[float, Field(ge=0.01, le=100)] | None = None
    logit_bias: dict[str, Annotated[float, Field(ge=-100, le=100)]] | None = None
    allowed_token_ids: Annotated[Ids, Field(min_length=1)] | None = None
    seed: Annotated[int, Field(ge=-SEED, lt=SEED)] | None = None
    sample_index: Annotated[int, Field(ge=0, lt=2**31)] | None = None  # ours: the number of the first sample of `seed`
    stop: str | list[str] | None = None
    stop_token_ids: Ids | None = None
    include_stop_str_in_output: bool | None = None
    ignore_eos: bool | None = None
    min_tokens: Annotated[int, Field(ge=0, lt=2**31)] | None = None
    n: Annotated[int, Field(ge=1, le=4096)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    skip_special_tokens: bool | None = None
    return_token_ids: bool | None = None
    structured_outputs: StructuredOutputs | None = None
    # accepted, without effect
    user: Any = None
    metadata: Any = None
    store: Any = None
    service_tier: Any = None
    safety_identifier: Any = None
    prompt_cache_key: Any = None
    prompt_cache_retention: Any = None
    priority: Any = None
    request_id: Any = None

    @field_validator("stop")
    @classmethod
    def _bounded(cls, stop: str | list[str] | None) -> str | list[str] | None:
        stops = [stop] if isinstance(stop, str) else stop or []
        if len(stops) > 16 or not all(stops) or sum(map(len, stops)) > 4096:
            raise ValueError("at most 16 strings of 4096 characters in all, none of them empty")
        return stop

    @property
    def stops(self) -> tuple[str, ...]:
        """The stop strings."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())


class Part(Loose):
    type: str
    text: str | None = None


class CalledFunction(Loose):
    name: str
    arguments: str | dict[str, Any] = ""


class ToolCall(Loose):
    id: str | None = None
    type: Literal["function"] = "function"
    function: CalledFunction


class ChatMessage(Loose):
    role: Literal["developer", "system", "user", "assistant", "tool"]
    content: str | list[Part] | None = None
    name: str | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None
    reasoning_content: str | None = None
    reasoning: Any = None
    prefix: bool | None = None  # DeepSeek's: this answer is to go on


class Function(Loose):
    name: Annotated[str, Field(min_length=1, max_length=256)]
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(Loose):
    type: Literal["function"]
    function: Function


class NamedFunction(Loose):
    name: str


class NamedTool(Loose):
    type: Literal["function"]
    function: NamedFunction


class ChatRequest(Generation):
    """`POST /v1/chat/completions`."""

    messages: Annotated[list[ChatMessage], Field(min_length=1)]
    max_tokens: Annotated[int, Field(ge=1, lt=2**31)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1, lt=2**31)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    response_format: ResponseFormat | None = None
    tools: list[Tool] | None = None
    tool_choice: Literal["none", "auto", "required"] | NamedTool | None = None
    parallel_tool_calls: bool | None = None
    reasoning_effort: str | None = None
    reasoning: Reasoning | None = None
    thinking: Thinking | None = None
    thinking_token_budget: Annotated[int, Field(ge=0)] | None = None
    include_reasoning: bool | None = None
    separate_reasoning: bool | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    add_generation_prompt: bool | None = None
    continue_final_message: bool | None = None
    modalities: list[Literal["text"]] | None = None
    verbosity: Any = None  # accepted, without effect


class CompletionRequest(Generation):
    """`POST /v1/completions`."""

    prompt: str | Annotated[Ids, Field(min_length=1)] | list[str] | list[Annotated[Ids, Field(min_length=1)]]
    max_tokens: Annotated[int, Field(ge=0, lt=2**31)] | None = None
    echo: bool | None = None
    logprobs: Annotated[int, Field(ge=0, le=100)] | None = None
    add_special_tokens: bool | None = None
    response_format: ResponseFormat | None = None


class TextFormat(Loose):
    type: Literal["text", "json_object", "json_schema"]
    name: str = "answer"
    json_schema: dict[str, Any] | bool | None = Field(default=None, alias="schema")
    strict: bool | None = None


class TextOptions(Loose):
    format: TextFormat | None = None


class ResponseTool(Loose):
    type: str
    name: str | None = None
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class InputItem(Loose):
    type: str | None = None
    role: str | None = None
    content: str | list[Part] | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    output: str | list[Part] | None = None
    summary: list[Part] | None = None


class ResponseToolChoice(Loose):
    type: str
    name: str | None = None


class ResponsesRequest(Generation):
    """`POST /v1/responses`."""

    input: str | Annotated[list[InputItem], Field(min_length=1)]
    instructions: str | None = None
    max_output_tokens: Annotated[int, Field(ge=1, lt=2**31)] | None = None
    text: TextOptions | None = None
    tools: list[ResponseTool] | None = None
    tool_choice: Literal["none", "auto", "required"] | ResponseToolChoice | None = None
    parallel_tool_calls: bool | None = None
    reasoning: Reasoning | None = None
    include: list[str] | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    truncation: Literal["auto", "disabled"] | None = None
    # accepted, without effect
    max_tool_calls: Any = None
    stream_obfuscation: Any = None


class TokenizeRequest(BaseModel):
    """`POST /tokenize`: a text, or a conversation as it would be put."""

    model_config = STRICT
    model: str | None = None
    prompt: str | None = None
    messages: list[ChatMessage] | None = None
    add_special_tokens: bool | None = None
    add_generation_prompt: bool | None = None
    return_token_strs: bool | None = None
    tools: list[Tool] | None = None
    chat_template_kwargs: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _one(self) -> TokenizeRequest:
        if (self.prompt is None) == (self.messages is None):
            raise ValueError("give either prompt or messages")
        return self


class DetokenizeRequest(BaseModel):
    """`POST /detokenize`."""

    model_config = STRICT
    model: str | None = None
    tokens: Ids
