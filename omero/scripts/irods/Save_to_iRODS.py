#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Save to iRODS: a script that OMERO runs for a person who chose something in OMERO.web.

It is also a plugin of the command `omero`: `omero --path Save_to_iRODS.py irods save Dataset:4`.

It shows the session that it was started with to the agent beside OMERO, which asks OMERO whose it is and what it may read. iRODS
fetches the files from there by itself. Only omero-py and the standard library are used.
"""

import http.client
import json
import os
import socket
import ssl
import sys
import time
import urllib.parse

VERSION = "1.0.0"
DEFAULT_AGENT = "unix:/run/irods-omero/agent.sock"
CONFIGURATION = "/etc/irods-omero/save.conf"
# OMERO gives values of its configuration to everybody where they begin so.
OMERO_KEYS = "omero.client.irods."
KEYS = ("agent", "server", "ca_file")
# How long the agent may take to list what was chosen, in seconds.
PATIENCE = 900
# How much of an answer is read, in bytes.
MAX_ANSWER = 32 * 1024 * 1024
MAX_SHOWN = 10


class Failed(Exception):
    """Nothing was done, and a person reads why."""


# ----------------------------------------------------------------------------------------------------------------------
# The agent


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a socket of this host."""

    def __init__(self, path, timeout):
        super().__init__("agent", timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Agent:
    """The agent, asked in the session of one person."""

    def __init__(self, settings, session):
        self.address = settings.get("agent") or DEFAULT_AGENT
        self.ca_file = settings.get("ca_file") or None
        self.headers = {"OMERO-Session": session, "Accept": "application/json", "User-Agent": "Save_to_iRODS/" + VERSION}
        if settings.get("server"):
            self.headers["OMERO-Server"] = settings["server"]

    def connection(self):
        if self.address.startswith("unix:"):
            return UnixConnection(self.address[len("unix:"):], PATIENCE)
        url = urllib.parse.urlsplit(self.address)
        if url.scheme != "https" or not url.hostname or url.path not in ("", "/"):
            # The key of a session goes to nobody who could be anybody.
            raise Failed("The address of the agent has to be unix:/PATH or https://HOST:PORT, and is %r. "
                         "Tell your administrator." % self.address)
        context = ssl.create_default_context(cafile=self.ca_file)
        return http.client.HTTPSConnection(url.hostname, url.port or 443, timeout=PATIENCE, context=context)

    def ask(self, method, path, body=None):
        headers, data = dict(self.headers), None
        if method == "POST":
            headers["Content-Type"] = "application/json"
            data = json.dumps({} if body is None else body).encode("utf-8")
        try:
            connection = self.connection()
            try:
                connection.request(method, path, body=data, headers=headers)
                answer = connection.getresponse()
                status, text = answer.status, answer.read(MAX_ANSWER)
            finally:
                connection.close()
        except (OSError, http.client.HTTPException) as e:
            raise Failed("The agent that saves to iRODS cannot be reached at %s (%s). Tell your administrator."
                         % (self.address, e))
        try:
            value = json.loads(text.decode("utf-8"))
        except ValueError:
            raise Failed("What answers at %s is no agent (status %d). Tell your administrator." % (self.address, status))
        if 200 <= status < 300:
            return value
        raise Failed(one_line(value.get("detail") or value.get("title") or "status %d" % status))

    def saves(self, state=None, limit=20):
        query = {"newest": "true", "limit": limit}
        if state:
            query["state"] = state
        return self.ask("GET", "/v1/saves?" + urllib.parse.urlencode(query))["saves"]

    def save(self, request):
        return self.ask("POST", "/v1/saves", request)

    def get(self, save):
        return self.ask("GET", "/v1/saves/" + urllib.parse.quote(save["id"], safe=""))

    def cancel(self, save):
        return self.ask("POST", "/v1/saves/%s/cancel" % urllib.parse.quote(save["id"], safe=""))

    def files(self, save, state, limit=MAX_SHOWN):
        query = urllib.parse.urlencode({"state": state, "limit": limit})
        return self.ask("GET", "/v1/saves/%s/files?%s" % (urllib.parse.quote(save["id"], safe=""), query))["files"]


# ----------------------------------------------------------------------------------------------------------------------
# Settings


def read_settings(path):
    """The lines `key = value` of a file; nothing where there is none."""
    settings = {}
    try:
        with open(path, encoding="utf-8") as file:
            lines = file.read(65536).splitlines()
    except (OSError, UnicodeDecodeError):
        return settings
    for line in lines:
        key, sign, value = line.partition("=")
        if sign and key.strip() in KEYS and value.strip():
            settings[key.strip()] = value.strip()
    return settings


def settings_of(client):
    """Where the agent is: beside the script, in the environment, in OMERO's configuration, or in a file of the host."""
    file = globals().get("__file__")  # the command `omero` gives its plugins none
    found = read_settings(os.path.splitext(os.path.abspath(file))[0] + ".conf") if file else {}
    if found.get("agent"):
        return found
    environment = {key: os.environ.get("OMERO_IRODS_" + key.upper()) for key in KEYS}
    if environment["agent"]:
        return environment
    if client is not None:
        values = client.getSession().getConfigService().getClientConfigValues()
        omero = {key: values.get(OMERO_KEYS + key) for key in KEYS}
        if omero["agent"]:
            return omero
    return read_settings(CONFIGURATION)


# ----------------------------------------------------------------------------------------------------------------------
# Words


def one_line(text):
    return " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())[:1000]


def size_of(count):
    for unit in ("bytes", "KB", "MB", "GB"):
        if count < 1000:
            return "%.3g %s" % (count, unit)
        count /= 1000.0
    return "%.3g TB" % count


def counted(count, what):
    return "%d %s" % (count, what if count == 1 else what + "s")


def in_words(save):
    """How far a request is, as one sentence."""
    parts = []
    for key, words in (("saved", "saved"), ("already", "in iRODS already"), ("refused", "refused")):
        if save[key]:
            parts.append("%d %s" % (save[key], words))
    left = save["files"] - save["saved"] - save["already"] - save["refused"]
    if left > 0 and save["state"] in ("queued", "running"):
        parts.append("%d to come" % left)
    state = {"queued": "waits for iRODS", "running": "is being saved", "done": "is done", "refused": "has ended",
             "cancelled": "was cancelled"}.get(save["state"], save["state"])
    words = "Request %s (%s, %s) %s" % (save["id"], counted(save["files"], "file"), size_of(save["bytes"]), state)
    if parts:
        words += ": " + ", ".join(parts)
    words += "."
    if save.get("reason"):
        words += " " + one_line(save["reason"])
    return words


def details(agent, save):
    """What became of some files, a line each."""
    lines = [one_line(note) for note in save.get("notes", [])]
    for state, key, words in (("refused", "refused", "not saved"), ("saved", "saved", "saved"),
                              ("already_in_irods", "already", "in iRODS already")):
        if not save[key]:
            continue
        some = agent.files(save, state)
        for file in some:
            lines.append("%s: %s: %s" % (one_line(file["name"]), words,
                                         one_line(file.get("reason") or file.get("path") or "")))
        if save[key] > len(some):
            lines.append("... and %d more" % (save[key] - len(some)))
    return lines


# ----------------------------------------------------------------------------------------------------------------------
# What is done


def request_of(params):
    """What is asked for, of the parameters of the script."""
    ids = params.get("IDs") or []
    if not ids:
        raise Failed("Select something in OMERO.web first, or write the numbers into the field IDs.")
    what = [word for word, name in (("files", "Original_Files"), ("attachments", "Attachments")) if params.get(name)]
    if not what:
        raise Failed("Choose at least one of Original Files and Attachments.")
    objects = list(dict.fromkeys("%s:%d" % (params["Data_Type"], i) for i in ids))
    request = {"objects": objects, "what": what, "again": bool(params.get("Copy_Again")),
               "on_conflict": params.get("If_the_Name_is_Taken") or "rename"}
    collection = (params.get("Collection") or "").strip()
    if collection:
        request["collection"] = collection.rstrip("/") or "/"
    return request


def same(save, request):
    """Whether an open request is the one that would be made: a second start looks after the first."""
    return all(save.get(key) == request.get(key) for key in ("objects", "what", "collection", "again", "on_conflict"))


def wait(agent, save, seconds):
    """Waits for the end of a request, no longer than some seconds."""
    end = time.monotonic() + seconds
    while save["state"] in ("queued", "running") and time.monotonic() < end:
        time.sleep(min(2, max(0.05, end - time.monotonic())))
        save = agent.get(save)
    return save


def show_all(agent):
    saves = agent.saves()
    if not saves:
        return "You have not asked for anything to be saved in iRODS.", []
    lines = []
    for save in saves[:MAX_SHOWN]:
        lines.append(in_words(save))
        lines.extend("    " + line for line in details(agent, save))
    return in_words(saves[0]) if len(saves) == 1 else "%s The others are in the log." % in_words(saves[0]), lines


def run_with(agent, params):
    """Does what the parameters say. Gives the message, and more lines."""
    if params.get("Only_Show_Progress"):
        return show_all(agent)
    return ask_and_wait(agent, request_of(params), params.get("Wait_Seconds") or 0)


def ask_and_wait(agent, request, seconds):
    """Asks, unless the same is asked for already, and waits some seconds. Gives the message, and more lines."""
    before = [save for save in agent.saves("open") if same(save, request)]
    save = wait(agent, before[0] if before else agent.save(request), seconds)
    message = in_words(save)
    if save["state"] in ("queued", "running"):
        message += " You need not wait: start this again to see how far it is."
    return message, details(agent, save)


def parameters():
    import omero.scripts as scripts
    from omero.rtypes import rlong, rstring
    kinds = [rstring(kind) for kind in ("Image", "Dataset", "Project", "Plate", "Screen")]
    conflicts = [rstring(word) for word in ("rename", "refuse")]
    return [
        scripts.String("Data_Type", optional=False, grouping="1", values=kinds, default="Image",
                       description="What you selected"),
        scripts.List("IDs", optional=True, grouping="2",
                     description="The numbers of what you selected").ofType(rlong(0)),
        scripts.Bool("Original_Files", grouping="3", default=True,
                     description="Save the files as they were imported, whole, with their directories"),
        scripts.Bool("Attachments", grouping="4", default=False,
                     description="Save the files that are attached to what you selected, and to the images in it"),
        scripts.String("Collection", optional=True, grouping="5",
                       description="Where to in iRODS, such as /zone/home/me/project; empty: the usual place. "
                                   "{user}, {group}, {project}, {dataset}, {screen}, {plate} stand for the names"),
        scripts.String("If_the_Name_is_Taken", optional=False, grouping="6", values=conflicts, default="rename",
                       description="What is done where other data has the name of a file. Nothing is ever overwritten"),
        scripts.Bool("Copy_Again", grouping="7", default=False,
                     description="Copy also what is in iRODS already, because it was imported from there"),
        scripts.Bool("Only_Show_Progress", grouping="8", default=False,
                     description="Save nothing: show how far your requests are"),
        scripts.Int("Wait_Seconds", optional=True, grouping="9", default=20, min=0, max=600,
                    description="How long to wait here for the end; what is not done by then goes on"),
    ]


def run():
    import omero.scripts as scripts
    from omero.rtypes import rstring
    client = scripts.client(
        "Save_to_iRODS.py",
        "Save what you selected in iRODS, where it belongs to you. iRODS fetches the files by itself.\n"
        "Start it again to see how far it is.",
        *parameters(),
        version=VERSION, authors=["irods_rule_engine_plugin_omero"], contact="Your administrator")
    try:
        try:
            params = client.getInputs(unwrap=True)
            message, lines = run_with(Agent(settings_of(client), client.getSessionId()), params)
        except Failed as e:
            message, lines = "Nothing was saved: %s" % e, []
            sys.stderr.write("%s\n" % message)
        for line in [message] + lines:
            print(line)
        client.setOutput("Message", rstring(message))
    finally:
        client.closeSession()


# ----------------------------------------------------------------------------------------------------------------------
# The command `omero irods`


HELP = """Save what is in OMERO in iRODS, where it belongs to you

iRODS fetches the files by itself: nobody has to wait for it.

Examples:
    omero irods save Dataset:4 Image:12
    omero irods save Plate:3 --attachments --collection /zone/home/me/plates
    omero irods status
    omero irods cancel 7f07b310-s2
"""


def control():
    """The plugin, for the command `omero` that loads this file."""
    from omero.cli import BaseControl

    class IrodsControl(BaseControl):
        def _configure(self, parser):
            sub = parser.sub()
            save = parser.add(sub, self.save, help="Ask for files to be saved in iRODS")
            save.add_argument("objects", nargs="+", metavar="Class:ID",
                              help="Image, Dataset, Project, Plate or Screen with its number")
            save.add_argument("--no-files", action="store_true", help="Without the original files")
            save.add_argument("--attachments", action="store_true", help="With the attached files")
            save.add_argument("--collection", help="Where to in iRODS; the usual place if not given")
            save.add_argument("--again", action="store_true", help="Copy also what is in iRODS already")
            save.add_argument("--refuse", action="store_true", help="Leave out a file whose name is taken by other data")
            save.add_argument("--wait", type=int, default=0, metavar="SECONDS", help="How long to wait for the end")
            status = parser.add(sub, self.status, help="Show how far your requests are")
            cancel = parser.add(sub, self.cancel, help="End a request; what is in iRODS stays there")
            cancel.add_argument("request", help="Its number, as status shows it")
            for command in (save, status, cancel):
                command.add_login_arguments()

        def agent(self, args):
            client = self.ctx.conn(args)
            return Agent(settings_of(client), client.getSessionId())

        def tell(self, work):
            try:
                message, lines = work()
            except Failed as e:
                self.ctx.die(1, str(e))
                return
            for line in lines or [message]:
                self.ctx.out(line)

        def save(self, args):
            what = [word for word, wanted in (("files", not args.no_files), ("attachments", args.attachments)) if wanted]
            request = {"objects": list(dict.fromkeys(args.objects)), "what": what, "again": args.again,
                       "on_conflict": "refuse" if args.refuse else "rename"}
            if args.collection:
                request["collection"] = args.collection.rstrip("/") or "/"

            def work():
                message, lines = ask_and_wait(self.agent(args), request, args.wait)
                return message, [message] + lines

            self.tell(work)

        def status(self, args):
            self.tell(lambda: show_all(self.agent(args)))

        def cancel(self, args):
            self.tell(lambda: (in_words(self.agent(args).cancel({"id": args.request})), []))

    return IrodsControl


if "register" in globals():
    register("irods", control(), HELP)  # noqa: F821
elif __name__ == "__main__":
    run()
