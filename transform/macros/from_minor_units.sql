{#-
    An amount in a currency's smallest unit, as NUMERIC in its normal denomination. Which currencies
    have no hundredths: https://docs.stripe.com/currencies
-#}
{% macro from_minor_units(amount, currency) -%}
    cast(
        cast({{ amount }} as numeric) * case
            when upper({{ currency }}) in (
                'BIF', 'CLP', 'DJF', 'GNF', 'JPY', 'KMF', 'KRW', 'MGA', 'PYG', 'RWF', 'VND', 'VUV', 'XAF', 'XOF', 'XPF'
            ) then numeric '1'
            when upper({{ currency }}) in ('BHD', 'JOD', 'KWD', 'OMR', 'TND') then numeric '0.001'
            else numeric '0.01'
        end as numeric
    )
{%- endmacro %}
