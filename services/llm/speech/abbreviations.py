"""Words whose full stop does not end a sentence, in lower case and without their last stop. Data."""

_ALWAYS_FOLLOWED = """
dr mr mrs ms mx prof st mt messrs mme mlle vs e.g i.e eg ie cf viz approx
gen col sgt capt lt cmdr maj adm gov sen rep rev hon pres supt
bzw z.b d.h u.a o.ä s.o s.u v.a i.d.r bspw ggf evtl inkl zzgl hr fr dipl
m.m mgr sra srta dra ud uds p.ej p.ex pág sig dott
т.е т.к т.н г-н ул им
"""
_BEFORE_CAPITAL = """
etc inc ltd co corp bros jr sr esq a.m p.m am pm ph.d b.a m.a b.sc m.sc m.d al dept est min max avg misc
jan feb mar apr jun jul aug sep sept oct nov dec mon tue tues wed thu thurs fri sat sun
ave blvd rd hrs mins secs lb lbs oz ft tel ext usw u.s.w и.т.д т.д т.п др
"""
_NUMBERED = "no nos nr fig figs p pp vol ch sec eq art cap núm n.º"

NEVER_ENDS = frozenset(_ALWAYS_FOLLOWED.split())
"""Titles and the like, which something always follows."""

ENDS_BEFORE_CAPITAL = frozenset(_BEFORE_CAPITAL.split())
"""Those that may end a sentence: they do where a capital letter follows."""

ENDS_UNLESS_NUMBER = frozenset(_NUMBERED.split())
"""Those that stand before a number, and are ordinary words elsewhere ("No. 5", "No. I mean it.")."""
