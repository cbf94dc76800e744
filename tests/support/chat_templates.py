"""Chat templates as the families of models have them, cut down to what concerns tools, and a tokenizer that renders."""

import json
from types import SimpleNamespace
from typing import Any

from jinja2 import Environment
from jinja2.exceptions import TemplateError

CHATML_TOOLS = """\
{%- if tools %}
{{- '<|im_start|>system\\n' + (messages[0].content + '\\n\\n' if messages[0].role == 'system' else '') }}
{{- '# Tools\\n\\nYou may call one or more functions to assist with the user query.\\n\\n' }}
{{- 'You are provided with function signatures within <tools></tools> XML tags:\\n<tools>' }}
{%- for tool in tools %}{{ '\\n' + (tool | tojson) }}{% endfor %}
{{- '\\n</tools>\\n\\nFor each function call, return a json object with function name and arguments ' }}
{{- 'within <tool_call></tool_call> XML tags:\\n<tool_call>\\n' }}
{{- '{"name": <function-name>, "arguments": <args-json-object>}\\n</tool_call><|im_end|>\\n' }}
{%- elif messages[0].role == 'system' %}
{{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}
{%- endif %}
{%- for message in (messages[1:] if messages[0].role == 'system' else messages) %}
{%- if message.role == 'tool' %}
{{- '<|im_start|>user' if loop.previtem.role != 'tool' }}
{{- '\\n<tool_response>\\n' + message.content + '\\n</tool_response>' }}
{{- '<|im_end|>\\n' if loop.last or loop.nextitem.role != 'tool' }}
{%- else %}
{{- '<|im_start|>' + message.role + ('\\n' + message.content if message.content else '') }}
{%- for call in message.tool_calls or [] %}
{{- '\\n<tool_call>\\n' }}
{{- '{"name": "' + call.function.name + '", "arguments": ' + (call.function.arguments | tojson) + '}' }}
{{- '\\n</tool_call>' }}
{%- endfor %}
{{- '<|im_end|>\\n' }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}
"""
"""Hermes and Qwen 2.5, whose wording small models follow best."""

CHATML_THINKING = CHATML_TOOLS.replace("'<|im_start|>assistant\\n'", "'<|im_start|>assistant\\n<think>\\n'")
"""Qwen 3, the thinking ones: the template opens the thought."""

QWEN_CODER = CHATML_TOOLS.replace(
    """{{- '{"name": "' + call.function.name + '", "arguments": ' + (call.function.arguments | tojson) + '}' }}""",
    """{{- '<function=' + call.function.name + '>' }}
{%- for name, value in call.function.arguments | items %}
{{- '\\n<parameter=' + name + '>\\n' + (value if value is string else value | tojson) + '\\n</parameter>' }}
{%- endfor %}
{{- '\\n</function>' }}""",
)

LLAMA = """\
{%- if tools %}Respond in the format {"name": function name, "parameters": dictionary of argument name and its value}.
{{ tools | tojson }}{% endif %}
{%- for message in messages %}
{%- if message.role == 'tool' or message.role == 'ipython' %}
{{- '<|start_header_id|>ipython<|end_header_id|>\n\n' + ({'output': message.content} | tojson) + '<|eot_id|>' }}
{%- elif 'tool_calls' in message %}
{%- if message.tool_calls | length != 1 %}{{ raise_exception('only single tool-calls at once') }}{% endif %}
{%- set call = message.tool_calls[0].function %}
{{- '<|start_header_id|>assistant<|end_header_id|>\n\n{"name": "' + call.name + '", "parameters": ' }}
{{- (call.arguments | tojson) + '}<|eot_id|>' }}
{%- else %}
{{- '<|start_header_id|>' + message.role + '<|end_header_id|>\n\n' + message.content + '<|eot_id|>' }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}
"""

MISTRAL = """\
{{- bos_token }}
{%- if messages[0].role == 'system' %}{% set system = messages[0].content %}{% set messages = messages[1:] %}{% endif %}
{%- set turns = namespace(index=0) %}
{%- for message in messages if message.role == 'user' or (message.role == 'assistant' and not message.tool_calls) %}
{%- if (message.role == 'user') != (turns.index % 2 == 0) %}
{{- raise_exception('roles must alternate') }}
{%- endif %}
{%- set turns.index = turns.index + 1 %}
{%- endfor %}
{%- for message in messages %}
{%- if message.role == 'user' %}
{%- if tools and loop.last %}{{ '[AVAILABLE_TOOLS]' + (tools | tojson) + '[/AVAILABLE_TOOLS]' }}{% endif %}
{{- '[INST]' + ((system + '\n\n') if loop.first and system is defined else '') + message.content + '[/INST]' }}
{%- elif message.tool_calls %}
{{- '[TOOL_CALLS][' }}
{%- for call in message.tool_calls %}
{%- if call.id | length != 9 %}{{ raise_exception('ids of length 9') }}{% endif %}
{{- (call.function | tojson)[:-1] + ', "id": "' + call.id + '"}' + (']' if loop.last else ', ') }}
{%- endfor %}
{{- eos_token }}
{%- elif message.role == 'assistant' %}{{ message.content + eos_token }}
{%- elif message.role == 'tool' %}
{{- '[TOOL_RESULTS]{"content": ' + message.content + ', "call_id": "' + message.tool_call_id + '"}[/TOOL_RESULTS]' }}
{%- else %}{{ raise_exception('unknown role') }}
{%- endif %}
{%- endfor %}
"""

PYTHONIC = """\
{%- if tools %}Use the format [func_name1(param1=value1, param2=value2), func_name2(...)]
{{ tools | tojson }}{% endif %}
{%- for message in messages %}
{{- '<|header_start|>' + ('ipython' if message.role == 'tool' else message.role) + '<|header_end|>\n\n' }}
{{- message.content }}
{%- if message.tool_calls %}[
{%- for call in message.tool_calls %}
{{- call.function.name + '(' }}
{%- for name, value in call.function.arguments | items %}
{{- name + '=' + (value | tojson) + ('' if loop.last else ', ') }}
{%- endfor %}
{{- ')' + ('' if loop.last else ', ') }}
{%- endfor %}]
{%- endif %}
{{- '<|eot|>' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|header_start|>assistant<|header_end|>\n\n' }}{% endif %}
"""

DEEPSEEK = """\
{{- bos_token }}{{ (tools | tojson) if tools }}
{%- for message in messages %}
{%- if message.role == 'user' %}{{ '<｜User｜>' + message.content }}
{%- elif message.role == 'system' %}{{ message.content }}
{%- elif message.role == 'assistant' and message.content is none %}
{{- '<｜Assistant｜><｜tool▁calls▁begin｜>' }}
{%- for call in message.tool_calls %}
{{- '<｜tool▁call▁begin｜>' + call.type + '<｜tool▁sep｜>' + call.function.name + '\n```json\n' }}
{{- call.function.arguments + '\n```<｜tool▁call▁end｜>' }}
{%- endfor %}
{{- '<｜tool▁calls▁end｜><｜end▁of▁sentence｜>' }}
{%- elif message.role == 'assistant' %}{{ '<｜Assistant｜>' + message.content + '<｜end▁of▁sentence｜>' }}
{%- elif message.role == 'tool' %}
{{- '<｜tool▁outputs▁begin｜><｜tool▁output▁begin｜>' + message.content }}
{{- '<｜tool▁output▁end｜><｜tool▁outputs▁end｜>' }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<｜Assistant｜>' }}{% endif %}
"""

_CONTROL = (
    *("<|im_start|>", "<|im_end|>", "<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot|>", "<s>", "</s>"),
    *("<|header_start|>", "<|header_end|>", "[INST]", "[/INST]", "[TOOL_CALLS]", "<|python_tag|>"),
)


class Tokenizer:
    """As much of a tokenizer as renders a template, and makes text of characters' numbers."""

    def __init__(self, template: str | None) -> None:
        self.chat_template = template
        self.added_tokens_decoder = {-n: SimpleNamespace(content=mark, special=True) for n, mark in enumerate(_CONTROL)}

    def apply_chat_template(self, messages: list[dict[str, Any]], **options: Any) -> str:
        """The prompt; as in the transformers library white space around blocks goes."""

        def refuse(text: str) -> None:
            raise TemplateError(text)

        assert self.chat_template is not None
        environment = Environment(trim_blocks=True, lstrip_blocks=True)
        environment.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
        template = environment.from_string(self.chat_template, globals={"raise_exception": refuse})
        return template.render(messages=messages, bos_token="<s>", eos_token="</s>", **options)

    def decode(self, tokens: list[int], **_: Any) -> str:
        """Control tokens are their marks, all others a character."""
        return "".join(self.added_tokens_decoder[n].content if n <= 0 else chr(n) for n in tokens)
