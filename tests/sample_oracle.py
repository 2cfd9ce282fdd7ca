"""The rules for which troubles are planted, written a second time, in SQL and plain Python, as far as can be from the
pipelines.

`broken_rules` reads the source and returns every (rule, row key) that breaks a rule: what the manifest has to equal.
"""

from __future__ import annotations

import ipaddress
import re
from datetime import datetime
from typing import Any

_STOCKHOLM = "AT TIME ZONE 'Europe/Stockholm'"
_CLIENT = """(SELECT DISTINCT ON (b.feed_id) b.feed_id, c.email, c.birth_date
              FROM wellbe.bookings b JOIN wellbe.clients c USING (client_id)
              WHERE c.recorded_at < b.recorded_at ORDER BY b.feed_id, c.version DESC)"""
# 18 years and born on 29 February: an adult on 1 March.
_MINOR = """(({on} - interval '18 years')::date < t.birth_date
             OR (to_char(t.birth_date, 'MM-DD') = '02-29' AND to_char({on}, 'MM-DD') = '02-28'
                 AND extract(year FROM age({on}, t.birth_date)) = 18
                 AND ({on} - interval '18 years')::date <> t.birth_date))"""
_TRAVELLER = f"""
    SELECT b.booking_id || '/' || b.version || '/' || t.traveller_no AS row_key, t.birth_date, b.booked_at,
           (b.booked_at {_STOCKHOLM})::date AS booked, b.service_date, g.given_at, g.verified_at, g.consent_id,
           g.withdrawn_at, g.relation NOT IN ('parent', 'guardian')
           OR (g.guardian_name = t.given_name || ' ' || t.family_name
               AND (g.guardian_birth_date IS NULL OR g.guardian_birth_date = t.birth_date))
           AS is_own, g.guardian_birth_date IS NULL
           OR {_MINOR.format(on=f"(g.given_at {_STOCKHOLM})::date").replace("t.birth_date", "g.guardian_birth_date")}
           AS by_a_minor,
           {_MINOR.format(on=f"(b.booked_at {_STOCKHOLM})::date")} AS minor_at_booking,
           {_MINOR.format(on="b.service_date")} AS minor_at_service
    FROM wellbe.bookings b JOIN wellbe.booking_travellers t USING (booking_id, version)
    LEFT JOIN wellbe.guardian_consents g ON g.booking_id = b.booking_id AND g.traveller_no = t.traveller_no
"""
_PLAUSIBLE = "birth_date > DATE '1900-01-01' AND birth_date <= booked"
_KEY = "b.booking_id || '/' || b.version"

BOOKING_RULES: dict[str, str] = {
    "A1.terms_accepted": f"""SELECT {_KEY} FROM wellbe.bookings b
        WHERE NOT EXISTS (SELECT FROM wellbe.terms_acceptances a WHERE a.client_id = b.client_id)""",
    "A1.terms_accepted_before_booking": f"""SELECT {_KEY} FROM wellbe.bookings b
        WHERE (SELECT min(accepted_at) FROM wellbe.terms_acceptances a WHERE a.client_id = b.client_id) >
        b.booked_at""",
    "A1.known_purpose": f"SELECT {_KEY} FROM wellbe.bookings b WHERE purpose_code IS DISTINCT FROM 'contract'",
    "A1.known_client": f"""SELECT {_KEY} FROM wellbe.bookings b WHERE NOT EXISTS
        (SELECT FROM wellbe.clients c WHERE c.client_id = b.client_id AND c.recorded_at < b.recorded_at)""",
    "A1.plausible_email": f"""SELECT {_KEY} FROM wellbe.bookings b JOIN {_CLIENT} c USING (feed_id)
        WHERE c.email IS NULL OR c.email !~ '^[a-z0-9.]+@([a-z0-9]+[.])+[a-z]{{2,}}$' AND c.email !~
        '^Zq[a-z]{{8}}@example[.]com$'""",
    "A1.plausible_service_date": f"""SELECT {_KEY} FROM wellbe.bookings b
        WHERE service_date IS NULL OR service_date - (booked_at {_STOCKHOLM})::date NOT BETWEEN 0 AND 1100""",
    "A1.plausible_booking_date": f"""SELECT {_KEY} FROM wellbe.bookings b
        WHERE booked_at IS NULL OR booked_at > recorded_at""",
    "A1.plausible_price": f"""SELECT {_KEY} FROM wellbe.bookings b
        WHERE price_amount_minor IS NULL OR price_amount_minor NOT BETWEEN 0 AND 50000000""",
    "A1.known_currency": f"""SELECT {_KEY} FROM wellbe.bookings b WHERE currency_code IS NULL
        OR currency_code NOT IN ('EUR', 'SEK', 'GBP', 'USD', 'NOK', 'DKK', 'CHF', 'PLN')""",
    "L1.client_adult_at_booking": f"""SELECT {_KEY} FROM wellbe.bookings b JOIN {_CLIENT} t USING (feed_id)
        WHERE {_MINOR.format(on=f"(b.booked_at {_STOCKHOLM})::date")}""",
    "L1.client_birth_date_known": f"""SELECT {_KEY} FROM wellbe.bookings b JOIN {_CLIENT} c USING (feed_id)
        WHERE c.birth_date IS NULL""",
    "L1.service_dates_known": f"""SELECT {_KEY} FROM wellbe.bookings b JOIN wellbe.booking_services s
        USING (booking_id, version) WHERE s.starts_on IS NULL""",
    "L1.has_travellers": f"""SELECT {_KEY} FROM wellbe.bookings b WHERE NOT EXISTS
        (SELECT FROM wellbe.booking_travellers t
        WHERE t.booking_id = b.booking_id AND t.version = b.version)""",
    "H1.has_services": f"""SELECT {_KEY} FROM wellbe.bookings b WHERE NOT EXISTS (SELECT FROM wellbe.booking_services s
        WHERE s.booking_id = b.booking_id AND s.version = b.version)""",
    "R1.no_version_gap": f"""SELECT {_KEY} FROM wellbe.bookings b WHERE version > 1 AND NOT EXISTS
        (SELECT FROM wellbe.bookings o
        WHERE o.booking_id = b.booking_id AND o.version = b.version - 1 AND o.feed_id < b.feed_id)""",
    "R1.unique_key": f"SELECT {_KEY} FROM wellbe.bookings b GROUP BY booking_id, version HAVING count(*) > 1",
    "L1.birth_date_known": f"SELECT row_key FROM ({_TRAVELLER}) t WHERE birth_date IS NULL",
    "L1.plausible_age": f"SELECT row_key FROM ({_TRAVELLER}) t WHERE NOT ({_PLAUSIBLE})",
    "L1.adult_at_booking": f"""SELECT row_key FROM ({_TRAVELLER}) t
        WHERE (minor_at_booking OR minor_at_service AND service_date >= booked) AND consent_id IS NULL AND
        {_PLAUSIBLE}""",
    "L2.guardian_consent_verified": f"""SELECT row_key FROM ({_TRAVELLER}) t
        WHERE consent_id IS NOT NULL AND verified_at IS NULL""",
    "L2.guardian_consent_before_booking": f"""SELECT row_key FROM ({_TRAVELLER}) t
        WHERE verified_at > booked_at OR given_at > booked_at OR given_at > verified_at""",
    "L2.guardian_is_another": f"SELECT row_key FROM ({_TRAVELLER}) t WHERE is_own",
    "L2.guardian_adult": f"""SELECT row_key FROM ({_TRAVELLER}) t
        WHERE consent_id IS NOT NULL AND by_a_minor AND NOT is_own""",
    "L2.guardian_consent_stands": f"SELECT row_key FROM ({_TRAVELLER}) t WHERE withdrawn_at IS NOT NULL",
    "H1.known_provider": f"""SELECT {_KEY} || '/' || s.service_no FROM wellbe.bookings b
        JOIN wellbe.booking_services s USING (booking_id, version) LEFT JOIN wellbe.providers p USING (provider_id)
        WHERE p.provider_id IS NULL OR p.kind <> s.kind OR (b.booked_at {_STOCKHOLM})::date < p.active_from
           OR (b.booked_at {_STOCKHOLM})::date > p.active_until""",
    "E1.known_procedure": f"""SELECT {_KEY} || '/' || s.service_no FROM wellbe.bookings b
        JOIN wellbe.booking_services s USING (booking_id, version)
        WHERE (s.kind = 'health' AND s.procedure_code IS NULL)
           OR split_part(s.procedure_code, '.', 1) NOT IN ('dental', 'ophthalmology', 'orthopaedics', 'plastic',
              'fertility', 'hair', 'bariatric', 'cardiology', 'dermatology', 'oncology', 'rehabilitation', 'psychiatry')
           OR s.procedure_code !~ '^[a-z]+[.][a-z0-9_.]+$'""",
    "K1.card_age.over_age": """SELECT card_id::text FROM wellbe.payment_cards
        WHERE captured_at < %(now)s - interval '240 hours'""",
    "K1.card_age.future": "SELECT card_id::text FROM wellbe.payment_cards b WHERE captured_at > %(now)s",
    "K1.card_age.unknown_time": "SELECT card_id::text FROM wellbe.payment_cards b WHERE captured_at IS NULL",
}
_VIEW = "SELECT view_id::text FROM wellbe.page_views WHERE "
VIEW_RULES: dict[str, str] = {
    "R1.unique_view": "SELECT view_id::text FROM wellbe.page_views GROUP BY view_id HAVING count(*) > 1",
    "B1.known_instant": _VIEW + "viewed_at IS NULL",
    "B1.plausible_instant": _VIEW + "viewed_at > recorded_at OR viewed_at < '2000-01-01'",
    "B1.plausible_duration": _VIEW + "duration_ms IS NULL OR duration_ms NOT BETWEEN 0 AND 86400000",
    "B1.plausible_path": _VIEW + "url IS NULL OR url NOT LIKE '/%%'",
    "B2.plausible_coordinates": _VIEW
    + """latitude IS NULL <> (longitude IS NULL) OR latitude NOT BETWEEN -90 AND 90
         OR longitude NOT BETWEEN -180 AND 180""",
    "B1.known_visitor": _VIEW + "device_id IS NULL AND session_id IS NULL AND (ip IS NULL OR user_agent IS NULL)",
}


def luhn(digits: str) -> bool:
    """Tell whether the digits satisfy the Luhn check."""
    doubled = [int(sign) * 2 for sign in digits[-2::-2]]
    return (sum(int(sign) for sign in digits[-1::-2]) + sum(n // 10 + n % 10 for n in doubled)) % 10 == 0


def has_card_number(text: str) -> bool:
    """Tell whether a text holds 13 to 19 digits, spaces and dashes aside, that satisfy the Luhn check."""
    for run in re.findall(r"\d(?:[ \-\u00a0.]?\d)+", text):
        digits = re.sub(r"\D", "", run)
        spans = ((start, size) for size in range(13, 20) for start in range(len(digits) - size + 1))
        if any(luhn(digits[start : start + size]) for start, size in spans):
            return True
    return False


def has_cvv(text: str) -> bool:
    """Tell whether a text names a card's security code."""
    return re.search(r"(?i)\b(cvv2?|cvc2?|cid|säkerhetskod|security code)\b[^\d]{0,5}\d{3,4}", text) is not None


def is_address(text: str | None) -> bool:
    """Tell whether a text is an IP address."""
    try:
        ipaddress.ip_address(text or "")
    except ValueError:
        return False
    return True


def _texts(cursor: Any) -> set[tuple[str, str]]:
    cursor.execute(f"SELECT {_KEY}, notes FROM wellbe.bookings b WHERE notes IS NOT NULL")
    rows = list(cursor.fetchall())
    cursor.execute(
        "SELECT booking_id || '/' || version || '/' || service_no, itinerary "
        "FROM wellbe.booking_services WHERE itinerary IS NOT NULL"
    )
    rows += cursor.fetchall()
    found = {("K4.no_card_number_in_text", key) for key, text in rows if has_card_number(text)}
    return found | {("K4.no_cvv_in_text", key) for key, text in rows if has_cvv(text)}


def _views(cursor: Any) -> set[tuple[str, str]]:
    cursor.execute("SELECT DISTINCT ip FROM wellbe.page_views")
    broken = [ip for (ip,) in cursor.fetchall() if not is_address(ip)]
    cursor.execute(_VIEW + "ip IS NULL OR ip = ANY(%s)", (broken,))
    found = {("B1.plausible_address", key) for (key,) in cursor.fetchall()}
    cursor.execute("SELECT DISTINCT url FROM wellbe.page_views WHERE url IS NOT NULL")
    carded = [url for (url,) in cursor.fetchall() if has_card_number(url.split("?")[0])]
    cursor.execute(_VIEW + "url = ANY(%s)", (carded,))
    return found | {("K4.no_card_number_in_path", key) for (key,) in cursor.fetchall()}


def broken_rules(connection: Any, now: datetime) -> set[tuple[str, str]]:
    """Return every (rule, row key) of the source that breaks a rule."""
    with connection.cursor() as cursor:
        found = _texts(cursor) | _views(cursor)
        for rule, query in {**BOOKING_RULES, **VIEW_RULES}.items():
            cursor.execute(query, {"now": now})
            found |= {(rule, key) for (key,) in cursor.fetchall()}
    return found


def planted(connection: Any) -> set[tuple[str, str]]:
    """Return every (rule, row key) of the manifest."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT rule, row_key FROM sample.planted_troubles")
        return set(cursor.fetchall())
