"""Measured facts, by the name that policy gives each measure. Pure.

A measure turns a batch of source rows into one landed column. It measures and never judges: thresholds stand in the
suites. The columns of a batch are named `table.column` as policy names them, or by the landed column that the query
computed itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from governance import age, encoded, grids, measures, web


@dataclass(frozen=True)
class Parameters:
    """What measures need beside the rows: from policy."""

    grid_degrees: float
    tables: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


Measure = Callable[[pa.RecordBatch, Parameters, str], pa.Array]
"""(batch, parameters, name of the first origin) -> array of the batch's length."""


def _of_origin(measure: Callable[[pa.Array], pa.Array]) -> Measure:
    return lambda batch, _parameters, origin: measure(batch[origin])


def _age_at_booking(batch: pa.RecordBatch, _parameters: Parameters, _origin: str) -> pa.Array:
    return age.whole_years(batch["booking_travellers.birth_date"], batch["booked_date"])


def _age_at_service(batch: pa.RecordBatch) -> pa.Array:
    return age.whole_years(batch["booking_travellers.birth_date"], batch["first_service_date"])


def _least_age(batch: pa.RecordBatch) -> pa.Array:
    """At booking or at the first service, whichever is less: what a consent has to make up for."""
    at_booking = age.whole_years(batch["booking_travellers.birth_date"], batch["booked_date"])
    return pc.min_element_wise(at_booking, _age_at_service(batch))


def _has_consent(batch: pa.RecordBatch) -> pa.Array:
    return pc.is_valid(batch["guardian_consents.consent_id"])


def _is_verified(batch: pa.RecordBatch) -> pa.Array:
    """Given and verified, at instants that are known."""
    return pc.and_(
        pc.is_valid(batch["guardian_consents.given_at"]), pc.is_valid(batch["guardian_consents.verified_at"])
    )


def _where(condition: pa.Array, values: pa.Array) -> pa.Array:
    return pc.if_else(condition, values, pa.scalar(None, values.type))


def _age_at_booking_without_consent(batch: pa.RecordBatch, parameters: Parameters, origin: str) -> pa.Array:
    return _where(pc.invert(_has_consent(batch)), _age_at_booking(batch, parameters, origin))


def _age_at_service_without_consent(batch: pa.RecordBatch, _parameters: Parameters, _origin: str) -> pa.Array:
    return _where(pc.invert(_has_consent(batch)), _age_at_service(batch))


def _age_under_unverified_consent(batch: pa.RecordBatch, _parameters: Parameters, _origin: str) -> pa.Array:
    unverified = pc.and_(_has_consent(batch), pc.invert(_is_verified(batch)))
    return _where(unverified, _least_age(batch))


def _is_in_time(batch: pa.RecordBatch) -> pa.Array:
    """From before the booking: an instant equal to the booking's is not, and an unknown booking instant is no proof."""
    given, verified = batch["guardian_consents.given_at"], batch["guardian_consents.verified_at"]
    booked = batch["bookings.booked_at"]
    return pc.fill_null(pc.and_(pc.less(given, booked), pc.less(verified, booked)), False)


def _age_under_late_consent(batch: pa.RecordBatch, _parameters: Parameters, _origin: str) -> pa.Array:
    late = pc.and_(pc.and_(_has_consent(batch), _is_verified(batch)), pc.invert(_is_in_time(batch)))
    return _where(late, _least_age(batch))


def _age_under_own_consent(batch: pa.RecordBatch, _parameters: Parameters, _origin: str) -> pa.Array:
    return _where(pc.fill_null(batch["is_own_consent"], False), _least_age(batch))


def _age_under_nameless_consent(batch: pa.RecordBatch, _parameters: Parameters, _origin: str) -> pa.Array:
    return _where(pc.fill_null(batch["is_nameless_consent"], False), _least_age(batch))


def _age_under_withdrawn_consent(batch: pa.RecordBatch, _parameters: Parameters, _origin: str) -> pa.Array:
    return _where(pc.fill_null(batch["is_withdrawn_consent"], False), _least_age(batch))


def _guardian_age(batch: pa.RecordBatch) -> pa.Array:
    return age.whole_years(batch["guardian_consents.guardian_birth_date"], batch["consent_date"])


def _age_with_guardian(batch: pa.RecordBatch, _parameters: Parameters, _origin: str) -> pa.Array:
    """The greater age of the traveller and of another, who has a name and consents in time; a guardian of unknown age
    adds none."""
    is_nobody = pc.or_(pc.fill_null(batch["is_own_consent"], True), pc.fill_null(batch["is_nameless_consent"], True))
    by_another = pc.and_(_is_in_time(batch), pc.invert(is_nobody))
    return _where(by_another, pc.max_element_wise(_least_age(batch), _guardian_age(batch)))


def _client_age(batch: pa.RecordBatch, _parameters: Parameters, _origin: str) -> pa.Array:
    return age.whole_years(batch["clients.birth_date"], batch["booked_date"])


def _client_age_with_guardian(batch: pa.RecordBatch, parameters: Parameters, origin: str) -> pa.Array:
    return pc.max_element_wise(_client_age(batch, parameters, origin), _guardian_age(batch))


def _procedure_states(batch: pa.RecordBatch, parameters: Parameters, origin: str) -> pa.Array:
    codes = batch[origin]
    listed = pa.array(sorted(parameters.tables["specialties"]), pa.string())
    has_form = pc.fill_null(pc.match_substring_regex(codes, r"^[a-z]+(\.[a-z0-9_]+)+$"), False)
    specialty = pc.replace_substring_regex(codes, r"\..*$", "")
    is_known = pc.and_(has_form, pc.fill_null(pc.is_in(specialty, value_set=listed), False))
    absent = pc.if_else(pc.equal(batch["booking_services.kind"], "health"), "missing", "none")
    return pc.if_else(pc.is_null(codes), absent, pc.if_else(is_known, "known", "unknown"))


def _path_characters(urls: pa.Array) -> pa.Array:
    paths = web.paths(urls)
    return _where(pc.starts_with(urls, "/"), pc.utf8_length(paths)).cast(pa.int32())


def _path_card_numbers(urls: pa.Array) -> pa.Array:
    return measures.card_numbers(web.paths(urls))


def _page_categories(batch: pa.RecordBatch, parameters: Parameters, origin: str) -> pa.Array:
    return web.page_categories(web.paths(batch[origin]), parameters.tables["page_categories"])


def _language_codes(batch: pa.RecordBatch, parameters: Parameters, origin: str) -> pa.Array:
    return web.language_codes(batch[origin], parameters.tables["languages"])


def _grid_cells(batch: pa.RecordBatch, parameters: Parameters, _origin: str) -> pa.Array:
    return grids.cells(batch["page_views.latitude"], batch["page_views.longitude"], parameters.grid_degrees)


def _grid(batch: pa.RecordBatch, parameters: Parameters, origin: str) -> pa.Array:
    return web.grid(batch[origin], parameters.grid_degrees)


def _coordinate_pairs(batch: pa.RecordBatch, _parameters: Parameters, _origin: str) -> pa.Array:
    return web.coordinate_pairs(batch["page_views.latitude"], batch["page_views.longitude"])


MEASURES: dict[str, Measure] = {
    "age_at_booking": _age_at_booking,
    "age_at_booking_without_consent": _age_at_booking_without_consent,
    "age_at_service_without_consent": _age_at_service_without_consent,
    "age_under_unverified_consent": _age_under_unverified_consent,
    "age_under_late_consent": _age_under_late_consent,
    "age_under_own_consent": _age_under_own_consent,
    "age_under_nameless_consent": _age_under_nameless_consent,
    "age_under_withdrawn_consent": _age_under_withdrawn_consent,
    "age_with_guardian": _age_with_guardian,
    "client_age": _client_age,
    "client_age_with_guardian": _client_age_with_guardian,
    "procedure_states": _procedure_states,
    "card_numbers": _of_origin(encoded.card_numbers),
    "cvv_mentions": _of_origin(measures.cvv_mentions),
    "email_defects": _of_origin(measures.email_defects),
    "ip_versions": _of_origin(web.ip_versions),
    "browsers": _of_origin(web.browsers),
    "operating_systems": _of_origin(web.operating_systems),
    "device_classes": _of_origin(web.device_classes),
    "language_regions": _of_origin(web.language_regions),
    "language_codes": _language_codes,
    "paths": _of_origin(web.paths),
    "path_characters": _of_origin(_path_characters),
    "path_card_numbers": _of_origin(_path_card_numbers),
    "page_categories": _page_categories,
    "latitude_grid": _grid,
    "longitude_grid": _grid,
    "grid_cells": _grid_cells,
    "coordinate_pairs": _coordinate_pairs,
}
