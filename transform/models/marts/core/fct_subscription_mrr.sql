{{
    config(
        partition_by={'field': 'month', 'data_type': 'date', 'granularity': 'month'},
        cluster_by='organisation_id',
    )
}}

with monthly as (

    select *
    from {{ ref('int_mrr_by_month') }}

),

compared as (

    select
        *,
        coalesce(lag(mrr) over by_month, 0) as previous_mrr,
        coalesce(
            max(mrr) over (
                partition by subscriber_id, currency
                order by month
                rows between unbounded preceding and 1 preceding
            ),
            0
        ) as highest_mrr_before
    from monthly
    window by_month as (partition by subscriber_id, currency order by month)

),

moved as (

    select
        *,
        mrr - previous_mrr as mrr_change,
        case
            when mrr = previous_mrr then 'unchanged'
            when previous_mrr = 0 and highest_mrr_before = 0 then 'new'
            when previous_mrr = 0 then 'reactivation'
            when mrr = 0 then 'churn'
            when mrr > previous_mrr then 'expansion'
            else 'contraction'
        end as movement
    from compared

)

select
    ---------- ids
    {{ surrogate_key(['subscriber_id', 'currency', 'cast(month as string)']) }} as id,
    organisation_id,
    customer_id,

    ---------- dates
    month,

    ---------- text
    currency,
    movement,

    ---------- numbers
    {{ contract_numeric('mrr') }} as mrr,
    {{ contract_numeric('gross_mrr') }} as gross_mrr,
    {{ contract_numeric('metered_amount') }} as metered_amount,
    {{ contract_numeric('previous_mrr') }} as previous_mrr,
    {{ contract_numeric('mrr_change') }} as mrr_change,
    {% for movement, column in [
        ('new', 'new_mrr'), ('expansion', 'expansion_mrr'), ('contraction', 'contraction_mrr'),
        ('churn', 'churned_mrr'), ('reactivation', 'reactivation_mrr'),
    ] -%}
        {{ contract_numeric("if(movement = '" ~ movement ~ "', mrr_change, 0)") }} as {{ column }},
    {% endfor %}

    ---------- booleans
    month = date_trunc({{ today() }}, month) as is_current_month

from moved
