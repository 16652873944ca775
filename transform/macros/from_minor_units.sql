{#-
    An amount in a currency's smallest unit, as NUMERIC in its normal denomination. Which currencies
    have no hundredths: https://docs.stripe.com/currencies
    Null from 10^18 on. Such a number is no amount of money, and adding up or multiplying it could overflow NUMERIC,
    which fails the whole query.
-#}
{% macro from_minor_units(amount, currency) -%}
    cast(
        if(abs(cast({{ amount }} as numeric)) < numeric '1e18', cast({{ amount }} as numeric), null) * case
            when upper({{ currency }}) in (
                'BIF', 'CLP', 'DJF', 'GNF', 'JPY', 'KMF', 'KRW', 'MGA', 'PYG', 'RWF', 'VND', 'VUV', 'XAF', 'XOF', 'XPF'
            ) then numeric '1'
            when upper({{ currency }}) in ('BHD', 'JOD', 'KWD', 'OMR', 'TND') then numeric '0.001'
            else numeric '0.01'
        end as numeric
    )
{%- endmacro %}
