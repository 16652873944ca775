{#-
    The moment that a number stands for which counts from 1970: in seconds, milliseconds, microseconds or
    nanoseconds, as its size says. Read as seconds, a date in milliseconds would lie after the year 5000.
-#}
{% macro epoch_timestamp(number) -%}
    case
        when abs({{ number }}) < 1e11 then timestamp_micros(cast({{ number }} * 1000000 as int64))
        when abs({{ number }}) < 1e14 then timestamp_micros(cast({{ number }} * 1000 as int64))
        when abs({{ number }}) < 1e17 then timestamp_micros(cast({{ number }} as int64))
        when abs({{ number }}) < 9.2e18 then timestamp_micros(cast({{ number }} / 1000 as int64))
    end
{%- endmacro %}
