{% set ever = "timestamp '9999-12-31'" %}

with subscriptions as (

    select *
    from {{ ref('int_subscriptions_with_subscriber') }}

),

items as (

    select *
    from {{ ref('stg_stripe__subscription_items') }}

),

void_invoices as (

    select id
    from {{ ref('stg_stripe__invoices') }}
    where status = 'void'

),

-- Each period is billed by an invoice line, and so is each change within a period. Until a change
-- is billed, it waits as an invoice item.
all_lines as (

    select
        lines.*,
        void_invoices.id is not null as is_void
    from {{ ref('stg_stripe__invoice_line_items') }} as lines
    left join void_invoices on lines.invoice_id = void_invoices.id
    where lines.subscription_item_id is not null

),

-- What an item is first billed, or first after a trial, may be the rest of a period. Until a whole
-- one is billed, it counts as such, with its discounts.
lines as (

    select
        * except (is_proration),
        is_proration
        and (
            is_credit
            or countif(not is_proration and annual_amount > 0) over by_item > 0
            or period_started_at
            > min(if(annual_amount > 0, period_started_at, null)) over by_item
        ) as is_proration
    from all_lines
    where annual_amount is not null and not is_void
    window by_item as (partition by subscription_item_id)

),

-- What a period costs: several lines of one item and period, such as tiers, add up.
periods as (

    select
        subscription_item_id,
        period_started_at as started_at,
        max(period_ends_at) as ends_at,
        min(subscription_id) as subscription_id,
        min(currency) as currency,
        max(plan_id) as plan_id,
        sum(quantity) as quantity,
        sum(annual_amount) as annual_amount,
        max(included_tax_percentage) as included_tax_percentage,
        invoice_id,
        max(invoiced_at) as noted_at
    from lines
    where not is_proration
    group by subscription_item_id, started_at, invoice_id

),

-- Of several invoices for one period, the last counts.
current_periods as (

    select *
    from periods
    qualify row_number() over (
            partition by subscription_item_id, started_at
            order by noted_at desc, invoice_id desc
        ) = 1

),

waiting as (

    select invoice_items.*
    from {{ ref('stg_stripe__invoice_items') }} as invoice_items
    left join all_lines on invoice_items.id = all_lines.invoice_item_id
    where
        invoice_items.is_proration
        and invoice_items.subscription_item_id is not null
        and invoice_items.annual_amount is not null
        and all_lines.id is null

),

prorations as (

    select
        subscription_item_id,
        period_started_at as started_at,
        period_ends_at as ends_at,
        subscription_id,
        currency,
        plan_id,
        quantity,
        annual_amount,
        is_credit,
        false as has_tax,
        invoiced_at as noted_at,
        -- Tiers of one change add up.
        if(is_tiered, invoice_id, id) as change_id
    from lines
    where is_proration

    union all

    select
        subscription_item_id,
        period_started_at as started_at,
        period_ends_at as ends_at,
        subscription_id,
        currency,
        plan_id,
        quantity,
        annual_amount,
        is_credit,
        true as has_tax,
        created_at as noted_at,
        id as change_id
    from waiting

),

proration_sums as (

    select
        subscription_item_id,
        started_at,
        plan_id,
        is_credit,
        change_id,
        max(ends_at) as ends_at,
        min(subscription_id) as subscription_id,
        min(currency) as currency,
        sum(quantity) as quantity,
        sum(annual_amount) as annual_amount,
        logical_or(has_tax) as has_tax,
        max(noted_at) as noted_at
    from prorations
    group by subscription_item_id, started_at, plan_id, is_credit, change_id

),

proration_pairs as (

    select
        *,
        countif(is_credit) over (
            partition by subscription_item_id, started_at, plan_id, quantity
        ) > 0 as is_taken_back
    from proration_sums

),

-- Of several changes at one moment, the one that no credit takes back counts.
chosen_prorations as (

    select *
    from proration_pairs
    qualify row_number() over (
            partition by subscription_item_id, started_at
            order by is_credit asc, is_taken_back asc, noted_at desc, quantity desc
        ) = 1

),

billed as (

    select
        subscription_item_id,
        started_at,
        ends_at,
        subscription_id,
        currency,
        plan_id,
        quantity,
        annual_amount,
        false as is_proration,
        false as is_credit,
        false as has_tax
    from current_periods

    union all

    select
        subscription_item_id,
        started_at,
        ends_at,
        subscription_id,
        currency,
        plan_id,
        quantity,
        annual_amount,
        true as is_proration,
        is_credit,
        has_tax
    from chosen_prorations

),

changes as (

    select *
    from billed
    qualify row_number() over (
            partition by subscription_item_id, started_at
            order by is_credit asc, is_proration desc
        ) = 1

),

last_changes as (

    select *
    from changes
    qualify row_number() over (
            partition by subscription_item_id
            order by started_at desc
        ) = 1

),

-- What was changed and isn't billed: such a change counts from today on.
unbilled as (

    select
        items.id as subscription_item_id,
        timestamp({{ today() }}) as started_at,
        cast(null as timestamp) as ends_at,
        items.subscription_id,
        items.currency,
        items.plan_id,
        items.quantity,
        items.annual_amount,
        true as is_proration,
        false as is_credit,
        true as has_tax
    from items
    inner join subscriptions on items.subscription_id = subscriptions.id
    left join last_changes on items.id = last_changes.subscription_item_id
    where
        subscriptions.is_in_force
        and items.annual_amount is not null
        and (
            last_changes.subscription_item_id is null
            or last_changes.is_credit
            or last_changes.plan_id != items.plan_id
            or coalesce(last_changes.quantity, 1) != coalesce(items.quantity, 1)
        )

),

all_changes as (

    select *
    from changes

    union all

    select unbilled.*
    from unbilled
    left join changes
        on
            unbilled.subscription_item_id = changes.subscription_item_id
            and unbilled.started_at <= changes.started_at
    where changes.subscription_item_id is null

),

-- Tax and discounts of a change within a period are those of the period before it, or else of the
-- next one. A period that costs nothing, such as a trial, has none.
compared as (

    select
        *,
        lead(started_at) over by_item as next_started_at,
        if(
            is_proration,
            coalesce(
                if(
                    last_value(
                        if(is_proration, null, annual_amount) ignore nulls
                    ) over until_now > 0,
                    max(if(is_proration, null, started_at)) over until_now,
                    null
                ),
                min(if(is_proration, null, started_at)) over (
                    partition by subscription_item_id
                    order by started_at
                    rows between current row and unbounded following
                )
            ),
            started_at
        ) as period_started_at
    from all_changes
    window
        by_item as (partition by subscription_item_id order by started_at),
        until_now as (by_item rows between unbounded preceding and current row)

),

prices as (

    select
        subscriptions.organisation_id,
        subscriptions.customer_id,
        compared.subscription_id,
        compared.subscription_item_id,
        compared.currency,
        compared.period_started_at,
        if(
            compared.has_tax,
            compared.annual_amount * 100
            / (100 + coalesce(current_periods.included_tax_percentage, 0)),
            compared.annual_amount
        ) as annual_amount,
        current_periods.annual_amount as period_annual_amount,
        current_periods.invoice_id,
        compared.started_at,
        -- A price holds until the next change, however late that is billed, or the subscription's
        -- end. An item that was removed without a credit holds until the end of its last period.
        least(
            coalesce(
                compared.next_started_at,
                if(
                    items.id is null,
                    least(
                        coalesce(compared.ends_at, current_periods.ends_at),
                        timestamp({{ today() }})
                    ),
                    null
                ),
                {{ ever }}
            ),
            coalesce(subscriptions.ended_at, {{ ever }})
        ) as ended_at
    from compared
    inner join subscriptions on compared.subscription_id = subscriptions.id
    left join current_periods
        on
            compared.subscription_item_id = current_periods.subscription_item_id
            and compared.period_started_at = current_periods.started_at
    left join items on compared.subscription_item_id = items.id

),

-- What each discount takes off a period, for a year.
discounts as (

    select
        lines.subscription_item_id,
        lines.period_started_at,
        lines.invoice_id,
        discounts.is_fixed,
        discounts.ends_at,
        sum(
            safe_divide(
                lines.annual_amount * discounts.minor_amount, discounts.line_minor_amount
            )
            -- An amount is as large for a part of a period as for a whole one.
            * if(
                discounts.is_fixed,
                coalesce(safe_divide(lines.amount_without_tax, lines.recurring_amount), 1),
                1
            )
        ) as annual_amount
    from lines
    inner join {{ ref('int_stripe__line_discounts') }} as discounts on lines.id = discounts.line_id
    where not lines.is_proration and discounts.is_recurring
    group by
        lines.subscription_item_id,
        lines.period_started_at,
        lines.invoice_id,
        discounts.is_fixed,
        discounts.ends_at

)

select
    organisation_id,
    customer_id,
    subscription_id,
    subscription_item_id,
    currency,
    cast(annual_amount as numeric) as annual_gross_amount,
    cast(annual_amount as numeric) as annual_amount,
    started_at,
    ended_at
from prices

union all

-- A percentage stays a percentage after a change within the period, and an amount stays an amount.
select
    prices.organisation_id,
    prices.customer_id,
    prices.subscription_id,
    prices.subscription_item_id,
    prices.currency,
    numeric '0' as annual_gross_amount,
    -cast(
        if(
            discounts.is_fixed,
            least(discounts.annual_amount, prices.annual_amount),
            coalesce(
                safe_divide(
                    discounts.annual_amount * prices.annual_amount, prices.period_annual_amount
                ),
                0
            )
        ) as numeric
    ) as annual_amount,
    prices.started_at,
    least(prices.ended_at, coalesce(discounts.ends_at, {{ ever }})) as ended_at
from prices
inner join discounts
    on
        prices.subscription_item_id = discounts.subscription_item_id
        and prices.period_started_at = discounts.period_started_at
        and prices.invoice_id = discounts.invoice_id
