"""Who works here and which channels there are: the cast with which a workspace starts."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Person:
    """A human member. ``name`` is the handle, ``locale`` and ``tz`` are what users.info answers."""

    name: str
    real_name: str
    email: str
    locale: str = "en-US"
    tz: str = "Asia/Tokyo"
    title: str = ""


@dataclass(frozen=True, slots=True)
class Channel:
    """A channel at the start. ``members`` of None means everybody; ``bot`` says whether the bot is in."""

    name: str
    members: tuple[str, ...] | None = None
    bot: bool = True
    private: bool = False
    topic: str = ""


@dataclass(frozen=True, slots=True)
class Group:
    """A user group: ``handle`` as typed after the at sign, members by name."""

    handle: str
    name: str
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Roster:
    """The whole cast. ``paid`` False makes usergroups.* answer plan_upgrade_required, as free plans do."""

    team: str
    domain: str
    people: tuple[Person, ...]
    channels: tuple[Channel, ...]
    bot_name: str = "toban"
    bot_real_name: str = "Toban"
    groups: tuple[Group, ...] = ()
    paid: bool = True
    commands: tuple[str, ...] = field(default=("/incident", "/deploy", "/toban"))


def _bondpoint(name: str, real_name: str, locale: str, title: str = "") -> Person:
    return Person(name, real_name, f"{name}@bondpoint.example", locale, "Asia/Tokyo", title)


BONDPOINT = Roster(
    team="BondPoint",
    domain="bondpoint",
    people=(
        _bondpoint("kenji", "Kenji Sato", "ja-JP", "SRE"),
        _bondpoint("aya", "Aya Tanaka", "ja-JP", "Backend"),
        _bondpoint("mika", "Mika Mori", "en-US", "SRE"),
        _bondpoint("dan", "Dan Brooks", "en-US", "Backend"),
        _bondpoint("yuko", "Yuko Abe", "ja-JP", "Engineering manager"),
    ),
    channels=(
        Channel("general", topic="Company-wide"),
        Channel("alerts", topic="What fires, and who has it"),
        Channel("incidents", topic="Open incidents"),
        Channel("deploys", topic="Cloud Run rollouts"),
        Channel("ops", topic="The bot's own health"),
        Channel("performance", topic="Latency and capacity"),
    ),
    groups=(Group("sre", "SRE", ("kenji", "mika")),),
)
