"""What columns are called: the one table of names that a guess goes by, where measuring alone does not tell.

A name is compared by its words, in lower case: `customerId`, `Customer ID` and `customer_id` are "customer id".
"""

from __future__ import annotations

import re

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[^\W\d_A-Z]+|\d+")


def _phrases(text: str) -> tuple[str, ...]:
    return tuple(phrase.strip() for phrase in text.split(","))


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


#: Role -> the names that columns of it have, in groups: one of an earlier group goes before those of later ones.
NAMES: dict[str, tuple[tuple[str, ...], ...]] = {
    "user": (
        _phrases(
            "user id, userid, uid, customer id, customerid, cust id, member id, contact id, person id, subscriber id, "
            "player id, patient id, student id, buyer id, shopper id, user, customer, customer no, customer number, "
            "customer code, member no, member number, external id, owner id, kundennummer, kunden nr, kundennr, "
            "kunden id, kunde, client, numero client, id cliente"
        ),
        _phrases("email, email address, e mail, user email, customer email, mail, emailadresse"),
    ),
    "anonymous": (
        _phrases("anonymous id, anonymousid, anon id, anonymous user id, visitor id, visitorid, distinct id"),
        _phrases("device id, cookie id, user pseudo id, full visitor id, browser id, guest id, installation id"),
    ),
    "person": (_phrases("id, record id, lead id, profile id"),),
    "event": (_phrases("event name, event, event type, eventname, action, activity, activity type, ereignis"),),
    "time": (
        _phrases(
            "timestamp, event timestamp, event time, event date, eventtime, occurred at, happened at, time, ts, "
            "datetime, date time, zeitpunkt, zeitstempel"
        ),
        _phrases(
            "created at, createdat, created, created on, created date, date created, creation date, ordered at, "
            "order date, orderdate, placed at, purchase date, purchased at, paid at, date, invoice date, invoicedate, "
            "transaction date, payment date, booking date, sale date, signup date, signed up at, sign up date, "
            "registered at, registration date, joined at, joined, viewed at, visited at, started at, opened at, "
            "subscribed at, create date, created time, datum, bestelldatum, rechnungsdatum, fecha, date de commande"
        ),
    ),
    "group": (_phrases("group id, groupid, account id, accountid, company id, organization id, org id, workspace id"),),
    "previous": (_phrases("previous id, previous user id, old id, old user id, merged from, merged id"),),
    "screen": (_phrases("screen name, screen, screen class"),),
    "page": (_phrases("url, page url, path, page path, page location, page, page title"),),
    "message": (_phrases("message id, messageid, event id, eventid, insert id, uuid, event uuid"), ("id",)),
}
#: Words that say of a time that it is not the one at which the thing itself happened.
LATER = _words(
    "updated modified changed birth birthday birthdate born dob expires expiry expired due deleted shipped ship "
    "delivered received sent uploaded loaded synced processed last ended end closed refunded cancelled canceled "
    "completed original until renewal next"
)
#: Last words of the names of keys; and words of what is no quantity, though it may be digits.
KEYS = _words(
    "id uuid guid key number no nr num ref reference code sku hash token "
    "nummer bestellnummer rechnungsnummer numero folio"
)
CODES = KEYS | _words("zip postcode postal plz phone tel telephone mobile fax iban isbn ean ssn vat version ip")
#: Words of which one in a name lets numbers be times.
TIMELY = _words("at time timestamp date datetime ts day when created updated datum fecha epoch birthday joined")
#: Of them those that let a number be a spreadsheet's day: a time alone may be a duration.
DATED = _words("at date datetime day when created updated datum fecha birthday joined")
#: Words of a sale: a row with one of them is no person's.
SALES = _words("total amount price quantity qty currency order invoice payment revenue sku product item paid")
#: Names of people: with them, a row each is a user.
PEOPLE = frozenset(_phrases("email, email address, e mail, first name, firstname, last name, lastname, vorname"))
#: Reserved traits of Segment's spec (https://www.twilio.com/docs/segment/connections/spec/identify) by columns' names.
TRAITS = {
    **dict.fromkeys(("first name", "firstname", "vorname"), "firstName"),
    **dict.fromkeys(("last name", "lastname", "nachname"), "lastName"),
    **dict.fromkeys(("created at", "createdat", "signed up at", "registered at"), "createdAt"),
    **dict.fromkeys(("email address", "e mail"), "email"),
    **dict.fromkeys(("phone number", "telephone"), "phone"),
}


def words(name: str) -> str:
    """The words of a column's name, in lower case, a blank between them."""
    return " ".join(word.casefold() for word in _WORD.findall(name)) or name.casefold()


def rank(role: str, name: str) -> int | None:
    """The group of the role's names that a column's is in, from 0; None where it is in none."""
    said = words(name)
    return next((place for place, names in enumerate(NAMES[role]) if said in names), None)


def last_word(name: str) -> str:
    """The last word of a column's name."""
    return words(name).rpartition(" ")[2]


#: Of numbers that are years.
YEARS = _words("year yr jahr annee ano anno")


def has_word(name: str, of: frozenset[str]) -> bool:
    """Whether one of the words is in a column's name."""
    return not of.isdisjoint(words(name).split())
