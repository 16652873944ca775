"""The words of the help desk: admins, teams, tags and messages."""

from dataclasses import dataclass

WORKSPACE = "h3lpd3sk"
PRODUCT_DOMAIN = "product.example"

TEAMS = ("Support", "Billing", "Onboarding")
ADMINS = (
    ("Moira Okafor", "Head of support", (0, 1, 2)),
    ("Teun Visser", "Support engineer", (0,)),
    ("Ingrid Solís", "Support engineer", (0, 2)),
    ("Kwame Łaski", "Billing specialist", (1,)),
)
"""Name, job title, and the teams that they belong to."""

TAGS = (
    "Billing", "Bug", "Feature request", "How-to", "Onboarding", "Integrations", "Security",
    "VIP", "Beta tester", "Reference", "Newsletter", "Partner",
)  # fmt: skip
CONTACT_TAGS = ("VIP", "Beta tester", "Reference", "Newsletter", "Partner")
COMPANY_TAGS = ("VIP", "Reference", "Partner")


@dataclass(frozen=True)
class Topic:
    """The topic of a conversation: its tag, the team that answers, and the messages."""

    tag: str
    team: str
    subject: str
    opening: str
    """HTML, with the organisation's name at `{organisation}`."""


ARREARS = (
    Topic(
        "Billing",
        "Billing",
        "Our card was declined",
        "<p>Hi, we got a mail that our card was declined. What happens to {organisation} now?</p>",
    ),
    Topic(
        "Billing",
        "Billing",
        "Invoice overdue",
        "<p>Our finance team says the last invoice is still unpaid.</p>"
        "<p>Can we pay by bank transfer instead?</p>",
    ),
    Topic(
        "Billing",
        "Billing",
        "More time to pay",
        "<p>We&#39;d need two more weeks for the open invoice. Is that okay&nbsp;?</p>",
    ),
)
TOPICS = (
    Topic(
        "How-to",
        "Support",
        "Private incidents",
        "<p>How do I make an incident private <b>after</b> it was declared?</p>",
    ),
    Topic(
        "Bug",
        "Support",
        "Slack messages don't arrive",
        "<p>Since this morning no updates arrive in Slack &lt;#incidents&gt; 😕<br>Nothing changed "
        "on our side.</p>",
    ),
    Topic(
        "Bug",
        "Support",
        "Timeline is empty",
        '<p>The timeline of our last incident is empty, see the <a href="https://app.example/i/12">'
        "incident</a> &amp; the log below.</p><pre>500 Internal Server Error</pre>",
    ),
    Topic(
        "Feature request",
        "Support",
        "Export to CSV",
        "<p>Could you add an export of actions? {organisation} has to show them to an auditor.</p>",
    ),
    Topic(
        "Onboarding",
        "Onboarding",
        "Setting up single sign-on",
        "<p>We are rolling out to everybody at {organisation}.</p><p>Who can help us with SSO?</p>",
    ),
    Topic(
        "Integrations",
        "Support",
        "Jira tickets twice",
        "<p>Every follow-up makes <i>two</i> Jira tickets. 二重になります。</p>",
    ),
    Topic(
        "Security",
        "Support",
        "Security questionnaire",
        "<p>Our security team has 140 questions for you. Where should we send them?</p>",
    ),
    Topic(
        "Billing",
        "Billing",
        "Wrong address on the invoice",
        "<p>Please put “{organisation}” and our VAT number on the invoice.</p>",
    ),
)
VISITOR_TOPICS = (
    Topic("How-to", "Support", "Pricing", "<p>What does it cost for 50 people?</p>"),
    Topic("Integrations", "Support", "Teams", "<p>Does it work with Microsoft Teams?</p>"),
)
OUTREACH = Topic(
    "Onboarding",
    "Onboarding",
    "How are you getting on?",
    "<p>Hi! You have been with us for a while: shall we look at your set-up together?</p>",
)

BOT_REPLIES = (
    "<p>Thanks! The team typically replies within a few hours.</p>",
    "<p>While you wait: this article might help.</p>",
)
ADMIN_REPLIES = (
    "<p>Thanks for getting in touch! I&#39;m looking into it.</p>",
    "<p>That should work now. Could you try again?</p>",
    "<p>You can change this under <b>Settings &gt; General</b>.</p>",
    "<p>I have passed this on to our engineers and will keep you posted.</p>",
    "<p>Could you send a screenshot of what you see?</p>",
)
CLOSING_REPLIES = (
    "<p>Glad that helped. I&#39;ll close this; just reply if it comes back 👋</p>",
    "<p>This is fixed and live. Thank you for your patience!</p>",
)
CUSTOMER_REPLIES = (
    "<p>Still the same, I&#39;m afraid.</p>",
    "<p>Thanks, that did it! 🎉</p>",
    "<p>Any news on this?</p>",
    "<p>Here is what I see:</p><p>error 42 &amp; a blank page</p>",
    "<p>Merci beaucoup !</p>",
)
NOTES = (
    "<p>Known issue, see the engineers&#39; channel.</p>",
    "<p>Customer is in arrears, talk to finance first.</p>",
    "<p>Asked the account owner.</p>",
)
REMARKS = (None, None, "Super quick, thank you!", "Took too long.", "Très bien 👍")

LEAD_NAMES = (None, None, "Nadia", "Tom from Bristol", "Günther", "愛")
PLACES = (
    ("Ireland", "Leinster", "Dublin", "IRL", "EU"),
    ("Germany", "Berlin", "Berlin", "DEU", "EU"),
    ("Brazil", "São Paulo", "São Paulo", "BRA", "SA"),
    ("Japan", "Tokyo", "Tokyo", "JPN", "AS"),
    ("United States", "California", "Oakland", "USA", "NA"),
)
"""Country, region, city, country code, continent code."""
BROWSERS = (("chrome", "OS X 14.7"), ("firefox", "Linux"), ("safari", "OS X 15.1"))
