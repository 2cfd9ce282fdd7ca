"""The files of contracts: the newest of each kind, and every version that was ever in force, which stays readable."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from governance.errors import ContractError, PolicyError
from governance.policy import Policy
from governance.policy_files import mapping
from governance.sharing.allowances import KindName, Sharing
from governance.sharing.contract_documents import contract_of, require_allowed
from governance.sharing.contracts import Contract, numbers
from governance.sharing.recipients import Terms
from governance.sharing.register import VERSION

CONTRACT_FOLDER = Path(__file__).parents[3] / "expectations" / "contracts"
KEPT = "versions"


def versions(kind: KindName, folder: Path = CONTRACT_FOLDER) -> tuple[str, ...]:
    """The versions of a contract that are kept, oldest first: those that a recipient may have agreed to."""
    found = (path.stem.removeprefix(f"{kind}-") for path in (folder / KEPT).glob(f"{kind}-*.yaml"))
    return tuple(sorted((version for version in found if re.match(VERSION, version)), key=numbers))


def load(kind: KindName, version: str, sharing: Sharing, folder: Path = CONTRACT_FOLDER) -> Contract:
    """A version that is kept, which its kind may have. Raises ContractError for any other."""
    if version not in versions(kind, folder):
        known = ", ".join(versions(kind, folder)) or "none"
        raise ContractError(f"contract {kind}: no such version is kept; there are {known}; nothing is handed over")
    contract = read(folder / KEPT / f"{kind}-{version}.yaml")
    if (contract.kind, contract.version) != (kind, version):
        raise ContractError(f"{kind}-{version}.yaml holds {contract.label}: put back what was in force by that name")
    require_allowed(contract, sharing)
    return contract


def newest(kind: KindName, folder: Path = CONTRACT_FOLDER) -> Contract:
    """The newest version, as it stands beside the kept ones. Raises ContractError."""
    return read(folder / f"{kind}.yaml")


def terms(policy: Policy, folder: Path = CONTRACT_FOLDER) -> Terms:
    """What policy, and the contracts that are kept, measure every recipient by."""
    kept: dict[str, tuple[str, ...]] = {kind: versions(kind, folder) for kind in policy.sharing.kinds}
    return Terms(policy.time_zone, policy.sharing.transfers, kept)


def read(path: Path) -> Contract:
    """The contract in a file. Raises ContractError, which names the file."""
    try:
        content = path.read_bytes()
        return contract_of(mapping(path.name, content), hashlib.sha256(content).hexdigest())
    except OSError as error:
        raise ContractError(f"{path.name} cannot be read: {error.strerror}") from None
    except PolicyError as error:
        raise ContractError(str(error)) from None
    except ContractError as error:
        raise ContractError(f"{path.name}: {error}") from None
