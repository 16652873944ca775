{#-
    The text of a message in HTML: one line per paragraph, no tags, and the most common entities as characters.
    The ampersand is replaced last, so that `&amp;lt;` becomes `&lt;`.
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
