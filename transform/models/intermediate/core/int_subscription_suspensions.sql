{% set ever = "timestamp '9999-12-31'" %}

with subscriptions as (

    select *
    from {{ ref('stg_stripe__subscriptions') }}

),

invoices as (

    select
        *,
        -- Stripe finalises a draft within three days, if nobody holds it back. An invoice that is
        -- written off because collection is paused was never attempted.
        case
            when status = 'void' then true
            when status = 'draft' then not is_auto_advanced
            when status = 'uncollectible'
                then
                    coalesce(
                        write_off_reason = 'subscription_paused',
                        not is_attempted
                        and timestamp_diff(written_off_at, finalised_at, hour) < 24
                    )
            else timestamp_diff(finalised_at, created_at, hour) > 72
        end as is_held_back,
        if(
            status in ('open', 'paid'),
            if(timestamp_diff(finalised_at, created_at, hour) > 72, finalised_at, null),
            null
        ) as released_at
    from {{ ref('stg_stripe__invoices') }}

),

failures as (

    select
        invoice_id,
        created_at as failed_at
    from {{ ref('stg_stripe__charges') }}
    where status = 'failed' and invoice_id is not null

),

-- The periods that were billed, item by item.
periods as (

    select
        lines.subscription_item_id,
        lines.subscription_id,
        lines.invoice_id,
        lines.period_started_at as started_at,
        max(lines.period_ends_at) as ends_at,
        logical_or(coalesce(invoices.is_held_back, false)) as is_held_back,
        max(invoices.released_at) as released_at
    from {{ ref('stg_stripe__invoice_line_items') }} as lines
    inner join invoices on lines.invoice_id = invoices.id
    where
        lines.subscription_item_id is not null
        and not lines.is_proration
        and not lines.is_metered
    group by
        lines.subscription_item_id, lines.subscription_id, lines.invoice_id, started_at

),

-- An invoice that was voided may have been made anew.
current_periods as (

    select *
    from periods
    qualify row_number() over (
            partition by subscription_item_id, started_at
            order by is_held_back asc, invoice_id desc
        ) = 1

),

-- After a period that was held back, the subscription is back when its invoice or a later one is
-- released, or a later period is collected.
sequence as (

    select
        *,
        lead(started_at) over (
            partition by subscription_item_id order by started_at
        ) as next_started_at,
        min(if(is_held_back, released_at, started_at)) over (
            partition by subscription_item_id
            order by started_at
            rows between current row and unbounded following
        ) as back_at
    from current_periods

),

-- A payment failed for the last time, and the next invoice was held back: the subscription was
-- unpaid, unless a later invoice was paid in between. It is back when the invoice is paid, too.
past_unpaid as (

    select
        held.subscription_id,
        max(failures.failed_at) as started_at,
        max(
            least(coalesce(failed.paid_at, {{ ever }}), coalesce(held.back_at, {{ ever }}))
        ) as ended_at
    from sequence as held
    inner join invoices as failed
        on
            held.subscription_id = failed.subscription_id
            and failed.status in ('open', 'paid', 'uncollectible')
            and held.started_at > failed.created_at
            and held.started_at < coalesce(failed.paid_at, {{ ever }})
    inner join failures
        on
            failed.id = failures.invoice_id
            and held.started_at >= failures.failed_at
    left join invoices as later
        on
            held.subscription_id = later.subscription_id
            and later.amount_paid > 0
            and failures.failed_at < later.created_at
            and held.started_at >= later.paid_at
    where held.is_held_back and later.id is null
    group by held.subscription_id, held.started_at

),

-- Where nothing was charged, an unpaid subscription's invoice was sent.
now_unpaid as (

    select
        subscriptions.id as subscription_id,
        coalesce(
            max(failures.failed_at),
            min(invoices.due_at),
            min(invoices.created_at),
            timestamp({{ today() }})
        ) as started_at,
        {{ ever }} as ended_at
    from subscriptions
    left join invoices
        on
            subscriptions.id = invoices.subscription_id
            and invoices.status in ('open', 'uncollectible')
    left join failures on invoices.id = failures.invoice_id
    where subscriptions.status = 'unpaid'
    group by subscriptions.id

),

unpaid as (

    select
        subscription_id,
        started_at,
        ended_at
    from past_unpaid

    union all

    select
        subscription_id,
        started_at,
        ended_at
    from now_unpaid

),

last_periods as (

    select
        subscription_id,
        max(ends_at) as ends_at
    from current_periods
    group by subscription_id

),

suspensions as (

    -- A period that wasn't collected.
    select
        sequence.subscription_id,
        sequence.subscription_item_id,
        sequence.started_at,
        least(
            coalesce(sequence.back_at, {{ ever }}), coalesce(min(unpaid.ended_at), {{ ever }})
        ) as ended_at
    from sequence
    left join unpaid
        on
            sequence.subscription_id = unpaid.subscription_id
            and sequence.started_at between unpaid.started_at and unpaid.ended_at
    where sequence.is_held_back
    group by
        sequence.subscription_id,
        sequence.subscription_item_id,
        sequence.started_at,
        sequence.back_at

    union all

    -- Nothing was billed between two periods: the subscription was paused.
    select
        subscription_id,
        subscription_item_id,
        ends_at as started_at,
        next_started_at as ended_at
    from sequence
    where timestamp_diff(next_started_at, ends_at, hour) > 24

    union all

    -- Nothing was billed between the last period and the end: it was paused until then.
    select
        sequence.subscription_id,
        sequence.subscription_item_id,
        sequence.ends_at as started_at,
        subscriptions.ended_at
    from sequence
    inner join subscriptions on sequence.subscription_id = subscriptions.id
    where
        sequence.next_started_at is null
        and timestamp_diff(subscriptions.ended_at, sequence.ends_at, hour) > 24

    union all

    select
        subscription_id,
        cast(null as string) as subscription_item_id,
        started_at,
        ended_at
    from unpaid

    union all

    select
        subscriptions.id as subscription_id,
        cast(null as string) as subscription_item_id,
        coalesce(
            subscriptions.paused_at,
            last_periods.ends_at,
            subscriptions.trial_ends_at,
            timestamp({{ today() }})
        ) as started_at,
        {{ ever }} as ended_at
    from subscriptions
    left join last_periods on subscriptions.id = last_periods.subscription_id
    where subscriptions.status = 'paused'

)

select *
from suspensions
where started_at < ended_at
