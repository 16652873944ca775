{#-
    The moment that a number stands for which counts from 1970: in seconds, milliseconds, microseconds or
    nanoseconds, as its size says. Read as seconds, a date in milliseconds would lie after the year 5000.
    The lowest of each is the first moment of the year 1, since BigQuery fails on an earlier one.
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
