import json
import os


class Param:
    def __init__(self, name, **about):
        self.name, self.about = name, about

    def ofType(self, _kind):  # noqa: N802
        return self


String = List = Bool = Int = Param


class Client:
    def __init__(self, name, description, *params, **about):
        self.params = params

    def getInputs(self, unwrap=False):  # noqa: N802
        given = json.loads(os.environ["SCRIPT_INPUTS"])
        inputs = {p.name: p.about["default"] for p in self.params if "default" in p.about}
        unknown = set(given) - {p.name for p in self.params}
        assert unwrap and not unknown, unknown
        inputs.update(given)
        return inputs

    def getSessionId(self):  # noqa: N802
        return os.environ["SCRIPT_SESSION"]

    def getSession(self):  # noqa: N802
        return self

    def getConfigService(self):  # noqa: N802
        return self

    def getClientConfigValues(self):  # noqa: N802
        return json.loads(os.environ.get("SCRIPT_CONFIG", "{}"))

    def setOutput(self, name, value):  # noqa: N802
        with open(os.environ["SCRIPT_OUTPUT"], "w") as file:
            json.dump({name: value}, file)

    def closeSession(self):  # noqa: N802
        pass


client = Client
