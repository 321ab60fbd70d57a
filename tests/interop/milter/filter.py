# A filter that does what the message asks for: each field X-Do holds a method of Milter.Base and its arguments as JSON,
# or "return" and a verdict; all are done in turn at the end of the message.
import json
import sys

import Milter

VERDICTS = {name.lower(): getattr(Milter, name) for name in ("ACCEPT", "CONTINUE", "DISCARD", "REJECT", "TEMPFAIL")}


class Filter(Milter.Base):
    def envfrom(self, sender, *parameters):
        self.todo = []
        return Milter.CONTINUE

    def header(self, name, value):
        if name == "X-Do":
            self.todo.append(json.loads(value))
        return Milter.CONTINUE

    def eom(self):
        for method, *arguments in self.todo:
            if method == "return":
                return VERDICTS[arguments[0]]
            getattr(self, method)(*arguments)
        return Milter.CONTINUE


Milter.factory = Filter
Milter.set_flags(Milter.CURR_ACTS)
Milter.runmilter("filter", sys.argv[1], timeout=30)
