{#-
    The timestamp of a number that counts from 1970 in seconds, milliseconds, microseconds or nanoseconds. The unit
    follows from the size: read as seconds, a date in milliseconds would be after the year 5000. The lower bound of
    each unit is the first moment of the year 1, because BigQuery fails on an earlier one.
-#}
{% macro epoch_timestamp(number) -%}
    case
        when {{ number }} >= -62135596800 and {{ number }} < 1e11
            then timestamp_micros(cast({{ number }} * 1000000 as int64))
        when {{ number }} >= -62135596800000 and {{ number }} < 1e14
            then timestamp_micros(cast({{ number }} * 1000 as int64))
        when {{ number }} >= -62135596800000000 and {{ number }} < 1e17
            then timestamp_micros(cast({{ number }} as int64))
        when {{ number }} > -9.2e18 and {{ number }} < 9.2e18
            then timestamp_micros(cast({{ number }} / 1000 as int64))
    end
{%- endmacro %}
