with current_items as (

    select
        subscriptions.organisation_id,
        subscriptions.created_at as subscribed_at,
        items.id,
        items.currency,
        items.annual_amount,
        items.is_metered,
        coalesce(products.name, items.plan_name) as plan
    from {{ ref('stg_stripe__subscriptions') }} as subscriptions
    inner join {{ ref('stg_stripe__subscription_items') }} as items
        on subscriptions.id = items.subscription_id
    left join {{ ref('stg_stripe__products') }} as products on items.product_id = products.id
    where subscriptions.is_in_force

),

-- In which currencies an organisation pays, owes or is to pay. Amounts in different currencies
-- can't be compared.
currencies as (

    select
        organisation_id,
        currency,
        max(if(is_current_month, mrr, 0)) as mrr,
        0 as amount_due,
        min(if(mrr > 0, month, null)) as first_paid_in
    from {{ ref('fct_subscription_mrr') }}
    group by organisation_id, currency

    union all

    select
        organisation_id,
        currency,
        0 as mrr,
        amount_remaining as amount_due,
        cast(null as date) as first_paid_in
    from {{ ref('stg_stripe__invoices') }}
    where is_overdue

    union all

    select
        organisation_id,
        currency,
        0 as mrr,
        0 as amount_due,
        cast(null as date) as first_paid_in
    from {{ ref('stg_stripe__customers') }}
    where currency is not null

),

balances_by_currency as (

    select
        organisation_id,
        currency,
        sum(mrr) as mrr,
        sum(amount_due) as amount_due,
        min(first_paid_in) as first_paid_in
    from currencies
    where organisation_id is not null
    group by organisation_id, currency

),

-- An organisation that pays in several currencies is shown in the one in which it has paid for
-- longest.
balances as (

    select
        *,
        countif(mrr > 0) over (partition by organisation_id) > 0 as has_mrr
    from balances_by_currency
    qualify row_number() over (
            partition by organisation_id
            order by
                mrr > 0 desc,
                amount_due > 0 desc,
                first_paid_in is null asc,
                first_paid_in asc,
                currency asc
        ) = 1

),

currency_lists as (

    select
        organisation_id,
        string_agg(currency, ', ' order by currency) as currencies
    from balances_by_currency
    group by organisation_id

),

metered as (

    select distinct organisation_id
    from current_items
    where is_metered

),

plans as (

    select
        current_items.organisation_id,
        current_items.plan
    from current_items
    left join balances on current_items.organisation_id = balances.organisation_id
    qualify row_number() over (
            partition by current_items.organisation_id
            order by
                current_items.currency = balances.currency desc,
                current_items.annual_amount desc,
                current_items.subscribed_at asc,
                current_items.id asc
        ) = 1

),

arrears as (

    select distinct organisation_id
    from {{ ref('stg_stripe__invoices') }}
    where is_overdue and amount_remaining > 0

)

select
    balances.organisation_id,
    plans.plan,
    balances.currency as billing_currency,
    currency_lists.currencies as billing_currencies,
    balances.mrr,
    balances.amount_due,
    balances.has_mrr or metered.organisation_id is not null as is_paying,
    arrears.organisation_id is not null as is_in_arrears
from balances
left join currency_lists on balances.organisation_id = currency_lists.organisation_id
left join metered on balances.organisation_id = metered.organisation_id
left join plans on balances.organisation_id = plans.organisation_id
left join arrears on balances.organisation_id = arrears.organisation_id
