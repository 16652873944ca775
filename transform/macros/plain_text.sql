{#-
    The text of a message in HTML: a line for each paragraph, no tags, and the commonest entities as
    the characters that they stand for. The ampersand comes last: `&amp;lt;` says `&lt;`.
-#}
{% macro plain_text(html) -%}
    {%- set lines = "regexp_replace(" ~ html ~ ", r'</(p|div|li|pre|h[1-6])>|<br */?>', '\\n')" -%}
    {%- set ns = namespace(text="regexp_replace(" ~ lines ~ ", r'<[^>]*>', '')") -%}
    {%- for entity, character in [
        ("&nbsp;", " "), ("&lt;", "<"), ("&gt;", ">"), ("&quot;", '"'),
        ("&#39;", "\\'"), ("&#x27;", "\\'"), ("&amp;", "&"),
    ] -%}
        {%- set ns.text = "replace(" ~ ns.text ~ ", '" ~ entity ~ "', '" ~ character ~ "')" -%}
    {%- endfor -%}
    nullif(trim({{ ns.text }}, ' \n'), '')
{%- endmacro %}
