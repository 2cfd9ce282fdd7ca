"""The use cases: read, call the pure modules, write effect and entry in one transaction.

Airflow, the command line and the tests each bring a `Workspace`; nothing here knows which.
"""

from governance.steps.attacking_releases import attack_releases
from governance.steps.cards import keep_cards
from governance.steps.certifying import CertificateChange, change_certificate
from governance.steps.consenting import consents
from governance.steps.crawling import crawl
from governance.steps.erasing import erase_minors
from governance.steps.handing_over import Delivered, HandOver, hand_over
from governance.steps.holding import HoldRequest, place_hold, release_hold
from governance.steps.identifying import first_identity, renew_identity, switch_identity
from governance.steps.keeping import destroy_key, keep_keys, logged_destructions, rotate_key
from governance.steps.obliging import meet_obligation, owed
from governance.steps.planning import Plan, apply_plan, plan_retention
from governance.steps.reconciling import reconcile
from governance.steps.retaining import retain
from governance.steps.sequencing import acknowledge_restore, checkpoint, rotate_signing_key, sequence
from governance.steps.sharing import share
from governance.steps.to_analytics import missing_predecessor, publish
from governance.steps.to_landing import plan, pull
from governance.steps.to_vault import validate
from governance.steps.watching import watch
from governance.steps.who_has import who_has
from governance.steps.workspace import Hop, Workspace

__all__ = [
    "CertificateChange",
    "Delivered",
    "HandOver",
    "HoldRequest",
    "Hop",
    "Workspace",
    "Plan",
    "acknowledge_restore",
    "apply_plan",
    "attack_releases",
    "change_certificate",
    "checkpoint",
    "consents",
    "crawl",
    "destroy_key",
    "erase_minors",
    "first_identity",
    "hand_over",
    "keep_cards",
    "keep_keys",
    "logged_destructions",
    "meet_obligation",
    "missing_predecessor",
    "owed",
    "place_hold",
    "plan",
    "plan_retention",
    "publish",
    "pull",
    "reconcile",
    "release_hold",
    "renew_identity",
    "retain",
    "rotate_key",
    "rotate_signing_key",
    "sequence",
    "share",
    "switch_identity",
    "validate",
    "watch",
    "who_has",
]
