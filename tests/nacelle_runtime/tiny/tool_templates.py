"""Small chat templates of our own that write tools and calls in different forms."""

_TURNS = (
    "{% for m in messages %}{{ m.role }}: {{ m.content }}"
    "{% for call in m.tool_calls %}{% set f = call.function %}CALL{% endfor %}\n{% endfor %}"
)
_TOOLS = "{% for t in tools or [] %}{{ t.function.name }} {% endfor %}"

NO_TOOLS = _TURNS.replace("CALL", "")
HERMES = _TOOLS + _TURNS.replace(
    "CALL",
    '<tool_call>\n{"name": "{{ f.name }}", "arguments": {{ f.arguments | tojson }}}\n</tool_call>',
)
LLAMA = _TOOLS + _TURNS.replace(
    "CALL", '{"name": "{{ f.name }}", "parameters": {{ f.arguments | tojson }}}'
)
ONE_CALL = LLAMA.replace(
    "{% for call in",
    "{% if m.tool_calls | length > 1 %}{{ raise_exception('one call') }}{% endif %}{% for call in",
)
UNKNOWN = _TOOLS + _TURNS.replace("CALL", "{{ f.name }}({{ f.arguments }})")


def padded(source, size):
    """The template with its prompt brought to so many characters."""
    return (
        "{% set body %}"
        + source
        + "{% endset %}{{ body + '.' * (SIZE - body | length) }}".replace("SIZE", str(size))
    )
