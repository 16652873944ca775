"""A day of the sales team in Close.

The team enters organisations that sign up, and prospects that never do. It advances leads and
their opportunities, writes, calls and meets, and sometimes deletes a lead. The kinds `_plan`,
`_lead` and `_organisation` are the world's own memory: future actions, the activities of a lead,
and the leads of an organisation.
"""

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

from sandbox.product import words
from sandbox.product.calendar import rhythm
from sandbox.product.factory import some
from sandbox.product.tables import Organisation, User
from sandbox.saas.close import objects
from sandbox.saas.close.objects import LOST, STAGES, WON, Price, Stage
from sandbox.saas.day import Account, Day
from sandbox.saas.documents import Body, Documents

EVENTS_ARE_KEPT = timedelta(days=30)
PROSPECTS_AT_LEAST = 3
PROSPECTS_PER_SIGN_UP = 0.75
"""Some of them are deleted again, so that three in ten leads are prospects."""
ACTIVITIES_A_DAY = 0.045
EDITS_A_DAY = 0.004
DELETIONS_A_DAY = 0.003
DUPLICATES_FOUND_A_DAY = 0.005
CONTRACT_PERIOD = "annual"


def pass_day(documents: Documents, day: Day) -> None:
    """Simulate a day in Close."""
    _Day(documents, day).pass_by()


class _Day:
    def __init__(self, documents: Documents, day: Day) -> None:
        self.documents = documents
        self.day = day
        self.rng = day.rng

    def pass_by(self) -> None:
        """Handle the product's events first, then the team's own actions."""
        if not self.documents.of("user"):
            self._open_for_business()
        self.users = {user["id"]: user for user in self.documents.of("user")}
        if not self.documents.of("lead"):
            self._find_first_prospects()
        self._forget_old_events()
        self._follow_the_product()
        for _ in range(self.day.about(PROSPECTS_PER_SIGN_UP * len(self.day.signed_up) + 1 / 200)):
            self._find_prospect()
        self._do_what_is_due()
        self._be_in_touch()
        self._edit_leads()
        self._delete_leads()
        self._find_duplicates()

    # ------------------------------------------------------------------------- the beginning

    def _open_for_business(self) -> None:
        at = self.day.stamp()
        for first_name, last_name in objects.SALES_TEAM:
            self.documents.put("user", objects.make_user(first_name, last_name, at), at)
        creator = self.documents.of("user")[0]
        for name in objects.CUSTOM_FIELDS:
            field = objects.make_custom_field(name, creator, at)
            self.documents.put("custom_field", field, at)

    def _find_first_prospects(self) -> None:
        """Add the rare currencies and periods, at every scale."""
        for price, outcome in (
            (Price(1_250_000, "JPY", "annual"), LOST),
            (Price(99_950, "GBP", "monthly"), None),
            (Price(480_000, "EUR", "one_time"), LOST),
        ):
            lead_id = self._enter_lead(None)["id"]
            self._open_opportunity(lead_id, price, outcome)

    # ------------------------------------------------------------------------- the product

    def _follow_the_product(self) -> None:
        for account in self.day.signed_up:
            if account.has_lead:
                self._enter_lead(account)
                if account.has_two_leads:
                    self._plan(
                        f"duplicate/{account.organisation.id}",
                        self.rng.randint(14, 40),
                        organisation_id=str(account.organisation.id),
                    )
        for account in self.day.set_up:
            if lead_id := self._lead_of(account.organisation.id):
                self._set_status(lead_id, "Qualified")
                self._negotiate(lead_id, account.organisation)
        for account in self.day.archived:
            self._lose(account.organisation.id, "Churned")
        for organisation_id in sorted(self.day.purged):
            self._lose(organisation_id, "Not interested")
        if self.day.now is not None:
            self._follow_contracts()

    def _negotiate(self, lead_id: str, organisation: Organisation) -> None:
        """Open an opportunity for a contract that the organisation signs later, or never."""
        if (price := _contract(organisation)) is not None:
            self._open_opportunity(lead_id, price, WON)
            if self.rng.random() < 0.3:
                add_on = Price(self.rng.randrange(50_00, 900_00), "USD", "monthly")
                self._open_opportunity(lead_id, add_on, self.rng.choice((WON, LOST, None)))
        elif self.rng.random() < 0.7:
            self._open_opportunity(lead_id, self._price(), self.rng.choice((LOST, LOST, None)))

    def _lose(self, organisation_id: UUID, status: str) -> None:
        """Lose all open opportunities of an organisation."""
        for lead_id in self._leads_of(str(organisation_id)):
            self._set_status(lead_id, status)
            for opportunity in self._lead(lead_id)["opportunities"]:
                if opportunity["status_type"] == "active":
                    self._move(lead_id, opportunity["id"], LOST)
                    self._forget(opportunity["id"])

    def _follow_contracts(self) -> None:
        """Update won opportunities to the current contracts."""
        for account in self.day.accounts.values():
            price = _contract(account.organisation)
            lead_id = self._lead_of(account.organisation.id)
            if price is None or lead_id is None or account.organisation.setup_completed_at is None:
                continue
            contracts = [
                opportunity
                for opportunity in self._lead(lead_id)["opportunities"]
                if opportunity["value_period"] == CONTRACT_PERIOD
            ]
            won = [each for each in contracts if each["status_type"] == "won"]
            if won and won[0]["value"] != price.value:
                self._change_opportunity(lead_id, objects.worth(won[0], price))
            elif not contracts and account.organisation.archived_at is None:
                self._open_opportunity(lead_id, price, WON)

    # ------------------------------------------------------------------------- leads

    def _enter_lead(self, account: Account | None) -> Body:
        """Enter a lead for an organisation, or for a prospect that the product doesn't know."""
        at = self.day.stamp()
        user = self._somebody()
        people: Sequence[User | None] = [None] * self.rng.randint(1, 2)
        if account:
            name = account.organisation.name
            people = self.day.users.get(account.organisation.id, ())[:2]
        else:
            name = (
                f"{self.rng.choice(words.ORGANISATION_FIRST)} "
                f"{self.rng.choice(words.ORGANISATION_SECOND)}"
            )
        lead = objects.make_lead(self.rng, name, user, at)
        contacts = [objects.make_contact(self.rng, lead, each, user, at) for each in people]
        lead["contacts"] = contacts
        lead = objects.with_custom(
            lead,
            {
                "Organisation ID": str(account.organisation.id) if account else None,
                "Lead Owner": user["id"] if self.rng.random() < 0.9 else None,
                **self._details(lead),
            },
        )
        organisation_id = str(account.organisation.id) if account else None
        self.documents.put("lead", lead, at)
        self.documents.put(
            "_lead",
            {"id": lead["id"], "organisation_id": organisation_id, "activity_ids": []},
            at,
        )
        if organisation_id:
            lead_ids = [*self._leads_of(organisation_id), lead["id"]]
            self.documents.put("_organisation", {"id": organisation_id, "lead_ids": lead_ids}, at)
        self._log("created", "lead", None, lead, user, at)
        for contact in contacts:
            self._log("created", "contact", None, contact, user, at)
        return lead

    def _find_prospect(self) -> None:
        lead_id = self._enter_lead(None)["id"]
        if self.rng.random() < 0.6:
            outcome = self.rng.choice((LOST, LOST, LOST, None))
            self._open_opportunity(lead_id, self._price(), outcome)

    def _details(self, lead: Body) -> dict[str, Any]:
        """Return custom fields, each of them on some leads only."""
        contact = lead["contacts"][0]["name"] if lead["contacts"] else "Somebody in IT"
        size = round(self.rng.lognormvariate(5, 1.3)) + 1
        values: dict[str, Any] = {
            "Company size": size if self.rng.random() < 0.9 else size + 0.5,
            "Segment": objects.SEGMENTS[0 if size < 100 else 1 if size < 1000 else 2],
            "Tools in use": some(self.rng, objects.TOOLS, at_most=3) or None,
            "Renewal date": (self.day.date + timedelta(days=365)).isoformat(),
            "Champion": contact,
            "Reference customer": self.rng.choice(("Yes", "No", "No")),
        }
        return {name: value for name, value in values.items() if self.rng.random() < 0.6}

    def _set_status(self, lead_id: str, label: str) -> None:
        old = self._lead(lead_id)
        if old["status_label"] == label:
            return
        at, user = self._when(old), self._somebody()
        status = {"status_id": objects.LEAD_STATUSES[label], "status_label": label}
        new = objects.edited(old, user, at, **status)
        self._write_lead(old, new, user, at)
        change = objects.lead_status_change(old, new)
        self._record(lead_id, "LeadStatusChange", user, at, change)

    def _edit_leads(self) -> None:
        """Edit some leads."""
        leads = self.documents.of("_lead")
        for _ in range(max(self.day.about(EDITS_A_DAY * len(leads)), self._at_least_on_a_tick)):
            old = self._lead(self.rng.choice(leads)["id"])
            at, user = self._when(old), self._somebody()
            new = objects.with_custom(old, self._details(old))
            new["description"] = self.rng.choice(objects.DESCRIPTIONS)
            if self.rng.random() < 0.3:
                contact = objects.make_contact(self.rng, old, None, user, at)
                new["contacts"] = [*old["contacts"], contact]
            self._write_lead(old, objects.edited(new, user, at), user, at)

    def _delete_leads(self) -> None:
        """Delete some old prospects and some notes."""
        memories = self.documents.of("_lead")
        prospects = [each["id"] for each in memories if each["organisation_id"] is None]
        # The first ones stay, because they have the rare currencies.
        prospects = prospects[PROSPECTS_AT_LEAST:]
        expected = DELETIONS_A_DAY * len(prospects)
        if self.day.now is not None:
            expected = max(expected, 0.35)
        for _ in range(min(self.day.about(expected), len(prospects))):
            self._delete_lead(prospects.pop(self.rng.randrange(len(prospects))))
        if self.rng.random() < (0.05 if self.day.now is None else 0.5):
            self._take_back_a_note(self.rng.choice(self.documents.of("_lead"))["id"])

    def _delete_lead(self, lead_id: str) -> None:
        """Delete a lead with everything that belongs to it."""
        lead, memory = self._lead(lead_id), self._there("_lead", lead_id)
        at, user = self._when(lead), self._somebody()
        for activity_id in memory["activity_ids"]:
            self._delete_activity(activity_id, user, at)
        for opportunity in lead["opportunities"]:
            self._forget(opportunity["id"])
            self._log("deleted", "opportunity", opportunity, None, user, at)
        for contact in lead["contacts"]:
            self._log("deleted", "contact", contact, None, user, at)
        self._remove_lead(lead_id, at)
        self._log("deleted", "lead", lead, None, user, at)

    def _remove_lead(self, lead_id: str, at: datetime) -> None:
        organisation_id = self._there("_lead", lead_id)["organisation_id"]
        self.documents.delete("lead", lead_id)
        self.documents.delete("_lead", lead_id)
        if organisation_id:
            lead_ids = [each for each in self._leads_of(organisation_id) if each != lead_id]
            self.documents.put("_organisation", {"id": organisation_id, "lead_ids": lead_ids}, at)

    def _find_duplicates(self) -> None:
        """Sometimes merge the two leads of an organisation."""
        doubled = [each for each in self.documents.of("_organisation") if each["lead_ids"][1:]]
        # One such organisation stays.
        if len(doubled) > 1 and self.rng.random() < DUPLICATES_FOUND_A_DAY:
            first, *_, last = self.rng.choice(doubled)["lead_ids"]
            if self.rng.random() < 0.5:
                self._delete_lead(last)
            else:
                self._merge(last, first)

    def _merge(self, source_id: str, destination_id: str) -> None:
        """Move everything of a lead to another lead, and delete the first."""
        source, old = self._lead(source_id), self._lead(destination_id)
        at, user = max(self._when(source), self._when(old)), self._somebody()
        merge = {"merge_source_lead_id": source_id, "merge_destination_lead_id": destination_id}
        moved = {"lead_id": destination_id}
        contacts = [{**each, **moved} for each in source["contacts"]]
        opportunities = [
            {**each, **moved, "lead_name": old["display_name"]} for each in source["opportunities"]
        ]
        new = objects.edited(
            old,
            user,
            at,
            contacts=[*old["contacts"], *contacts],
            opportunities=[*opportunities, *old["opportunities"]],
        )
        self.documents.put("lead", new, at)
        for opportunity in opportunities:
            if plan := self.documents.get("_plan", opportunity["id"]):
                self.documents.put("_plan", {**plan, **moved}, self.day.noon)
        left, kept = self._there("_lead", source_id), self._there("_lead", destination_id)
        for activity_id in left["activity_ids"]:
            self.documents.put("activity", {**self._there("activity", activity_id), **moved}, at)
        kept["activity_ids"] += left["activity_ids"]
        self.documents.put("_lead", kept, at)
        self._remove_lead(source_id, at)
        self._log("updated", "lead", old, new, user, at, **merge)
        self._log("deleted", "lead", source, None, user, at, **merge)
        self._log("merged", "lead", None, new, user, at, **merge)

    # ------------------------------------------------------------------------- opportunities

    def _open_opportunity(self, lead_id: str, price: Price, outcome: Stage | None) -> None:
        """Open an opportunity with a planned last stage, or without an end."""
        old = self._lead(lead_id)
        at, user = self._when(old), self._owner_of(old)
        opportunity = objects.make_opportunity(self.rng, old, price, user, at)
        opportunities = [opportunity, *old["opportunities"]]
        new = objects.edited(old, user, at, opportunities=opportunities)
        self.documents.put("lead", new, at)
        self._log("created", "opportunity", None, opportunity, user, at)
        if outcome:
            self._plan_next_stage(opportunity["id"], lead_id, outcome.label)

    def _move(self, lead_id: str, opportunity_id: str, stage: Stage) -> None:
        old = self._opportunity(lead_id, opportunity_id)
        at = self._when(self._lead(lead_id))
        price = Price(old["value"], old["value_currency"], old["value_period"])
        new = objects.worth(objects.at_stage(old, stage, at), price)
        user = self._change_opportunity(lead_id, new, at)
        change = objects.opportunity_status_change(old, new)
        self._record(lead_id, "OpportunityStatusChange", user, at, change)

    def _change_opportunity(self, lead_id: str, new: Body, at: datetime | None = None) -> Body:
        """Write an opportunity back into its lead; return the user who did it."""
        lead = self._lead(lead_id)
        at, user = at or self._when(lead), self._owner_of(lead)
        new = objects.edited(new, user, at)
        old = self._opportunity(lead_id, new["id"])
        opportunities = [new if each["id"] == new["id"] else each for each in lead["opportunities"]]
        changed = objects.edited(lead, user, at, opportunities=opportunities)
        self.documents.put("lead", changed, at)
        self._log("updated", "opportunity", old, new, user, at)
        return user

    # ------------------------------------------------------------------------- plans

    def _plan(self, id_: str, days: int, **details: str) -> None:
        due = (self.day.date + timedelta(days=days)).isoformat()
        self.documents.put("_plan", {"id": id_, "due": due, **details}, self.day.noon)

    def _plan_next_stage(self, opportunity_id: str, lead_id: str, outcome: str) -> None:
        days = self.rng.randint(2, 20)
        self._plan(opportunity_id, days, lead_id=lead_id, outcome=outcome)

    def _forget(self, id_: str) -> None:
        if self.documents.get("_plan", id_):
            self.documents.delete("_plan", id_)

    def _do_what_is_due(self) -> None:
        for plan in self.documents.of("_plan"):
            if date.fromisoformat(plan["due"]) > self.day.date:
                continue
            self._forget(plan["id"])
            if "organisation_id" in plan:
                account = self.day.accounts.get(UUID(plan["organisation_id"]))
                if account:
                    self._enter_lead(account)
            else:
                self._move_on(plan)

    def _move_on(self, plan: Body) -> None:
        """Move an opportunity to the next stage, and finally to the planned one."""
        opportunity = self._opportunity(plan["lead_id"], plan["id"])
        labels = [stage.label for stage in STAGES]
        reached = labels.index(opportunity["status_label"])
        if reached + 1 < len(STAGES):
            self._move(plan["lead_id"], plan["id"], STAGES[reached + 1])
            self._plan_next_stage(plan["id"], plan["lead_id"], plan["outcome"])
        elif plan["outcome"] == WON.label:
            self._move(plan["lead_id"], plan["id"], WON)
            self._set_status(plan["lead_id"], "Customer")
        else:
            self._move(plan["lead_id"], plan["id"], LOST)

    # ------------------------------------------------------------------------- activities

    def _be_in_touch(self) -> None:
        """Add emails, calls and meetings."""
        leads = self.documents.of("_lead")
        expected = ACTIVITIES_A_DAY * len(leads) * rhythm(self.day.date)
        for _ in range(max(self.day.about(expected), self._at_least_on_a_tick)):
            lead = self._lead(self.rng.choice(leads)["id"])
            at, user = self._when(lead), self._owner_of(lead)
            contact = self.rng.choice(lead["contacts"]) if lead["contacts"] else None
            type_ = self.rng.choices(("Email", "Call", "Note", "Meeting"), (45, 25, 20, 10))[0]
            match type_:
                case "Email":
                    details = objects.email(self.rng, contact, user, at)
                case "Call":
                    details = objects.call(self.rng, contact)
                case "Meeting":
                    details = objects.meeting(self.rng, contact, at)
                case _:
                    details = objects.note(self.rng)
            self._record(lead["id"], type_, user, at, details)
            # An addition to a lead is a change of the lead, but not in the event log.
            self.documents.put("lead", objects.edited(lead, user, at), at)

    def _record(
        self, lead_id: str, type_: str, user: Body, at: datetime, details: Mapping[str, Any]
    ) -> None:
        """Add an activity to a lead."""
        lead = self._lead(lead_id)
        activity = {**objects.make_activity(self.rng, type_, lead, user, at), **details}
        self.documents.put("activity", activity, at)
        memory = self._there("_lead", lead_id)
        memory["activity_ids"].append(activity["id"])
        self.documents.put("_lead", memory, at)
        self._log("created", objects.event_type(activity), None, activity, user, at)

    def _take_back_a_note(self, lead_id: str) -> None:
        memory = self._there("_lead", lead_id)
        for activity_id in memory["activity_ids"]:
            if self._there("activity", activity_id)["_type"] == "Note":
                lead = self._lead(lead_id)
                at, user = self._when(lead), self._somebody()
                self._delete_activity(activity_id, user, at)
                memory["activity_ids"].remove(activity_id)
                self.documents.put("_lead", memory, at)
                self.documents.put("lead", objects.edited(lead, user, at), at)
                return

    def _delete_activity(self, activity_id: str, user: Body, at: datetime) -> None:
        activity = self._there("activity", activity_id)
        self.documents.delete("activity", activity_id)
        self._log("deleted", objects.event_type(activity), activity, None, user, at)

    # ------------------------------------------------------------------------- the event log

    def _log(
        self,
        action: str,
        type_: str,
        old: Body | None,
        new: Body | None,
        user: Body,
        at: datetime,
        **meta: str,
    ) -> None:
        event = objects.make_event(self.rng, user, at, action, type_, old, new)
        event["meta"] |= meta
        self.documents.put("event", event, at)

    def _forget_old_events(self) -> None:
        """Remove events that are older than thirty days."""
        oldest = objects.moment((self.day.now or self.day.noon) - EVENTS_ARE_KEPT)
        for event in self.documents.of("event"):
            if event["date_updated"] < oldest:
                self.documents.delete("event", event["id"])

    # ------------------------------------------------------------------------- who, what, when

    @property
    def _at_least_on_a_tick(self) -> int:
        """Return 1 in a tick, so that each tick has a change; else 0."""
        return 0 if self.day.now is None else 1

    def _write_lead(self, old: Body, new: Body, user: Body, at: datetime) -> None:
        self.documents.put("lead", new, at)
        self._log("updated", "lead", old, new, user, at)

    def _there(self, kind: str, id_: str) -> Body:
        body = self.documents.get(kind, id_)
        if body is None:
            raise KeyError(f"There is no {kind} {id_} in Close.")
        return body

    def _lead(self, lead_id: str) -> Body:
        return self._there("lead", lead_id)

    def _opportunity(self, lead_id: str, opportunity_id: str) -> Body:
        (found,) = (o for o in self._lead(lead_id)["opportunities"] if o["id"] == opportunity_id)
        opportunity: Body = found
        return opportunity

    def _leads_of(self, organisation_id: str) -> list[str]:
        """Return an organisation's leads, the oldest first."""
        memory = self.documents.get("_organisation", organisation_id)
        return list(memory["lead_ids"]) if memory else []

    def _lead_of(self, organisation_id: UUID) -> str | None:
        return next(iter(self._leads_of(str(organisation_id))), None)

    def _when(self, lead: Body) -> datetime:
        """Return the time of a lead's next change: after its last one."""
        return self.day.stamp(after=datetime.fromisoformat(lead["date_updated"]))

    def _somebody(self) -> Body:
        return self.rng.choice(list(self.users.values()))

    def _owner_of(self, lead: Body) -> Body:
        return self.users.get(lead["custom"].get("Lead Owner"), None) or self._somebody()

    def _price(self) -> Price:
        """Return the value of a deal that is not a contract; for some it is unknown."""
        currency = self.rng.choices(("USD", "EUR", "GBP"), (80, 12, 8))[0]
        period = self.rng.choice(("one_time", "monthly", "annual"))
        value = None if self.rng.random() < 0.05 else self.rng.randrange(50_000, 5_000_000)
        return Price(value, currency, period)


def _contract(organisation: Organisation) -> Price | None:
    """Return the agreed yearly price of an organisation."""
    if organisation.annual_contract_value is None:
        return None
    return Price(int(organisation.annual_contract_value * 100), "USD", CONTRACT_PERIOD)
