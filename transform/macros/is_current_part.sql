{#-
    Whether a line of an invoice or an item of a subscription is still in it. Stripe doesn't report one that was
    removed. A whole is read together with its parts, so one that wasn't read with it was removed. In the rows of
    tap-stripe, a whole lists its first ten parts.

    Args:
        part: the table of lines or items.
        whole: the table of invoices or subscriptions; its row may be missing.
        listed: the ids of the parts that a row of tap-stripe lists.
-#}
{% macro is_current_part(part, whole, listed) -%}
    if(
        {{ whole }}.api_version is not null,
        coalesce({{ part }}.as_of >= {{ whole }}.as_of, false),
        coalesce(array_length({{ listed }}), 0) not between 1 and 9
        or {{ part }}.id in unnest({{ listed }})
    )
{%- endmacro %}
