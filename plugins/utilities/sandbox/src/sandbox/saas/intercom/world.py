"""Events in Intercom, day by day: new contacts, their conversations, and the answers."""

from datetime import UTC, date, datetime, timedelta
from html import escape
from uuid import UUID

from sandbox.product.calendar import rhythm
from sandbox.product.tables import User
from sandbox.product.world import HISTORY
from sandbox.saas.day import Account, Day, epoch
from sandbox.saas.documents import Body, Documents
from sandbox.saas.intercom import conversations, people, words

QUESTIONS = 0.015
"""Conversations that a company opens on a working day, on average."""
VISITORS = 0.002
"""Visitors of the website who start to write, for each organisation."""
ARREARS_BEGIN = HISTORY - timedelta(days=70)
"""So long after the world's first day, those who stop paying begin to ask about their invoices."""
OLD_ENOUGH = timedelta(days=30)
"""Nobody falls into arrears sooner after sign-up."""
ARREARS_INTERVAL = timedelta(days=12)
"""It asks again after so many days, at the latest."""
FIRST_CONVERSATION = 215_470_000_000_000
FIRST_PART = 30_100_000_000
ALL_TAGS = 0.003
"""The share of contacts who have every tag, which is more than a contact shows."""


def pass_day(documents: Documents, day: Day) -> None:
    """Simulate a day: first contacts change, then open conversations, then new ones start."""
    desk = _Desk(documents, day)
    desk.delete()
    desk.welcome()
    desk.follow_the_product()
    desk.go_on()
    desk.open_conversations()
    desk.close_the_day()


class _Desk:
    def __init__(self, documents: Documents, day: Day) -> None:
        self.documents = documents
        self.day = day
        self.rng = day.rng
        if not documents.of("admin"):
            self._set_up()
        self.admins = documents.of("admin")
        self.teams = {team["name"]: team for team in documents.of("team")}
        self.tags = {tag["name"]: tag for tag in documents.of("tag")}
        counters = documents.get("_counters", "counters")
        self.counters: Body = counters or {
            "id": "counters",
            "first_day": day.date.isoformat(),
            "conversation": FIRST_CONVERSATION,
            "part": FIRST_PART,
        }
        self.companies = [
            account
            for account in day.accounts.values()
            if account.has_company and not self.day.is_archived(account)
        ]

    def _set_up(self) -> None:
        at = self.day.stamp()
        for kind, objects in (
            ("admin", people.admins()),
            ("team", people.teams()),
            ("tag", people.tags()),
        ):
            for object_ in objects:
                self.documents.put(kind, object_, at)

    # --- Companies and contacts

    def delete(self) -> None:
        """Delete the contacts and companies that the product has deleted.

        Conversations stay, with the ID of a missing contact.
        """
        for organisation_id in sorted(self.day.purged):
            if company := self._company(organisation_id):
                memory = self._memory(organisation_id)
                for guest in memory["guests"]:
                    if contact := self.documents.get("contact", guest):
                        people.detach(contact, "companies", company)
                        self._change_contact(contact, self.day.stamp())
                self.documents.delete("company", company["id"])
                if self.documents.get("_company", memory["id"]):
                    self.documents.delete("_company", memory["id"])
        for user_id in sorted(self.day.erased):
            if contact := self._contact(user_id):
                self._forget(contact)

    def _forget(self, contact: Body) -> None:
        for attached in contact["companies"]["data"]:
            if company := self.documents.get("company", attached["id"]):
                company["user_count"] -= 1
                self._change_company(company, self.day.stamp())
        self.documents.delete("contact", contact["id"])

    def welcome(self) -> None:
        """Add new companies, new users, and visitors who wrote for the first time."""
        for account in self.day.signed_up:
            if account.has_company:
                at = self.day.stamp(after=account.organisation.created_at)
                self.documents.put("company", people.company(account.organisation, at), at)
        for user in self.day.joined:
            self._welcome_user(user)
        for _ in range(self.day.about(VISITORS * len(self.day.accounts))):
            at = self.day.stamp()
            visitor = people.visitor_contact(self.rng, at)
            self.documents.put("contact", visitor, at)
            if self.rng.random() < 0.5:
                topic = self.rng.choice(words.VISITOR_TOPICS)
                self._open(visitor, visitor, topic, "", at)

    def _welcome_user(self, user: User, number: int = 0) -> None:
        company = self._company(user.organisation_id)
        if company is None:
            return
        at = self.day.stamp(after=user.created_at)
        contact = people.user_contact(self.rng, user, number, at)
        self._attach_company(contact, company, at)
        if self.rng.random() < ALL_TAGS:
            for tag in self.tags.values():
                people.attach(contact, "tags", tag)
        elif self.rng.random() < 0.1:
            people.attach(contact, "tags", self.tags[self.rng.choice(words.CONTACT_TAGS)])
        self.documents.put("contact", contact, at)
        if self.day.now is None:
            # The rows of the history hold the final state: store the days of the changes.
            self._expect(user.last_seen_at, user)
            self._expect(user.archived_at, user)

    def _attach_company(self, contact: Body, company: Body, at: datetime) -> None:
        people.attach(contact, "companies", company)
        company["user_count"] += 1
        self._change_company(company, at)

    def _expect(self, moment: datetime | None, user: User) -> None:
        if moment is not None and moment.date() > self.day.date:
            id_ = moment.date().isoformat()
            expected = self.documents.get("_expected", id_) or {"id": id_, "users": []}
            expected["users"].append([str(user.organisation_id), str(user.id)])
            self.documents.put("_expected", expected, self.day.stamp())

    def follow_the_product(self) -> None:
        """Copy changes of organisations and users from the product to Intercom."""
        for account in self.day.set_up:
            if company := self._company(account.organisation.id):
                company["custom_attributes"]["has_completed_setup"] = True
                people.set_plan(company, account.organisation)
                if self.rng.random() < 0.15:
                    company["tags"]["tags"].append(self.tags[self.rng.choice(words.COMPANY_TAGS)])
                self._change_company(company, self.day.stamp())
        for account in self.day.archived:
            if company := self._company(account.organisation.id):
                company["custom_attributes"]["is_archived"] = True
                self._change_company(company, self.day.stamp())
        for user in self._changed_users():
            self._follow_user(user)
        for account in self._some_companies(0.05):
            if company := self._company(account.organisation.id):
                at = self.day.stamp()
                company["session_count"] += self.rng.randrange(1, 30)
                company["last_request_at"] = epoch(at)
                self._change_company(company, at)
        self._mistakes()

    def _changed_users(self) -> list[User]:
        if self.day.now is not None:
            return [
                user
                for users in self.day.users.values()
                for user in users
                if user.updated_at.date() == self.day.date
            ]
        expected = self.documents.get("_expected", self.day.date.isoformat())
        if expected is None:
            return []
        self.documents.delete("_expected", expected["id"])
        wanted = {UUID(user_id) for _, user_id in expected["users"]}
        organisations = dict.fromkeys(UUID(id_) for id_, _ in expected["users"])
        return [user for id_ in organisations for user in self.day.users[id_] if user.id in wanted]

    def _follow_user(self, user: User) -> None:
        contact = self._contact(user.id)
        if contact is None:
            return
        before = dict(contact)
        if user.last_seen_at is not None and user.last_seen_at.date() <= self.day.date:
            contact["last_seen_at"] = max(contact["last_seen_at"], epoch(user.last_seen_at))
        archived = user.archived_at is not None and user.archived_at.date() <= self.day.date
        if archived or (self.day.now is not None and not user.active):
            contact["unsubscribed_from_emails"] = True
        contact |= {"name": user.name, "email": user.email}
        if contact != before:
            self._change_contact(contact, self.day.stamp())

    def _mistakes(self) -> None:
        """Make manual changes: contacts of two companies, contacts deleted in error."""
        for account in self._some_companies(0.0008):
            other = self.rng.choice(self.companies).organisation.id
            contact, company = self._somebody(account), self._company(other)
            if contact and company and other != account.organisation.id:
                self._make_guest(contact, company, other)
        for account in self._some_companies(0.0001):
            users = self.day.users.get(account.organisation.id, ())
            user = self.rng.choice(users) if users else None
            contact = user and self._contact(user.id)
            if user and contact and contact["id"] == people.contact_id(user.id):
                # Intercom creates another contact as soon as the user signs in again.
                self._forget(contact)
                self._welcome_user(user, number=1)

    def _make_guest(self, contact: Body, company: Body, organisation_id: UUID) -> None:
        memory = self._memory(organisation_id)
        if contact["id"] in memory["guests"]:
            return
        at = self.day.stamp()
        self._attach_company(contact, company, at)
        self._change_contact(contact, at)
        memory["guests"].append(contact["id"])
        self.documents.put("_company", memory, at)

    # --- Conversations

    def go_on(self) -> None:
        """Continue open conversations."""
        for ongoing in list(self.documents.of("_ongoing")):
            conversation = self.documents.get("conversation", ongoing["id"])
            if conversation is None or not self._move_on(conversation, ongoing):
                self.documents.delete("_ongoing", ongoing["id"])

    def _move_on(self, conversation: Body, ongoing: Body) -> bool:
        """Simulate the events of today; return whether more may follow later."""
        chance = self.rng.random()
        match conversation["state"]:
            case "snoozed":
                if chance < 0.35:
                    self._add(conversation, "timer_unsnooze", people.bot())
            case "open" if conversation["waiting_since"]:
                if chance < 0.8:
                    self._answer(conversation)
            case "open":
                self._wait_for_customer(conversation, ongoing, chance)
            case _:
                return self._look_back(conversation, chance)
        return True

    def _wait_for_customer(self, conversation: Body, ongoing: Body, chance: float) -> None:
        """After an answer: the customer writes, or an admin closes, snoozes or takes a note."""
        closes = 0.2 if ongoing["is_stubborn"] else 0.45
        if chance < closes:
            body = self.rng.choice(words.CLOSING_REPLIES) if self.rng.random() < 0.6 else None
            self._add(conversation, "close", self._assignee(conversation), body)
        elif chance < closes + 0.12:
            self._customer_replies(conversation, "comment")
        elif chance < closes + 0.15:
            self._add(conversation, "snoozed", self._assignee(conversation))
        elif chance < closes + 0.2:
            admin = self.rng.choice(self.admins)
            self._add(conversation, "note", admin, self.rng.choice(words.NOTES))

    def _look_back(self, conversation: Body, chance: float) -> bool:
        """After closing: the customer rates or reopens the conversation, or nothing follows."""
        if chance < 0.3 and conversation["conversation_rating"] is None:
            if self._customer(conversation):
                at = self._after(conversation)
                rating = self.rng.choices((1, 2, 3, 4, 5), (5, 5, 10, 30, 50))[0]
                conversations.rate(conversation, rating, self.rng.choice(words.REMARKS), at)
                self.documents.put("conversation", conversation, at)
        elif chance < 0.38:
            self._customer_replies(conversation, "open")
        return chance < 0.7

    def open_conversations(self) -> None:
        """Open conversations: mostly by customers in arrears, sometimes by an admin."""
        busy = rhythm(self.day.date)
        for account in self._some_companies(QUESTIONS * busy):
            if contact := self._somebody(account):
                topic = self.rng.choice(words.TOPICS)
                self._open(contact, contact, topic, account.organisation.name)
                self._remember_asking(account.organisation.id)
        for account in self.companies:
            if self._asks_about_arrears(account) and (contact := self._somebody(account)):
                topic = self.rng.choice(words.ARREARS)
                self._open(contact, contact, topic, account.organisation.name, is_stubborn=True)
                self._remember_asking(account.organisation.id)
        for account in self._some_companies(0.0008 * busy):
            if contact := self._somebody(account):
                admin = self.rng.choice(self.admins)
                self._open(contact, admin, words.OUTREACH, account.organisation.name)

    def _asks_about_arrears(self, account: Account) -> bool:
        if not account.stops_paying or account.organisation.setup_completed_at is None:
            return False
        first_day = date.fromisoformat(self.counters["first_day"])
        signed_up_on = account.organisation.created_at.date()
        if self.day.date < max(first_day + ARREARS_BEGIN, signed_up_on + OLD_ENOUGH):
            return False
        last = self._memory(account.organisation.id)["last_asked_on"]
        since = self.day.date - date.fromisoformat(last) if last else ARREARS_INTERVAL
        return since >= ARREARS_INTERVAL or self.rng.random() < 0.02

    def _open(
        self,
        contact: Body,
        opener: Body,
        topic: words.Topic,
        organisation: str,
        at: datetime | None = None,
        *,
        is_stubborn: bool = False,
    ) -> None:
        """Open a conversation, and simulate its first day."""
        created_at = self._moment(contact["created_at"])
        at = at or self.day.stamp(after=created_at)
        conversation = conversations.open_conversation(
            ids=(self._next("conversation"), self._next("part")),
            contact=contact,
            opener=opener,
            topic=topic,
            body=topic.opening.format(organisation=escape(organisation)),
            channel="email" if self.rng.random() < 0.25 else "conversation",
            at=at,
        )
        if is_stubborn or self.rng.random() < 0.1:
            conversation["priority"] = "high"
        self.documents.put("conversation", conversation, at)
        ongoing = {"id": conversation["id"], "is_stubborn": is_stubborn}
        self.documents.put("_ongoing", ongoing, at)
        self._note_message(contact, at, by_customer=opener is contact)
        if opener is not contact:
            self._add(conversation, "assignment", opener, assigned_to=opener)
            return
        if self.rng.random() < 0.3:
            self._add(conversation, "comment", people.bot(), self.rng.choice(words.BOT_REPLIES))
        self._triage(conversation, topic)
        if self.rng.random() < 0.6:
            self._answer(conversation)
        if self.rng.random() < 0.25 and not is_stubborn:
            self._move_on(conversation, ongoing)

    def _triage(self, conversation: Body, topic: words.Topic) -> None:
        """Assign a conversation to a team, mostly also to a member, and tag it."""
        team = self.teams[topic.team]
        members = [admin for admin in self.admins if int(admin["id"]) in team["admin_ids"]]
        admin = self.rng.choice(members)
        self._add(conversation, "assignment", people.bot(), assigned_to=team)
        if self.rng.random() < 0.8:
            self._add(conversation, "assignment", admin, assigned_to=admin)
        if self.rng.random() < 0.9:
            at = self._after(conversation)
            conversations.add_tag(conversation, self.tags[topic.tag], admin, at)
            self.documents.put("conversation", conversation, at)

    def _answer(self, conversation: Body) -> None:
        admin = self._assignee(conversation)
        self._add(conversation, "comment", admin, self.rng.choice(words.ADMIN_REPLIES))

    def _customer_replies(self, conversation: Body, part_type: str) -> None:
        """Add a message of the contact, unless it was deleted."""
        if contact := self._customer(conversation):
            self._add(conversation, part_type, contact, self.rng.choice(words.CUSTOMER_REPLIES))

    def _add(
        self,
        conversation: Body,
        part_type: str,
        by: Body,
        body: str | None = None,
        assigned_to: Body | None = None,
    ) -> None:
        at = self._after(conversation)
        conversations.add_part(
            conversation,
            self._next("part"),
            part_type,
            by,
            at,
            body=body,
            assigned_to=assigned_to,
        )
        self.documents.put("conversation", conversation, at)
        is_message = body is not None and part_type != "note" and by["type"] != "bot"
        if is_message and (contact := self._customer(conversation)):
            self._note_message(contact, at, by_customer=by["type"] == "contact")

    def _note_message(self, contact: Body, at: datetime, *, by_customer: bool) -> None:
        contact["last_replied_at" if by_customer else "last_contacted_at"] = epoch(at)
        self._change_contact(contact, at)

    # --- Helpers

    def _change_company(self, company: Body, at: datetime) -> None:
        self._change("company", company, at)

    def _change_contact(self, contact: Body, at: datetime) -> None:
        self._change("contact", contact, at)

    def _change(self, kind: str, body: Body, at: datetime) -> None:
        at = max(at, self._moment(body["updated_at"]))
        body["updated_at"] = epoch(at)
        self.documents.put(kind, body, at)

    def _moment(self, seconds: int) -> datetime:
        return datetime.fromtimestamp(seconds, UTC)

    def _company(self, organisation_id: UUID) -> Body | None:
        return self.documents.get("company", people.company_id(organisation_id))

    def _contact(self, user_id: UUID) -> Body | None:
        for number in (1, 0):
            if contact := self.documents.get("contact", people.contact_id(user_id, number)):
                return contact
        return None

    def _somebody(self, account: Account) -> Body | None:
        """Return the contact of one of the organisation's active users."""
        users = [
            user
            for user in self.day.users.get(account.organisation.id, ())
            if user.archived_at is None or user.archived_at.date() > self.day.date
        ]
        return self._contact(self.rng.choice(users).id) if users else None

    def _some_companies(self, share: float) -> list[Account]:
        count = self.day.about(share * len(self.companies))
        return self.rng.choices(self.companies, k=count) if self.companies else []

    def _customer(self, conversation: Body) -> Body | None:
        (contact,) = conversation["contacts"]["contacts"]
        return self.documents.get("contact", contact["id"])

    def _assignee(self, conversation: Body) -> Body:
        """Return the assignee, or any admin."""
        assignee = conversation["admin_assignee_id"]
        found = self.documents.get("admin", str(assignee)) if assignee else None
        return found or self.rng.choice(self.admins)

    def _memory(self, organisation_id: UUID) -> Body:
        """Return the memory of a company: its last question, and attached other contacts."""
        id_ = str(organisation_id)
        known = self.documents.get("_company", id_)
        return known or {"id": id_, "last_asked_on": None, "guests": []}

    def _remember_asking(self, organisation_id: UUID) -> None:
        memory = self._memory(organisation_id) | {"last_asked_on": self.day.date.isoformat()}
        self.documents.put("_company", memory, self.day.stamp())

    def _next(self, what: str) -> str:
        """Return the next ID; IDs grow, with gaps."""
        self.counters[what] += self.rng.randrange(1, 50)
        return str(self.counters[what])

    def _after(self, conversation: Body) -> datetime:
        return self.day.stamp(after=self._moment(conversation["updated_at"]))

    def close_the_day(self) -> None:
        """Store the counters and the first day."""
        self.documents.put("_counters", self.counters, self.day.stamp())
