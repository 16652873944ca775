with subscriptions as (

    select *
    from {{ ref('int_subscriptions_with_subscriber') }}

),

-- Each period is billed by an invoice line, and so is each change within a period. Until a change
-- is billed, it waits as an invoice item.
billed as (

    select
        subscription_item_id,
        subscription_id,
        currency,
        annual_amount,
        is_proration,
        is_credit,
        period_started_at as started_at,
        invoiced_at as noted_at
    from {{ ref('stg_stripe__invoice_line_items') }}

    union all

    select
        subscription_item_id,
        subscription_id,
        currency,
        annual_amount,
        is_proration,
        is_credit,
        period_started_at as started_at,
        created_at as noted_at
    from {{ ref('stg_stripe__invoice_items') }}
    where is_proration

),

-- Of several for one moment, the last charge counts. A credit alone means that the item is gone.
changes as (

    select *
    from billed
    where subscription_item_id is not null and annual_amount is not null
    qualify
        row_number() over (
            partition by subscription_item_id, started_at
            order by is_credit asc, is_proration desc, noted_at desc
        ) = 1

)

-- A price holds until the next change, however late that is billed, or the subscription's end.
select
    subscriptions.organisation_id,
    subscriptions.customer_id,
    changes.currency,
    changes.annual_amount,
    changes.started_at,
    least(
        coalesce(
            lead(changes.started_at) over (
                partition by changes.subscription_item_id order by changes.started_at
            ),
            timestamp '9999-12-31'
        ),
        coalesce(subscriptions.ended_at, timestamp '9999-12-31')
    ) as ended_at
from changes
inner join subscriptions on changes.subscription_id = subscriptions.id
