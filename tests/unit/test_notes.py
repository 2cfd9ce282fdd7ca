"""Signed notes, checkpoints and proofs as texts: what C2SP says they are, and what they are not (policy clause R1)."""

from __future__ import annotations

import base64
import traceback
from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from governance import merkle
from governance.errors import ProofError
from governance.notes import Checkpoint, Signer, Verifier, consistency_text, opened, parsed_proof, proof_text

pytestmark = pytest.mark.clause("R1")

# The example of c2sp.org/signed-note.
SPEC_VKEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
SPEC_NOTE = (
    "This is an example message.\n"
    "\n"
    "— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
)

# The keys and the note of the tests of Go's golang.org/x/mod/sumdb/note.
GO_SKEY = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
GO_VKEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_OTHER_VKEY = "EnochRoot+af0cfe78+ATtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop"
GO_TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
GO_SIGNATURE = (
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)
GO_OTHER_SIGNATURE = (
    "— EnochRoot rwz+eBzmZa0SO3NbfRGzPCpDckykFXSdeX+MNtCOXm2/5n2tiOHp+vAF1aGrQ5ovTG01oOTGwnWLox33WWd1RvMc+QQ=\n"
)

# The examples of c2sp.org/tlog-witness and c2sp.org/tlog-proof.
SPEC_CONSISTENCY = """\
old 20852014
PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=
jrJZDmY8Y7SyJE0MWLpLozkIVMSMZcD5kvuKxPC3swk=
5+pKlUdi2LeF/BcMHBn+Ku6yhPGNCswZZD1X/6QgPd8=
/6WVhPs2CwSsb5rYBH5cjHV/wSmA79abXAwhXw3Kj/0=

example.com/behind-the-sofa
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

— example.com/behind-the-sofa \
Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
— example.com/behind-the-sofa \
opLqBQsREYCgu6xQkYQwJr9fo45a62DN9EdmHXnZdXNqlcVGlCum2Wks+49/V6267UEjw6QUXTS5Rovnzv++qbSzm9Q=
"""
SPEC_PROOF = """\
c2sp.org/tlog-proof@v1
extra YWdlLXYxLjIuMS1kYXJ3aW4tYXJtNjQudGFyLmd6kYXJ3aW4tYXJ
index 73894
gSKyXoYZUgZ6jduWYrkDOARinOMGJveXjgMkBTcdPlQ=
B95lDa8R83lS8n0eG+o0buTxRKQTYFi//1U8anccXmA=
EKNzoDWG8LGC0Yp9o+sv3qllpMP9uHQ9B20KNL+Q1zs=
RoopEkOdqkYqMB4MJXrbt/hMjOxsVn0IrWjpz1ZMMes=
AHCioX9nLjsrse6YhjRRmk1WUEirVOLLRoOQ6vfO5vk=

example.com/fancylog
109482
sFodV/vSp5O8n9a8QpW6PRY97tfOSW5bsc2Xl/EQi08=

— example.com/fancylog hI2DJw[...]1roloI=
"""

ORIGIN = "log.example/run-log"
SIGNER = Signer.of_seed(ORIGIN, bytes(range(32)))
OTHER = Signer.of_seed(ORIGIN, bytes(range(1, 33)))
WITNESS = Signer.of_seed("witness.example", bytes(range(2, 34)))
ROOT = sha256(b"root").digest()
HEAD = Checkpoint(ORIGIN, 20_852_163, ROOT)
NOTE = HEAD.signed([SIGNER])
HASHES = [sha256(bytes([number])).digest() for number in range(3)]


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def hashes_of(lines: str) -> list[bytes]:
    return [base64.b64decode(line) for line in lines.split("\n")]


def signed_text(text: str, signer: Signer = SIGNER) -> str:
    """A note of any text, rightly signed: what is refused then is the text."""
    return f"{text}\n{signer.signature(text)}"


def signature_of(signer: Signer, text: str) -> bytes:
    """Id and signature, as they stand in the signature line."""
    return base64.b64decode(signer.signature(text).split(" ")[2])


def refusal(note: str, verifiers: Sequence[Verifier] = (SIGNER.verifier,)) -> str:
    """What is said about a note that is not opened."""
    with pytest.raises(ProofError) as refused:
        opened(note, verifiers)
    return str(refused.value)


# -- what others have signed, and would read ---------------------------------------------------------------------------


def test_the_key_of_the_specification_verifies_the_note_of_the_specification() -> None:
    verifier = Verifier.parse(SPEC_VKEY)
    assert (verifier.name, verifier.key_id.hex(), str(verifier)) == ("example.com/foo", "530d903a", SPEC_VKEY)
    text, _, line = SPEC_NOTE.rpartition("\n\n")
    signature = base64.b64decode(line.split(" ")[2])
    assert signature[:4] == verifier.key_id
    public = Ed25519PublicKey.from_public_bytes(verifier.public)
    public.verify(signature[4:], f"{text}\n".encode())
    with pytest.raises(InvalidSignature):
        public.verify(signature[4:], text.encode())


def test_the_note_of_the_specification_is_no_checkpoint() -> None:
    said = "a checkpoint of this log has three lines: origin, size and root"
    assert refusal(SPEC_NOTE, [Verifier.parse(SPEC_VKEY)]) == said


def test_a_key_of_go_is_the_same_here_and_signs_the_same() -> None:
    signer = Signer.parse(GO_SKEY)
    assert (signer.name, signer.secret(), str(signer.verifier)) == ("PeterNeumann", GO_SKEY, GO_VKEY)
    assert signer.verifier == Verifier.parse(GO_VKEY)
    assert signer.signature(GO_TEXT) == GO_SIGNATURE


def test_the_checkpoint_of_the_specification_is_read_as_far_as_its_signature() -> None:
    note = SPEC_CONSISTENCY.partition("\n\n")[2]
    origin = "example.com/behind-the-sofa"
    said = f"no key that was given has signed this checkpoint of {origin}"
    assert refusal(note) == said
    text = Checkpoint(origin, 20_852_163, base64.b64decode("CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=")).text
    assert note.startswith(f"{text}\n—")


# -- keys --------------------------------------------------------------------------------------------------------------


def test_an_id_is_what_the_specification_says_computed_by_hand() -> None:
    public = Ed25519PrivateKey.from_private_bytes(bytes(range(32))).public_key().public_bytes_raw()
    assert SIGNER.verifier == Verifier(ORIGIN, public)
    assert SIGNER.verifier.key_id == sha256(b"log.example/run-log\n\x01" + public).digest()[:4]


def test_another_name_or_key_has_another_id() -> None:
    verifier = SIGNER.verifier
    others = [replace(verifier, name="log.example/run-lo"), OTHER.verifier, WITNESS.verifier]
    assert len({verifier.key_id, *(other.key_id for other in others)}) == 4


@pytest.mark.parametrize("number", range(40))
def test_keys_come_back_from_their_texts_whatever_base64_makes_of_them(number: int) -> None:
    seed = sha256(bytes([number])).digest()
    signer = Signer.of_seed("log.example/å", seed)
    read = Signer.parse(signer.secret())
    assert (read.name, read.secret(), read.verifier) == (signer.name, signer.secret(), signer.verifier)
    assert Verifier.parse(str(signer.verifier)) == signer.verifier
    assert read.signature("a\n") == signer.signature("a\n")


def test_some_of_these_keys_have_the_divider_in_their_base64() -> None:
    secrets = [Signer.of_seed("log", sha256(bytes([number])).digest()).secret() for number in range(40)]
    assert {secret.count("+") for secret in secrets} > {4, 5}


NAME, ID, PUBLIC = str(SIGNER.verifier).split("+", 2)
SEED = SIGNER.secret().split("+", 4)[4]


def refused_verifier(text: str) -> str:
    with pytest.raises(ProofError) as refused:
        Verifier.parse(text)
    return str(refused.value)


def refused_signer(text: str) -> str:
    with pytest.raises(ProofError) as refused:
        Signer.parse(text)
    return str(refused.value)


@pytest.mark.parametrize("text", ["", "log.example", f"{NAME}+{ID}", f"{NAME}{ID}{PUBLIC.replace('+', '')}"])
def test_a_verifier_key_has_three_parts(text: str) -> None:
    assert refused_verifier(text) == "a verifier key is name+id+key"


def test_a_verifier_key_has_a_name() -> None:
    assert refused_verifier(f"+{ID}+{PUBLIC}") == "a verifier key is name+id+key"


@pytest.mark.parametrize("space", [" ", "\t", "\n", "\r", "\u00a0", "\u2003", "\u3000"])
def test_a_verifier_key_has_no_space_of_any_kind_anywhere(space: str) -> None:
    for text in (f"log{space}example+{ID}+{PUBLIC}", f"{SIGNER.verifier}{space}", f"{space}{SIGNER.verifier}"):
        assert refused_verifier(text) == "a verifier key is name+id+key"


def test_a_name_with_a_plus_is_no_name_of_a_verifier_key() -> None:
    assert refused_verifier(f"log+example+{ID}+{PUBLIC}") == "what should be base64 is not"


def test_an_id_that_does_not_fit_is_refused() -> None:
    said = f"the verifier key of {ORIGIN} does not fit its own id"
    for wrong in (f"{OTHER.verifier.key_id.hex()}", "", ID[:6], f"{ID}00", f"0x{ID}"):
        assert refused_verifier(f"{NAME}+{wrong}+{PUBLIC}") == said


def test_an_id_in_capitals_is_refused() -> None:
    assert refused_verifier(SPEC_VKEY.replace("530d903a", "530D903A")).endswith("does not fit its own id")


def test_the_name_of_another_does_not_fit_the_id() -> None:
    assert refused_verifier(f"log.example/other+{ID}+{PUBLIC}").endswith("does not fit its own id")


def test_a_verifier_key_of_another_algorithm_is_refused() -> None:
    key = b"\x04" + SIGNER.verifier.public
    fitting = sha256(NAME.encode() + b"\n" + key).hexdigest()[:8]
    said = "a verifier key is name+id+key; this one is not of Ed25519"
    assert refused_verifier(f"{NAME}+{fitting}+{b64(key)}") == said


@pytest.mark.parametrize("length", [0, 31, 33])
def test_a_public_key_of_another_length_is_refused(length: int) -> None:
    public = b64(b"\x01" + bytes(length))
    assert refused_verifier(f"{NAME}+{ID}+{public}") == "a verifier key is name+id+key; this one is not of Ed25519"


def test_a_verifier_key_that_is_not_base64_is_refused() -> None:
    assert refused_verifier(f"{NAME}+{ID}+{PUBLIC[:-1]}!") == "what should be base64 is not"


def test_a_verifier_key_in_another_spelling_of_base64_is_refused() -> None:
    # 33 bytes take 44 characters without padding; 32 bytes leave two bits that must be zero.
    loose = f"{b64(bytes(32))[:-2]}B="
    assert base64.b64decode(loose) == bytes(32)
    assert refused_verifier(f"{NAME}+{ID}+{loose}") == "what should be base64 is not in its standard form"


@pytest.mark.parametrize("text", ["", str(SIGNER.verifier), f"{NAME}+{ID}+{SEED}", f"private+key+{NAME}+{ID}+{SEED}"])
def test_a_signer_key_begins_with_its_own_words(text: str) -> None:
    assert refused_signer(text) == "a signer key is PRIVATE+KEY+name+id+key"


def test_a_signer_key_has_a_name() -> None:
    assert refused_signer(f"PRIVATE+KEY++{ID}+{SEED}") == "a signer key is PRIVATE+KEY+name+id+key"


def test_a_signer_key_with_a_line_end_is_refused() -> None:
    assert refused_signer(f"{SIGNER.secret()}\n") == "a signer key is PRIVATE+KEY+name+id+key"


def test_a_signer_key_that_does_not_fit_its_id_is_refused() -> None:
    said = f"the signer key of {ORIGIN} does not fit its own id"
    assert refused_signer(f"PRIVATE+KEY+{NAME}+{OTHER.verifier.key_id.hex()}+{SEED}") == said


def test_a_signer_key_of_another_algorithm_is_refused() -> None:
    seed = b64(b"\x02" + bytes(range(32)))
    said = "a signer key is PRIVATE+KEY+name+id+key; this one is not of Ed25519"
    assert refused_signer(f"PRIVATE+KEY+{NAME}+{ID}+{seed}") == said


def test_a_signer_key_that_is_cut_short_is_refused() -> None:
    said = "a signer key is PRIVATE+KEY+name+id+key; this one is not of Ed25519"
    assert refused_signer(SIGNER.secret()[:-4]) == said


@pytest.mark.parametrize("name", ["", "two words", "log+example", "log\nexample", "log\u2003example"])
def test_nobody_signs_under_a_name_that_is_empty_or_has_a_space_or_a_plus(name: str) -> None:
    with pytest.raises(ProofError, match="the name of a key is not empty, and holds neither a space nor a plus"):
        Signer.of_seed(name, bytes(32))


# -- secrets -----------------------------------------------------------------------------------------------------------


def shows_secret(text: str, secret: str = SEED) -> bool:
    """Whether eight characters in a row of a secret are in a text; the first three say the algorithm only."""
    return any(secret[at : at + 8] in text for at in range(2, len(secret) - 8))


def damaged(secret: str) -> list[str]:
    """A signer key with every kind of harm that befalls a line in a file."""
    words = secret.split("+")
    cut = [secret[:at] for at in range(len(secret))] + [secret[at:] for at in range(1, len(secret))]
    changed = [f"{secret[:at]}{char}{secret[at + 1 :]}" for at in range(len(secret)) for char in " +!é\n"]
    lost = [secret[:at] + secret[at + 1 :] for at in range(len(secret))]
    swapped = ["+".join([*words[:2], *words[2:][::-1]]), "+".join(words[::-1]), f"{secret}+{secret}"]
    return [text for text in [*cut, *changed, *lost, *swapped] if text != secret]


def test_no_message_quotes_a_signer_key_whatever_is_wrong_with_it() -> None:
    assert shows_secret(SIGNER.secret())
    texts = damaged(SIGNER.secret())
    refused = 0
    for parse in (Signer.parse, Verifier.parse):
        for text in texts:
            try:
                parse(text)
            except ProofError as error:
                refused += 1
                assert not shows_secret("".join(traceback.format_exception(error)))
    assert refused == 2 * len(texts)


def test_a_signer_shows_its_name_and_not_its_key() -> None:
    seed = bytes(range(32))
    for shown in (repr(SIGNER), str(SIGNER), f"{[SIGNER]}"):
        assert ORIGIN in shown
        assert not shows_secret(shown)
        assert not shows_secret(shown, seed.hex())
        assert not shows_secret(shown, str(seed))


# -- notes that are opened ---------------------------------------------------------------------------------------------


def test_a_checkpoint_is_written_as_the_format_says() -> None:
    signature = Ed25519PrivateKey.from_private_bytes(bytes(range(32))).sign(HEAD.text.encode())
    line = f"— {ORIGIN} {b64(SIGNER.verifier.key_id + signature)}\n"
    assert HEAD.text == f"{ORIGIN}\n20852163\n{b64(ROOT)}\n"
    assert f"{HEAD.text}\n{line}" == NOTE


@pytest.mark.parametrize("size", [0, 1, 9, 10, 2**63 - 1, 2**63, 10**19 - 1])
def test_a_checkpoint_of_any_size_comes_back(size: int) -> None:
    head = replace(HEAD, size=size)
    assert opened(head.signed([SIGNER]), [SIGNER.verifier]) == head


def test_one_key_of_several_is_enough() -> None:
    assert opened(NOTE, [WITNESS.verifier, OTHER.verifier, SIGNER.verifier]) == HEAD


def test_a_note_that_two_keys_signed_is_opened_by_either() -> None:
    note = HEAD.signed([SIGNER, OTHER])
    assert opened(note, [SIGNER.verifier]) == opened(note, [OTHER.verifier]) == HEAD
    assert opened(note, [SIGNER.verifier, OTHER.verifier]) == HEAD


def test_the_signature_of_an_unknown_key_is_passed_over() -> None:
    assert opened(HEAD.signed([WITNESS, SIGNER]), [SIGNER.verifier]) == HEAD
    assert opened(f"{NOTE}{GO_OTHER_SIGNATURE}", [SIGNER.verifier]) == HEAD


def test_a_signature_of_an_algorithm_that_is_not_known_is_passed_over() -> None:
    long = f"— witness.example {b64(bytes(4) + bytes(2_420))}\n"
    assert opened(f"{NOTE}{long}", [SIGNER.verifier]) == HEAD


def test_a_signature_with_a_known_name_and_an_unknown_id_is_passed_over() -> None:
    same_name = f"— {ORIGIN} {b64(bytes(4) + bytes(64))}\n"
    assert opened(f"{NOTE}{same_name}", [SIGNER.verifier]) == HEAD


def test_a_signature_with_a_known_id_and_an_unknown_name_is_passed_over() -> None:
    same_id = f"— log.example {b64(SIGNER.verifier.key_id + bytes(64))}\n"
    assert opened(f"{HEAD.text}\n{same_id}{SIGNER.signature(HEAD.text)}", [SIGNER.verifier]) == HEAD


def test_a_signature_may_stand_there_twice() -> None:
    assert opened(f"{NOTE}{SIGNER.signature(HEAD.text)}", [SIGNER.verifier]) == HEAD


def test_sixteen_signatures_and_more_are_read() -> None:
    signers = [Signer.of_seed(f"witness{number}.example", bytes([number] * 32)) for number in range(32)]
    assert opened(HEAD.signed([*signers, SIGNER]), [SIGNER.verifier, *(signer.verifier for signer in signers)]) == HEAD


def test_letters_of_any_language_and_a_line_separator_of_unicode_are_text() -> None:
    for origin in (
        "loggbok.example/körning",
        "log.example/\u200b日誌",
        "log\x7f.example",
        "log.example/\ud7ff\ue000\U0001f512",
    ):
        signer = Signer.of_seed(origin, bytes(32))
        head = replace(HEAD, origin=origin)
        assert opened(head.signed([signer]), [signer.verifier]) == head


# -- notes that are not opened: one malformation, one test -------------------------------------------------------------


@pytest.mark.parametrize("code", [code for code in range(32) if code != 10])
def test_a_note_with_a_control_character_is_refused(code: int) -> None:
    said = "a note holds no control characters"
    assert refusal(signed_text(HEAD.text.replace("run-log", f"run{chr(code)}log"))) == said
    assert refusal(NOTE.replace("— ", f"—{chr(code)}")) == said
    assert refusal(f"{NOTE}{chr(code)}") == said


def test_a_note_with_the_line_ends_of_windows_is_refused() -> None:
    assert refusal(NOTE.replace("\n", "\r\n")) == "a note holds no control characters"


def test_a_note_without_an_empty_line_is_refused() -> None:
    assert refusal(NOTE.replace("\n\n", "\n")) == "a note has a text, an empty line and signature lines"


def test_a_note_without_a_signature_is_refused() -> None:
    said = "a note has a text, an empty line and signature lines"
    assert refusal(HEAD.text) == said
    assert refusal(HEAD.signed([])) == said


def test_an_empty_note_is_refused() -> None:
    assert refusal("") == "a note has a text, an empty line and signature lines"


def test_a_note_that_ends_within_its_last_line_is_refused() -> None:
    assert refusal(NOTE[:-1]) == "a note has a text, an empty line and signature lines"


def test_a_note_that_goes_on_after_its_signatures_is_refused() -> None:
    said = "a signature line is a dash, a name and a signature"
    assert refusal(f"{NOTE}and more\n") == said
    assert refusal(f"{NOTE}\n") == "a note has a text, an empty line and signature lines"
    assert refusal(f"{NOTE}\nand more\n") == said


def test_a_note_without_a_text_is_refused() -> None:
    line = SIGNER.signature("\n")
    assert refusal(f"\n\n{line}") == "a checkpoint of this log has three lines: origin, size and root"
    assert refusal(f"\n{line}") == "a note has a text, an empty line and signature lines"


@pytest.mark.parametrize(
    "line",
    [
        "- {name} {signature}",
        "–  {name} {signature}",
        "{name} {signature}",
        "—{name} {signature}",
        "—  {name} {signature}",
        " — {name} {signature}",
        "—\u00a0{name} {signature}",
        "— {name}  {signature}",
        "— {name}\u00a0{signature}",
        "— {name} {signature} ",
        "— {name} {signature} {signature}",
        "— {signature}",
        "— {name}",
        "— {name} ",
        "—  {signature}",
    ],
)
def test_a_signature_line_that_is_put_together_in_another_way_is_refused(line: str) -> None:
    signature = b64(signature_of(SIGNER, HEAD.text))
    made = line.format(name=ORIGIN, signature=signature)
    for note in (f"{HEAD.text}\n{made}\n", f"{NOTE}{made}\n"):
        assert refusal(note) == "a signature line is a dash, a name and a signature"


@pytest.mark.parametrize("space", [" ", "\u00a0", "\u2003", "\u2028", "\u3000", "\u0085"])
def test_a_signature_under_a_name_with_a_space_of_any_kind_is_refused(space: str) -> None:
    said = "a signature line is a dash, a name and a signature"
    assert refusal(f"{NOTE}— two{space}words {b64(bytes(68))}\n") == said


def test_a_signature_under_a_name_with_a_plus_is_refused() -> None:
    said = "a signature line is a dash, a name and a signature"
    assert refusal(f"{NOTE}— log+example {b64(bytes(68))}\n") == said


def test_a_signature_that_is_not_base64_is_refused_also_when_its_key_is_unknown() -> None:
    for wrong in ("!", "AAAA!AAA", "AAAAA", "AAAAAAA", "AAAA====", "é", "AAAA-_AA", "AA==AAAA"):
        assert refusal(f"{NOTE}— other.example {wrong}\n").startswith("what should be base64 is not")


def test_a_signature_in_another_spelling_of_base64_is_refused() -> None:
    # 68 bytes end in one padding character, before which two bits must be zero.
    signature = b64(signature_of(SIGNER, HEAD.text))
    loose = f"{signature[:-2]}{chr(ord(signature[-2]) + 1)}="
    assert base64.b64decode(loose) == base64.b64decode(signature)
    assert refusal(f"{HEAD.text}\n— {ORIGIN} {loose}\n") == "what should be base64 is not in its standard form"


@pytest.mark.parametrize("length", [1, 3, 4])
def test_a_signature_too_short_for_an_id_and_a_byte_is_refused(length: int) -> None:
    said = "a signature is the id of its key, four bytes, and more"
    assert refusal(f"{NOTE}— other.example {b64(bytes(length))}\n") == said


def test_a_signature_of_an_id_and_a_byte_is_long_enough_for_an_unknown_key() -> None:
    assert opened(f"{NOTE}— other.example {b64(bytes(5))}\n", [SIGNER.verifier]) == HEAD


def test_a_note_that_is_no_unicode_is_refused() -> None:
    for half in ("\ud800", "\udbff", "\udc00", "\udfff"):
        assert refusal(NOTE.replace(f"{ORIGIN}\n20852163", f"{half}\n20852163")) == "a note is Unicode text"
        assert refusal(f"{NOTE}— {half} {b64(bytes(68))}\n") == "a note is Unicode text"


# -- signatures that do not count --------------------------------------------------------------------------------------


def test_a_note_is_not_opened_without_a_key() -> None:
    assert refusal(NOTE, []) == f"no key that was given has signed this checkpoint of {ORIGIN}"


def test_a_note_that_only_others_have_signed_is_refused() -> None:
    assert refusal(NOTE, [OTHER.verifier]) == f"no key that was given has signed this checkpoint of {ORIGIN}"


def test_a_known_key_under_another_name_than_the_origin_does_not_count() -> None:
    witnessed = HEAD.signed([WITNESS])
    assert refusal(witnessed, [WITNESS.verifier]) == f"no key that was given has signed this checkpoint of {ORIGIN}"


def test_a_key_of_one_log_does_not_sign_for_another() -> None:
    foreign = replace(HEAD, origin="log.example/other")
    said = "no key that was given has signed this checkpoint of log.example/other"
    assert refusal(foreign.signed([SIGNER])) == said


def test_a_wrong_signature_of_a_known_key_is_refused() -> None:
    edited = NOTE.replace("20852163", "20852164")
    assert refusal(edited) == f"the signature of {ORIGIN} on the checkpoint is wrong"


def test_a_wrong_signature_of_a_known_key_refuses_the_note_that_another_has_rightly_signed() -> None:
    wrong = OTHER.signature(f"{HEAD.text}more\n")
    said = f"the signature of {ORIGIN} on the checkpoint is wrong"
    for note in (f"{NOTE}{wrong}", f"{HEAD.text}\n{wrong}{SIGNER.signature(HEAD.text)}"):
        assert opened(note, [SIGNER.verifier]) == HEAD
        assert refusal(note, [SIGNER.verifier, OTHER.verifier]) == said


def test_a_wrong_signature_of_a_known_witness_refuses_the_note_of_the_log() -> None:
    note = f"{NOTE}{WITNESS.signature('another text')}"
    assert opened(note, [SIGNER.verifier]) == HEAD
    said = "the signature of witness.example on the checkpoint is wrong"
    assert refusal(note, [SIGNER.verifier, WITNESS.verifier]) == said


def test_a_right_and_a_wrong_signature_of_one_key_refuse_the_note() -> None:
    note = f"{NOTE}{SIGNER.signature('another text')}"
    assert refusal(note) == f"the signature of {ORIGIN} on the checkpoint is wrong"


@pytest.mark.parametrize("length", [1, 63, 65])
def test_a_signature_of_a_known_key_with_another_length_is_wrong(length: int) -> None:
    signed = (signature_of(SIGNER, HEAD.text) + b"\0")[: 4 + length]
    said = f"the signature of {ORIGIN} on the checkpoint is wrong"
    assert refusal(f"{HEAD.text}\n— {ORIGIN} {b64(signed)}\n") == said


def test_a_key_that_has_the_id_of_another_does_not_verify_for_it() -> None:
    signed = SIGNER.verifier.key_id + signature_of(OTHER, HEAD.text)[4:]
    assert (
        refusal(f"{HEAD.text}\n— {ORIGIN} {b64(signed)}\n") == f"the signature of {ORIGIN} on the checkpoint is wrong"
    )


# -- texts that are no checkpoint, although rightly signed -------------------------------------------------------------

LINES = "a checkpoint of this log has three lines: origin, size and root"
NUMBER = "a size or an index is a number without leading zeroes"


def test_a_checkpoint_without_an_origin_is_refused() -> None:
    assert refusal(signed_text(f"\n7\n{b64(ROOT)}\n")) == LINES


def test_a_checkpoint_without_a_root_is_refused() -> None:
    assert refusal(signed_text(f"{ORIGIN}\n7\n")) == LINES


def test_a_checkpoint_with_an_extension_line_is_refused() -> None:
    assert refusal(signed_text(f"{HEAD.text}extension\n")) == LINES


def test_a_checkpoint_with_an_empty_line_of_its_own_is_refused() -> None:
    assert refusal(signed_text(f"{HEAD.text}\n")) == LINES


@pytest.mark.parametrize("size", ["00", "01", "020852163"])
def test_a_size_with_leading_zeroes_is_refused(size: str) -> None:
    assert refusal(signed_text(f"{ORIGIN}\n{size}\n{b64(ROOT)}\n")) == NUMBER


@pytest.mark.parametrize("size", ["-1", "-0", "+1"])
def test_a_size_with_a_sign_is_refused(size: str) -> None:
    assert refusal(signed_text(f"{ORIGIN}\n{size}\n{b64(ROOT)}\n")) == NUMBER


@pytest.mark.parametrize("size", ["", " 7", "7 ", "7.0", "1e3", "0x7", "1_000", "seven", "٧", "7٧", "７", "²"])
def test_a_size_that_is_no_decimal_number_is_refused(size: str) -> None:
    assert refusal(signed_text(f"{ORIGIN}\n{size}\n{b64(ROOT)}\n")) == NUMBER


@pytest.mark.parametrize("digits", [20, 21, 5_000])
def test_a_size_of_twenty_digits_or_more_is_refused(digits: int) -> None:
    # Of more than 4,300 digits Python makes no number: that would be an error of another kind.
    assert refusal(signed_text(f"{ORIGIN}\n{'9' * digits}\n{b64(ROOT)}\n")) == NUMBER


@pytest.mark.parametrize("length", [0, 31, 33, 64])
def test_a_root_of_another_length_is_refused(length: int) -> None:
    said = f"a hash has 32 bytes, not {length}"
    assert refusal(signed_text(f"{ORIGIN}\n7\n{b64(bytes(length))}\n")) == said


def test_a_root_that_is_not_base64_is_refused() -> None:
    for root in ("!", b64(ROOT)[:-1], ROOT.hex(), f" {b64(ROOT)}", f"{b64(ROOT)} ", f"{b64(ROOT)}é"):
        assert refusal(signed_text(f"{ORIGIN}\n7\n{root}\n")).startswith(
            ("what should be", "a hash has 32 bytes, not 48")
        )


def test_a_root_in_the_base64_of_addresses_is_refused() -> None:
    root = base64.urlsafe_b64encode(b"\xff" * 32).decode()
    assert refusal(signed_text(f"{ORIGIN}\n7\n{root}\n")) == "what should be base64 is not"


def test_a_root_in_another_spelling_of_base64_is_refused() -> None:
    loose = f"{b64(bytes(32))[:-2]}B="
    assert base64.b64decode(loose) == bytes(32)
    assert refusal(signed_text(f"{ORIGIN}\n7\n{loose}\n")) == "what should be base64 is not in its standard form"


@pytest.mark.parametrize(
    "head",
    [
        replace(HEAD, origin=""),
        replace(HEAD, origin="log\nexample"),
        replace(HEAD, origin="log\rexample"),
        replace(HEAD, size=-1),
        replace(HEAD, size=10**19),
        replace(HEAD, root=ROOT[:31]),
    ],
    ids=["no origin", "two lines", "control character", "negative", "too large", "short root"],
)
def test_nothing_is_signed_that_would_not_be_read(head: Checkpoint) -> None:
    with pytest.raises(ProofError):
        head.signed([SIGNER])


def test_a_size_that_is_still_a_text_is_not_signed() -> None:
    text = replace(HEAD, size="7")  # type: ignore[arg-type]
    assert text.text == replace(HEAD, size=7).text
    with pytest.raises(ProofError, match="a checkpoint that would not be read is not signed"):
        text.signed([SIGNER])


# -- proofs as texts ---------------------------------------------------------------------------------------------------


def test_the_proof_of_the_specification_is_read() -> None:
    index, hashes, note = parsed_proof(SPEC_PROOF)
    head, _, rest = SPEC_PROOF.partition("\n\n")
    assert (index, note) == (73_894, rest)
    assert hashes == hashes_of("\n".join(head.split("\n")[3:]))
    assert len(hashes) == 5


def test_a_proof_is_written_as_the_specification_writes_it_without_its_extra_line() -> None:
    without = "\n".join(line for line in SPEC_PROOF.split("\n") if not line.startswith("extra "))
    assert proof_text(*parsed_proof(SPEC_PROOF)) == without


def test_a_consistency_proof_is_written_as_a_witness_reads_it() -> None:
    head, _, note = SPEC_CONSISTENCY.partition("\n\n")
    assert consistency_text(20_852_014, hashes_of(head.partition("\n")[2]), note) == SPEC_CONSISTENCY


def test_a_first_checkpoint_is_sent_to_a_witness_without_a_hash() -> None:
    assert consistency_text(0, [], NOTE) == f"old 0\n\n{NOTE}"


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_proof_of_any_length_comes_back_with_its_note(count: int) -> None:
    text = proof_text(0, HASHES[:count], NOTE)
    assert parsed_proof(text) == (0, HASHES[:count], NOTE)
    assert text.startswith("c2sp.org/tlog-proof@v1\nindex 0\n")


def test_a_proof_that_was_written_shows_that_its_leaf_is_in_the_signed_tree() -> None:
    leaves = [merkle.leaf_hash(bytes([number])) for number in range(5)]
    note = Checkpoint(ORIGIN, 5, merkle.root(leaves)).signed([SIGNER])
    proof = merkle.inclusion_proof(3, 5, lambda start, end: merkle.root(leaves[start:end]))
    index, hashes, read = parsed_proof(proof_text(3, proof, note))
    head = opened(read, [SIGNER.verifier])
    merkle.verify_inclusion(index, head.size, leaves[3], hashes, head.root)


PROOF = proof_text(73_894, HASHES, NOTE)


def refused_proof(text: str) -> str:
    with pytest.raises(ProofError) as refused:
        parsed_proof(text)
    return str(refused.value)


def refused_edit(old: str, new: str) -> str:
    """What is said about the proof when a part of it is another."""
    assert old in PROOF
    return refused_proof(PROOF.replace(old, new, 1))


BEGINS = "a proof begins with c2sp.org/tlog-proof@v1 and an index"


def test_a_proof_of_another_version_is_refused() -> None:
    assert refused_edit("@v1", "@v2") == BEGINS


def test_a_proof_without_its_first_line_is_refused() -> None:
    assert refused_edit("c2sp.org/tlog-proof@v1\n", "") == BEGINS
    assert refused_proof("") == BEGINS


def test_a_proof_of_a_first_line_alone_is_refused() -> None:
    assert refused_proof("c2sp.org/tlog-proof@v1") == BEGINS
    assert refused_proof(f"c2sp.org/tlog-proof@v1\n\n{NOTE}") == BEGINS
    assert refused_proof(f"c2sp.org/tlog-proof@v1\nextra AAAA\n\n{NOTE}") == BEGINS


def test_a_proof_with_a_line_before_its_first_is_refused() -> None:
    assert refused_edit("c2sp.org", "\nc2sp.org") == BEGINS


def test_a_proof_without_an_index_is_refused() -> None:
    assert refused_edit("index 73894\n", "") == BEGINS


@pytest.mark.parametrize("line", ["index", "index73894", "Index 73894", " index 73894", "index\t73894", "old 73894"])
def test_an_index_in_another_form_is_refused(line: str) -> None:
    assert refused_edit("index 73894", line) == BEGINS


@pytest.mark.parametrize(
    "number", ["073894", "00", "-1", "+1", "", " 7", "7 ", "7\r", "0x7", "٧", "7٧", "1" + "0" * 19]
)
def test_an_index_that_is_no_number_is_refused(number: str) -> None:
    assert refused_edit("index 73894", f"index {number}") == NUMBER


def test_two_extra_lines_are_refused() -> None:
    assert refused_edit("index 73894", "extra AAAA\nextra AAAA\nindex 73894") == BEGINS


def test_an_extra_line_after_the_index_is_refused() -> None:
    assert refused_edit("index 73894", "index 73894\nextra AAAA").startswith("what should be base64 is not")


def test_an_extra_line_without_its_data_is_refused() -> None:
    assert refused_edit("index 73894", "extra\nindex 73894") == BEGINS


@pytest.mark.parametrize("data", ["!", "AAAAA", "AAAA\r", "\x1b[2J", "AAAA AAAA"])
def test_extra_data_that_are_not_base64_are_refused(data: str) -> None:
    assert refused_edit("index 73894", f"extra {data}\nindex 73894") == "what should be base64 is not"


@pytest.mark.parametrize("length", [31, 33, 64])
def test_a_hash_of_another_length_in_the_text_of_a_proof_is_refused(length: int) -> None:
    assert refused_edit(b64(HASHES[2]), b64(bytes(length))) == f"a hash has 32 bytes, not {length}"


def test_a_hash_that_is_not_base64_is_refused() -> None:
    assert refused_edit(b64(HASHES[1]), f"{b64(HASHES[1])[:-2]}!=") == "what should be base64 is not"


def test_a_hash_in_another_spelling_of_base64_is_refused() -> None:
    loose = f"{b64(bytes(32))[:-2]}B="
    assert refused_edit(b64(HASHES[1]), loose) == "what should be base64 is not in its standard form"


def test_two_hashes_on_one_line_are_refused() -> None:
    assert refused_edit(f"{b64(HASHES[0])}\n", b64(HASHES[0])).startswith("what should be base64 is not")


def test_a_proof_with_the_line_ends_of_windows_is_refused() -> None:
    assert refused_proof(PROOF.replace("\n", "\r\n")) == BEGINS


def test_a_proof_whose_hashes_run_into_its_note_is_refused() -> None:
    assert refused_edit("\n\n", "\n").startswith("what should be base64 is not")


@pytest.mark.parametrize("lines", [2, 3, 5])
def test_a_proof_that_ends_before_its_note_is_refused(lines: int) -> None:
    said = "a proof ends with a checkpoint, after an empty line"
    assert refused_proof("\n".join(PROOF.split("\n")[:lines])) == said
