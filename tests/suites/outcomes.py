# A plugin for pytest: writes what became of each test into the file $OUTCOMES, null or why it failed.
import json
import os

outcomes = {}


def pytest_runtest_logreport(report):
    if report.failed:
        crash = getattr(report.longrepr, "reprcrash", None)
        outcomes[report.nodeid] = crash.message if crash else str(report.longrepr)
    else:
        outcomes.setdefault(report.nodeid, None)


def pytest_sessionfinish():
    with open(os.environ["OUTCOMES"], "w") as file:
        json.dump(outcomes, file)
