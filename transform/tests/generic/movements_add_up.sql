{#-
    The rows of `fct_subscription_mrr` whose movements don't add up to the change of MRR since the month before, or
    whose month before is missing.
-#}
{% test movements_add_up(model) %}

with compared as (

    select
        *,
        lag(month) over by_month as month_before,
        coalesce(lag(mrr) over by_month, 0) as mrr_before
    from {{ model }}
    window
        by_month as (
            partition by coalesce(organisation_id, customer_id), currency
            order by month
        )

)

select
    id,
    month,
    currency,
    mrr_before,
    mrr,
    mrr_change
from compared
where
    mrr_before + new_mrr + expansion_mrr + contraction_mrr + churned_mrr + reactivation_mrr != mrr
    or mrr_before + mrr_change != mrr
    or mrr_before != previous_mrr
    or date_add(month_before, interval 1 month) != month

{% endtest %}
