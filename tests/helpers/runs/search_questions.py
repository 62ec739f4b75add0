"""Forty questions about a bicycle workshop, and the sentence that answers each."""

from __future__ import annotations

_TEXT = """
When can I collect my bike?|Repaired bicycles are ready for pickup from four o'clock on the day we call you.
How do I fix a flat tire?|Remove the wheel, patch or replace the inner tube, and check the rim tape for sharp edges.
My brakes squeal, why?|Noise while stopping usually comes from oil on the rotor or pads that have glazed over.
What does a yearly inspection cost?|The annual service is 79 euros and includes cables, bearings, and wheel truing.
Do you rent cargo bikes?|Load carriers can be borrowed for 35 euros a day with a deposit.
Which chain lube for rain?|In wet conditions use a thick lubricant that water doesn't wash off.
Can I bring an e-bike from another shop?|We also service electric models that were bought elsewhere, except for opening the motor.
How often should I charge the battery in winter?|During the cold months keep the accumulator between 30 and 60 percent and top it up every eight weeks.
My gears skip under load.|A worn cassette or a stretched chain makes the drivetrain jump when you pedal hard.
What tire pressure do I need?|Inflate narrow tyres to about 6 bar and wide ones to 3, as printed on the sidewall.
Is there a guarantee on repairs?|Our work is covered for twelve months, wear parts excluded.
Can I pay by card?|We accept debit and credit at the counter, as well as cash.
Do you buy used bikes?|Second-hand cycles are taken in part exchange if they have papers.
How high should my saddle be?|Sit with your heel on the pedal: the leg should be straight at the lowest point.
My lock is frozen.|Warm the key or spray de-icer into the cylinder, never pour hot water over it.
Where are you?|The workshop is in the courtyard behind the bakery in Mill Lane 4.
Are you open on Saturday?|At the weekend we work from ten until two, Sundays closed.
Can children's seats be mounted?|Seats for toddlers fit frames without suspension at the rear.
What helmet size fits me?|Measure around your head two fingers above the eyebrows and compare it with the table.
How do I clean the frame?|Use lukewarm water and a soft brush; pressure washers push dirt into the bearings.
My spoke broke.|A wheel with a missing strand must be laced anew and trued within a day or two.
Do you do wheel building?|Custom rims are laced by hand; allow two weeks for parts.
How do I store a bike outside?|Cover it with a breathable sheet and put grease on bare metal.
Why does my light flicker?|A loose dynamo plug or a corroded cable interrupts the current to the lamp.
Can you engrave my bike?|Coding against theft takes ten minutes; bring your ID and the receipt.
What is tubeless?|Tires without an inner tube are sealed by liquid that closes small punctures itself.
My pedal creaks.|Unscrew both cranks' pedals, clean the threads, and refit them with grease.
Is my bike insured while you have it?|Everything left with us overnight is covered by our policy up to 5000 euros.
May I watch the repair?|Customers can look over the mechanic's shoulder on Thursday evenings.
How long do brake pads last?|Expect 1500 to 3000 kilometres from a set, fewer in the mountains.
Which bell is loudest?|The brass model with a spring hammer is heard from fifty metres away.
Can you adjust suspension?|We set sag and rebound of forks to your weight.
Do you deliver?|Within the city a courier brings your bicycle home for 12 euros.
What if parts are not in stock?|Components that we must order arrive within three working days on average.
How do I cancel an appointment?|Call or write until noon of the day before and the slot is released free of charge.
My handlebar is loose.|Tighten the stem bolts evenly with a torque wrench to 5 newton metres.
Is there a course for beginners?|Every first Monday we teach basic maintenance to six people.
Can I ride after surgery?|Ask your doctor; an upright position and low gears are gentle on the knee.
Do you have vouchers?|Gift cards of any amount are sold at the till and never expire.
Why is my motor not helping?|If assistance is missing, check the speed sensor and the magnet on the spoke.
"""

#: Rows with a query and the text that answers it.
SEARCH_QUESTIONS = [
    {"query": query, "positive": positive}
    for query, positive in (line.split("|") for line in _TEXT.strip().splitlines())
]
