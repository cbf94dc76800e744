"""Three-letter language codes, as MMS models have them (ISO 639-3), in the form of BCP-47. Pure."""

_PAIRS = """
afr:af amh:am ara:ar asm:as azb:az azj:az bel:be ben:bn bod:bo bul:bg cat:ca ces:cs cym:cy dan:da deu:de ell:el eng:en
est:et eus:eu fas:fa fin:fi fra:fr gle:ga glg:gl guj:gu hat:ht hau:ha heb:he hin:hi hrv:hr hun:hu hye:hy ibo:ig ind:id
isl:is ita:it jav:jv jpn:ja kan:kn kat:ka kaz:kk khm:km kin:rw kir:ky kor:ko lao:lo lav:lv lit:lt mal:ml mar:mr mkd:mk
mlt:mt mon:mn mya:my nep:ne nld:nl nor:no ory:or pan:pa pol:pl por:pt pus:ps ron:ro rus:ru sin:si slk:sk slv:sl sna:sn
som:so spa:es sqi:sq srp:sr sun:su swe:sv swh:sw tam:ta tat:tt tel:te tgk:tg tgl:tl tha:th tir:ti tuk:tk tur:tr uig:ug
ukr:uk urd:ur uzb:uz vie:vi xho:xh yor:yo zho:zh zlm:ms zul:zu
"""
_TWO_LETTERS = dict(pair.split(":") for pair in _PAIRS.split())


def bcp47(code: str) -> str:
    """The shortest code of a language, as BCP-47 wants it: "en" for "eng", "ceb" for "ceb"; "" for "".

    What MMS adds for a script or a dialect ("azj-script_latin") is left out.
    """
    language = code.partition("-")[0]
    return _TWO_LETTERS.get(language, language)
