{#-
    What a whole period costs, estimated from the amount for the rest of one, in minor units. For changes of a price
    with tiers that nobody knows, as in the rows of tap-stripe. Null if the rest of the period has no length.

    Args:
        amount: the amount for the rest of the period.
        period: a JSON column with the rest of the period, from `start` to `end`.
        interval, interval_count: the length of a whole period.
-#}
{% macro whole_period_amount(amount, period, interval, interval_count) -%}
    {%- set start = json_timestamp(period, '$.start') -%}
    {%- set end = json_timestamp(period, '$.end') -%}
    cast(
        round(
            safe_divide(
                {{ amount }} * case {{ interval }}
                    when 'day' then {{ interval_count }} * 86400
                    when 'week' then {{ interval_count }} * 604800
                    when 'month'
                        then datetime_diff(
                            datetime({{ end }}),
                            datetime_sub(datetime({{ end }}), interval {{ interval_count }} month),
                            second
                        )
                    when 'year'
                        then datetime_diff(
                            datetime({{ end }}),
                            datetime_sub(datetime({{ end }}), interval {{ interval_count }} year),
                            second
                        )
                end,
                timestamp_diff({{ end }}, {{ start }}, second)
            )
        ) as numeric
    )
{%- endmacro %}
