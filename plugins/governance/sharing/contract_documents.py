"""Contracts as the Open Data Contract Standard (v3.1.0) writes them, read strictly; what a kind may not have. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from governance.errors import ContractError
from governance.sharing.allowances import OfferedColumn, Sharing
from governance.sharing.contracts import Contract, ContractColumn

API_VERSION = "v3.1.0"
OF_COLUMN = {"name", "logicalType", "logicalTypeOptions", "required", "primaryKey", "primaryKeyPosition",
             "classification", "description", "customProperties"}  # fmt: skip
"""What of the standard a column may say; more might mean something that nobody here enforces."""
OF_CONTRACT = {"recipient_kind", "purpose", "lawful_basis"}
CUSTOM = {"category", "purpose", "encoded_as", "on_request"}


def contract_of(document: Mapping[str, Any], digest: str) -> Contract:
    """The contract that a document of the standard is; `digest`: SHA-256 of its file.

    Raises ContractError for one that is none, or says what would not be enforced.
    """
    if (document.get("apiVersion"), document.get("kind")) != (API_VERSION, "DataContract"):
        raise ContractError(f"a contract is a DataContract of apiVersion {API_VERSION}; this file is something else")
    try:
        (table,) = document["schema"]
        stated = _custom(document, "the contract", OF_CONTRACT)
        return Contract(
            kind=stated["recipient_kind"],
            version=document["version"],
            purpose=stated["purpose"],
            lawful_basis=stated["lawful_basis"],
            columns=tuple(_column(column) for column in table["properties"]),
            digest=digest,
        )
    except ValidationError as error:
        first = error.errors()[0]
        where = " > ".join(map(str, first["loc"]))
        raise ContractError(f"the contract is not valid at {where or 'its top'}: {first['msg']}") from None
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ContractError(f"the contract has no form that can be read ({type(error).__name__}: {error})") from None


def _column(stated: Mapping[str, Any]) -> ContractColumn:
    name = stated["name"]
    strange = sorted(stated.keys() - OF_COLUMN)
    options = stated.get("logicalTypeOptions", {})
    strange += sorted(options.keys() - {"pattern"})
    if strange:
        raise ContractError(f"column {name} states {', '.join(strange)}, which nothing here enforces; leave it out")
    return ContractColumn(
        name=name,
        logical_type=stated["logicalType"],
        is_required=stated["required"],
        is_key=stated.get("primaryKey", False),
        pattern=options.get("pattern"),
        description=stated["description"],
        **_custom(stated, f"column {name}", CUSTOM),
    )


def _custom(stated: Mapping[str, Any], whose: str, known: set[str]) -> dict[str, Any]:
    """The custom properties, each once."""
    pairs = [(each["property"], each["value"]) for each in stated["customProperties"]]
    names = [name for name, _ in pairs]
    strange = sorted({name for name in names if name not in known or names.count(name) > 1})
    if strange:
        raise ContractError(f"{whose} states {', '.join(strange)} twice, or nothing here knows it")
    return dict(pairs)


def forbidden(contract: Contract, sharing: Sharing) -> Iterator[str]:
    """What of a contract its kind may not have, with the reason, in words (F1, I2, N1)."""
    kind = sharing.kinds.get(contract.kind)
    if kind is None:
        yield f"policy does not say what a {contract.kind} may have"
        return
    for column in contract.columns:
        offered = sharing.offered.get(column.name)
        if column.category in kind.forbidden:
            why = kind.forbidden[column.category]
            yield f"{column.name} is {column.category}, forbidden to a {contract.kind}: {why}"
        elif column.category not in kind.allowed:
            yield f"{column.name} is {column.category}, and policy does not say whether a {contract.kind} may have that"
        if offered is None:
            yield f"{column.name} is on offer to nobody; policies/sharing.yaml lists what is"
        elif not _is_as_offered(column, offered):
            yield f"{column.name} is not what policies/sharing.yaml says it is: category, type, or whether on request"
        if column.purpose != contract.purpose:
            yield f"{column.name} is for {column.purpose}, and the contract for {contract.purpose}"


def _is_as_offered(column: ContractColumn, offered: OfferedColumn) -> bool:
    stated = (column.category, column.logical_type, column.on_request)
    return stated == (offered.category, offered.type, offered.on_request)


def require_allowed(contract: Contract, sharing: Sharing) -> None:
    """Raise ContractError when a contract asks for what its kind may not have; names every such column and why."""
    problems = list(forbidden(contract, sharing))
    if problems:
        raise ContractError(f"{contract.label}: {'; '.join(problems)}; nothing is handed over by it")
