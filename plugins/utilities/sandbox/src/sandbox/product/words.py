"""The words of generated text: many scripts, quotes, emoji and a few awkward characters."""

# ruff: noqa: RUF001 - look-alikes are wanted here.

ORGANISATION_FIRST = (
    "Copper", "Northwind", "Bright", "Harbour", "Juniper", "Lantern", "Meridian", "Nimbus", "Otter",
    "Pebble", "Quill", "Rowan", "Saffron", "Tandem", "Umbra", "Velvet", "Willow", "Zephyr",
    "Kestrel", "Marlow", "Ærø", "Café Noir", "Größe", "Łódź", "São Jorge", "Ñandú", "さくら",
    "東方", "Öresund", "O'Malley's",
)  # fmt: skip
ORGANISATION_SECOND = (
    "Bank", "Health", "Logistics", "Energy", "Games", "Travel", "Foods", "Robotics", "Insurance",
    "Media", "Payments", "Telecom", "Mobility", "Learning", "Security", "Pharma", "Retail",
    "& Sons", "Labs 🚀", "AI",
)  # fmt: skip
FIRST_NAMES = (
    "Ada", "Amara", "Björn", "Chloë", "Diego", "Elif", "Fatima", "Grace", "Håkon", "Ines", "Jürgen",
    "Kofi", "Łukasz", "Mei", "Ngũgĩ", "Olga", "Priya", "Quentin", "Renée", "Søren", "Tomáš", "Uma",
    "Víctor", "Wanjiru", "Xiùyīng", "Yusuf", "Zoë", "Sinéad", "Дмитро", "美咲", "李", "محمد",
    "Ελένη", "Sam", "Alex", "Robin",
)  # fmt: skip
LAST_NAMES = (
    "Adeyemi", "Bergström", "Castillo", "D'Angelo", "Eriksen", "Fernández", "García-López", "Huang",
    "Ivanova", "Jørgensen", "Kowalski", "Lovelace", "Müller", "Nakamura", "O'Brien", "Park",
    "Quispe", "Rossi", "Šimić", "Tremblay", "Usman", "van der Berg", "Wójcik", "Yıldız", "Zhang",
    "Патон", "佐藤", "王", "Παππάς", "Smith",
)  # fmt: skip
TIME_ZONES = (
    "Europe/London", "Europe/Berlin", "Europe/Warsaw", "America/New_York", "America/Sao_Paulo",
    "America/Los_Angeles", "Asia/Tokyo", "Asia/Kolkata", "Africa/Nairobi", "Australia/Sydney",
)  # fmt: skip
LOCALES = ("en-GB", "en-US", "de-DE", "fr-FR", "pl-PL", "pt-BR", "ja-JP", "ar-EG")
TAGS = (
    "fintech", "enterprise", "start-up", "eu", "us-east", "pilot", "churn risk",
    "reference, public", 'said "yes"', "日本", "açaí", "🌱",
)  # fmt: skip
COMPONENTS = (
    "Checkout", "Payments API", "Login", "Search", "Webhooks", "Mobile app", "Data pipeline",
    "Kafka", "Postgres", "CDN", "Billing", "Notifications", "Single sign-on", "Image uploads",
    "Kubernetes", "DNS",
)  # fmt: skip
SYMPTOMS = (
    "is down", "is slow in eu-west-1", "returns 5xx errors", "drops messages",
    "has elevated latency", "shows stale data", "rejects valid tokens", "is out of disk",
    "times out for large customers", "double-charges some customers 😱", "fails its health checks",
    "can't be deployed",
)  # fmt: skip
SUMMARIES = (
    "We saw a spike in errors shortly after a deploy and rolled it back.",
    "A certificate expired over night; renewing it fixed the problem.\nWe're adding an alert.",
    "Third-party provider had an outage. Their status page said “all good” throughout.",
    "A migration took a lock on `orders`, and requests queued behind it.",
    "Connection pool exhausted: 100% of workers waiting.\tSee dashboard C:\\graphs\\pool.",
    "原因を調査中です。",
    "Réplica en retraso; se promovió otra y el tráfico se recuperó ✅",
)
CAUSE_KINDS = ("deploy", "configuration", "third_party", "capacity", "hardware", "unknown")
CAUSE_DETAILS = (
    "A feature flag was turned on for everyone",
    "Null pointer in the new “fast path”",
    "Upstream returned {} instead of []",
    "Memory leak since v2.31",
    "Überlastete Datenbank",
)
TEAMS = (
    "Payments",
    "Platform",
    "Growth",
    "SRE",
    "Données",
    "Mobile",
    "プラットフォーム",
    "Security",
)
LABELS = (
    "customer-facing",
    "security",
    "data-loss",
    "repeat",
    "p1",
    "gdpr",
    "near miss",
    "release/2.31",
    "🔥",
)
MESSAGES = (
    "I'm seeing errors climb on the dashboard, looking at the logs now",
    "Rolled back to the previous release, error rate is falling",
    "Can someone from the database team join please? 🙏",
    "Customers are reporting this on Twitter, support has 14 tickets open",
    "p99 latency went from 180 ms to 4.2 s at the time of the deploy",
    'That\'s not it: the flag is off in "production", on in staging',
    "Failing over to the replica in eu-west-2, expect a minute of read-only mode",
    "Confirmed fixed on my side, keeping an eye on it for the next half hour 👀",
    "原因は証明書の期限切れでした。更新しました。",
    "Gefunden: der Cache war voll, wir leeren ihn gerade – danke an alle!",
    "Traffic is back to normal; I'll write up what we know so far",
    "We're waiting for the provider's answer; their ETA is 30 minutes",
)
EMOJI = ("👀", "✅", "🙏", "🔥", "🎉", "➕", "🤔", "❤️")
TASKS = (
    "Add an alert on {}", "Write the runbook for {}", "Raise the connection limit of {}",
    "Roll back {}", "Tell customers about {}", "Upgrade {}", "Add a test for {}",
    "Review dashboards of {}", "Prüfe die Logs von {}",
)  # fmt: skip
RULE_NAMES = (
    "Big incidents to #general", "Security to #sec-ops", "Everything to #incidents",
    "Payments on-call 💳", "Executives, critical only", "Support heads-up", "Überall",
)  # fmt: skip
WORKFLOW_NAMES = (
    "Page on-call", "Nudge for an update", "Open a post-mortem", "Invite support",
    "Remind of follow-ups", "Create a Zoom call", "Update the status page ✨", "Weekly review",
)  # fmt: skip
STEP_KINDS = ("page", "message", "invite", "create_issue", "webhook", "wait")
PROVIDERS = (
    ("linear", "https://linear.app/acme/issue/"),
    ("jira", "https://acme.atlassian.net/browse/"),
)
