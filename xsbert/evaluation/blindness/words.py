"""English words of the rules in `xsbert.evaluation.blindness.edits`. All are in lower case, unless they are names."""

from __future__ import annotations

__all__ = [
    "ANTONYMS",
    "AUXILIARIES",
    "FUNCTION_WORDS",
    "MODALS",
    "MONTHS",
    "NUMBERS",
    "PARTICIPLES",
    "PIVOTS",
    "PRONOUNS",
    "QUANTIFIERS",
    "SYMMETRIC",
    "SYNONYMS",
    "VERBS",
    "WEEKDAYS",
]


def _pairs(text: str) -> list[tuple[str, str]]:
    """Returns the pairs of a list such as ``"hot/cold big/small"``."""
    found = []
    for pair in text.split():
        one, other = pair.split("/")
        found.append((one.replace("_", " "), other.replace("_", " ")))
    return found


def _set(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _both_ways(text: str) -> dict[str, str]:
    """Returns each word of a list of pairs with its partner. Of a word with several, the first one counts."""
    found: dict[str, str] = {}
    for one, other in _pairs(text):
        found.setdefault(one, other)
        found.setdefault(other, one)
    return found


# "not" goes behind these.
AUXILIARIES = _set("is are was were am will would can could should must might may shall do does did")

THIRD_PERSON = (
    "says/say makes/make takes/take gives/give gets/get goes/go comes/come sees/see knows/know thinks/think "
    "wants/want likes/like finds/find tells/tell becomes/become leaves/leave brings/bring begins/begin "
    "keeps/keep holds/hold writes/write provides/provide sits/sit loses/lose pays/pay meets/meet "
    "includes/include continues/continue understands/understand grows/grow opens/open wins/win offers/offer "
    "remembers/remember loves/love considers/consider appears/appear buys/buy serves/serve sends/send "
    "builds/build belongs/belong contains/contain eats/eat drinks/drink rides/ride sings/sing sells/sell "
    "requires/require allows/allow happens/happen believes/believe exists/exist agrees/agree enjoys/enjoy"
)
PAST = (
    "took/take gave/give went/go came/come saw/see knew/know began/begin wrote/write ate/eat drank/drink "
    "ran/run spoke/speak broke/break chose/choose drove/drive flew/fly grew/grow rode/ride rose/rise "
    "sang/sing stole/steal swam/swim threw/throw wore/wear became/become woke/wake forgot/forget"
)
# Verbs without an auxiliary, which take one with "not": form, (auxiliary, base).
VERBS = {
    form: (auxiliary, base)
    for auxiliary, forms in (("does", THIRD_PERSON), ("did", PAST))
    for form, base in _pairs(forms)
}

# Past forms that are participles as well.
PARTICIPLES = dict(
    _pairs(
        "sent/send said/say told/tell met/meet left/leave lost/lose felt/feel kept/keep held/hold built/build "
        "bought/buy found/find made/make paid/pay sold/sell won/win led/lead heard/hear stood/stand thought/think "
        "brought/bring caught/catch taught/teach"
    )
)
PRONOUNS = _set("i you he she it we they who")

MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")

# "one" is left out: it is a pronoun as well.
NUMBERS = dict(
    _pairs(
        "two/five three/seven four/nine five/two six/three seven/four eight/three nine/four ten/six eleven/seven "
        "twelve/eight thirteen/eighteen fourteen/nineteen fifteen/twelve sixteen/eleven seventeen/twelve "
        "eighteen/thirteen nineteen/fourteen twenty/sixty thirty/seventy forty/ninety fifty/twenty sixty/thirty "
        "seventy/forty eighty/fifty ninety/forty dozen/hundred hundred/thousand thousand/million million/thousand "
        "billion/million dozens/hundreds hundreds/thousands thousands/millions millions/thousands"
    )
)

QUANTIFIERS = dict(
    _pairs(
        "at_least/at_most at_most/at_least more_than/less_than less_than/more_than fewer_than/more_than "
        "none_of/all_of all/few every/no each/no many/few few/many most/few several/no some/no no/many "
        "more/less less/more fewer/more always/never never/always often/rarely rarely/often seldom/often "
        "usually/rarely sometimes/always everyone/nobody everybody/nobody nobody/everybody everything/nothing "
        "nothing/everything none/all somebody/nobody someone/nobody everywhere/nowhere half/all"
    )
)

MODALS = dict(_pairs("must/may shall/may may/must might/must can/must could/must should/could will/might cannot/must"))

ANTONYMS = _both_ways(
    "hot/cold warm/cool big/small large/small tall/short long/short high/low deep/shallow wide/narrow thick/thin "
    "bright/dark loud/quiet fast/slow quick/slow quickly/slowly early/late new/old young/old good/bad "
    "better/worse best/worst happy/sad rich/poor strong/weak hard/soft easy/difficult simple/complex clean/dirty "
    "dry/wet full/empty open/closed opened/closed opens/closes opening/closing safe/dangerous cheap/expensive "
    "healthy/sick alive/dead beautiful/ugly true/false possible/impossible legal/illegal likely/unlikely "
    "successful/unsuccessful successfully/unsuccessfully important/unimportant necessary/unnecessary "
    "positive/negative public/private male/female major/minor maximum/minimum first/last inside/outside "
    "above/below over/under up/down upper/lower north/south northern/southern east/west eastern/western near/far "
    "with/without before/after increase/decrease increases/decreases increased/decreased increasing/decreasing "
    "rise/fall rises/falls rose/fell rising/falling gain/loss gains/losses gained/lost win/lose wins/loses "
    "won/lost buy/sell buys/sells bought/sold buying/selling push/pull pushes/pulls pushing/pulling pushed/pulled "
    "arrive/depart arrived/departed arrives/departs begin/end begins/ends began/ended start/stop starts/stops "
    "started/stopped starting/stopping love/hate loves/hates loved/hated accept/reject accepts/rejects "
    "accepted/rejected accepting/rejecting allow/forbid allows/forbids allowed/forbidden agree/disagree "
    "agrees/disagrees agreed/disagreed approve/reject approves/rejects approved/rejected support/oppose "
    "supports/opposes supported/opposed supporting/opposing succeed/fail succeeded/failed succeeds/fails "
    "remember/forget remembers/forgets improve/worsen improves/worsens improved/worsened include/exclude "
    "includes/excludes included/excluded create/destroy created/destroyed creates/destroys build/destroy "
    "built/destroyed attack/defend attacked/defended victory/defeat war/peace day/night summer/winter "
    "morning/evening man/woman men/women boy/girl boys/girls husband/wife father/mother son/daughter "
    "brother/sister king/queen friend/enemy friends/enemies black/white alone/together standing/sitting "
    "stands/sits asleep/awake laughing/crying teacher/student ancient/modern guilty/innocent majority/minority"
)

SYNONYMS = _both_ways(
    "big/large quick/fast quickly/rapidly start/begin starts/begins started/began starting/beginning buy/purchase "
    "bought/purchased buys/purchases buying/purchasing help/assist helps/assists helped/assisted "
    "helping/assisting show/display shows/displays showed/displayed important/significant difficult/hard "
    "easy/simple happy/glad sad/unhappy smart/clever car/automobile cars/automobiles road/street child/kid "
    "children/kids man/guy picture/image pictures/images answer/reply answers/replies answered/replied end/finish "
    "ended/finished ends/finishes near/close_to often/frequently usually/normally also/too maybe/perhaps "
    "however/nevertheless build/construct built/constructed builds/constructs building/constructing choose/select "
    "chose/selected chooses/selects chosen/selected speak/talk speaks/talks speaking/talking shut/close "
    "error/mistake errors/mistakes job/occupation sick/ill wealthy/affluent home/house doctor/physician "
    "doctors/physicians lawyer/attorney film/movie films/movies small/little tiny/minuscule beautiful/gorgeous "
    "angry/furious scared/afraid amount/quantity location/place locations/places area/region areas/regions "
    "aid/assistance allow/permit allows/permits allowed/permitted needs/requires need/require needed/required "
    "attempt/try attempted/tried attempts/tries enormous/gigantic entire/whole famous/well-known nearly/almost "
    "main/principal method/approach methods/approaches couch/sofa bike/bicycle bikes/bicycles plane/airplane "
    "planes/airplanes phone/telephone stone/rock stones/rocks rabbit/bunny boat/vessel boats/vessels sea/ocean "
    "forest/woods trip/journey gift/present jumping/leaping jump/leap walking/strolling woman/lady women/ladies "
    "infant/baby killed/slain dead/deceased company/firm companies/firms police/cops said/stated says/states "
    "told/informed led/headed people/persons called/named many/numerous large/sizable new/novel used/utilized "
    "use/utilize uses/utilizes using/utilizing various/diverse while/whilst among/amongst toward/towards "
    "until/till percent/per_cent primarily/mainly located/situated created/made received/obtained rose/climbed "
    "fell/dropped country/nation countries/nations"
)

# Two sides around one of these tell another story when they are exchanged.
PIVOTS = _set("because before after than unless although until whereas")

# Entities that only these words separate may be exchanged without a change of meaning.
SYMMETRIC = _set(
    "and or with met meets meet married marries marry near beside nor equals resembles between both versus vs"
)

# Words that begin a sentence with a capital letter and name nothing.
FUNCTION_WORDS = _set(
    "a an the this that these those there here it its he she they we you i his her their our your my who what "
    "when where why how which whose in on at by for from to of with without as if although while because since "
    "after before during until unless despite and but or nor so yet not no all some many most few several each "
    "every both one two three four five six seven eight nine ten more less another other such is are was were do "
    "does did can could will would should must may might has have had be let please only also however then "
    "therefore thus meanwhile according today yesterday tomorrow"
)
