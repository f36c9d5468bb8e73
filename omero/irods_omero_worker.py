#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Asks OMERO what the plugin and the agent want to know, and does there what they want done.

One JSON object a line comes in on standard input, exactly one goes out on standard output for each: docs/worker.md
says which. Only omero-py and the standard library are used. What libraries print goes to standard error.

A request has a limit in seconds. It is answered when that is over, whatever OMERO does: the call that still runs at
the server is bounded by the same limit, and every method can be asked again.
"""

import collections
import json
import os
import queue
import re
import stat
import sys
import threading
import time

PROTOCOL = 1
VERSION = "1"

# The longest line in and out, with its line break, in bytes.
MAX_LINE = 64 * 1024 * 1024
# How many requests are worked on at a time.
AT_A_TIME = 8
# How many wait for that, before further ones are refused.
MAX_WAITING = 256
MAX_LIMIT = 86400.0
MAX_MESSAGE = 1000
# How many values one query is asked with: PostgreSQL takes 32,767 in a statement.
CHUNK = 1000
# How many objects are saved in one transaction.
SAVED_AT_ONCE = 500
# How long a save that its request has not waited for may go on, in seconds.
SAVE_LIMIT = 600.0
# How long a sign of life may take, in seconds.
KNOCK_LIMIT = 20.0
# How long the sessions may take to end, and the process after the end of its input, in seconds.
END_LIMIT = 10.0
MAX_PASSWORD_FILE = 16384
MAX_PATHS = 20000
MAX_ITEMS = 5000
MAX_ENTRIES = 20000
MAX_DELETIONS = 10000
# What a person can choose to have saved, how many of it in one request, and how many images are named of a fileset.
CHOSEN_KINDS = ("Image", "Dataset", "Project", "Plate", "Screen")
MAX_OBJECTS = 1000
NAMED_IMAGES = 20
# How long a visit to a person's session lasts that nobody uses or ends, in seconds.
VISIT_LIMIT = 600.0
# The key of a session as OMERO makes it: a UUID.
SESSION_KEY = re.compile(r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$")
# A bit of OMERO's permissions: members of the group may write.
GROUP_MAY_WRITE = 1 << 5
ALL_GROUPS = {"omero.group": "-1"}
DEFAULT_PORTS = {"wss": 443, "ws": 80, "ssl": 4064, "tcp": 4063}

RETRY = {"connection", "session_expired", "busy", "time_limit", "password", "omero_py", "internal"}
FINAL = {"no_user", "no_group", "no_privilege", "not_found", "not_linkable", "refused"}


class Failed(Exception):
    """What a request is answered with instead of a result."""

    def __init__(self, kind, message):
        super().__init__(message)
        self.kind = kind
        self.message = str(message)

    def as_json(self):
        if self.kind in RETRY:
            name = "retry"
        elif self.kind in FINAL:
            name = "final"
        else:
            name = "request"
        return {"kind": self.kind, "class": name, "message": one_line(self.message)}


def one_line(text):
    text = "".join(c if c.isprintable() else " " for c in str(text))
    return " ".join(text.split())[:MAX_MESSAGE]


# ----------------------------------------------------------------------------------------------------------------------
# Parameters


class Params:
    """The parameters of a request; each is asked for once, and what nobody asked for is a mistake."""

    def __init__(self, given):
        if given is None:
            given = {}
        if not isinstance(given, dict):
            raise Failed("bad_params", "params is not an object")
        self.given = dict(given)

    def _take(self, name, default):
        if name not in self.given:
            if default is _REQUIRED:
                raise Failed("bad_params", "%s is missing" % name)
            return default
        return self.given.pop(name)

    def text(self, name, default=None, optional=False):
        value = self._take(name, default if optional else _REQUIRED)
        if value is None and optional:
            return default
        return check_text(name, value)

    def number(self, name, low, high, default=None):
        value = self._take(name, _REQUIRED if default is None else default)
        return check_number(name, value, low, high)

    def flag(self, name, default):
        value = self._take(name, default)
        if not isinstance(value, bool):
            raise Failed("bad_params", "%s is neither true nor false" % name)
        return value

    def object(self, name, optional=False):
        value = self._take(name, None if optional else _REQUIRED)
        if value is None and optional:
            return None
        return Params.of(name, value)

    @staticmethod
    def of(name, value):
        if not isinstance(value, dict):
            raise Failed("bad_params", "%s is not an object" % name)
        return Params(value)

    def list(self, name, check, most, optional=False):
        value = self._take(name, [] if optional else _REQUIRED)
        if not isinstance(value, list):
            raise Failed("bad_params", "%s is not a list" % name)
        if len(value) > most:
            raise Failed("bad_params", "%s has more than %d elements" % (name, most))
        return [check(name, element) for element in value]

    def end(self):
        if self.given:
            raise Failed("bad_params", "unknown: %s" % ", ".join(sorted(map(str, self.given))))


_REQUIRED = object()


def check_text(name, value):
    if not isinstance(value, str) or "\0" in value:
        raise Failed("bad_params", "%s is not a text" % name)
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise Failed("bad_params", "%s is no valid Unicode" % name)
    return value


def check_number(name, value, low, high):
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise Failed("bad_params", "%s is not a whole number from %d to %d" % (name, low, high))
    return value


def check_id(name, value):
    return check_number(name, value, 0, 2 ** 63 - 1)


def check_object(name, value):
    if not isinstance(value, list) or len(value) != 2 or value[0] not in CHOSEN_KINDS:
        raise Failed("bad_params", "%s holds something that is not one of %s with an id" % (name, ", ".join(CHOSEN_KINDS)))
    return value[0], check_id(name, value[1])


def check_pair(name, value):
    if not isinstance(value, list) or len(value) != 2:
        raise Failed("bad_params", "%s holds something that is not a pair" % name)
    return [check_text(name, element) for element in value]


def check_place(name, value):
    if not isinstance(value, list) or len(value) != 2:
        raise Failed("bad_params", "%s holds something that is not an id with a path" % name)
    return check_id(name, value[0]), check_text(name, value[1])


def chunks(values, size=CHUNK):
    values = list(values)
    return [values[start:start + size] for start in range(0, len(values), size)]


# ----------------------------------------------------------------------------------------------------------------------
# Time


class Deadline:
    """When a request has to be answered."""

    def __init__(self, seconds):
        self.end = time.monotonic() + seconds

    def left(self):
        return self.end - time.monotonic()

    def check(self):
        if self.left() <= 0:
            raise Failed("time_limit", "not done within the time limit of the request")

    def milliseconds(self):
        self.check()
        return max(1, int(self.left() * 1000))


# ----------------------------------------------------------------------------------------------------------------------
# OMERO


def omero_py():
    """omero-py; imported when it is needed, so that a Python without it can say so."""
    try:
        import Glacier2  # noqa: F401
        import Ice  # noqa: F401
        import omero  # noqa: F401
        import omero.clients
        import omero.model
        import omero.rtypes
        import omero.sys  # noqa: F401
    except ImportError as e:
        raise Failed("omero_py", "the Python %s has no usable omero-py: %s" % (sys.executable, e))
    return omero


def version_of_omero_py():
    try:
        from importlib.metadata import version  # Python 3.8
        return version("omero-py")
    except Exception:  # installed in another way
        try:
            from omero_version import omero_version
            return str(omero_version)
        except Exception:
            return "unknown"


class Server:
    """Where OMERO is."""

    def __init__(self, params):
        self.host = params.text("host")
        given = params.given.get("port")
        params.given.pop("port", None)
        port = None if given is None else check_number("port", given, 1, 65535)
        params.end()
        match = re.match(r"^(\w+)://([^:/]+)(?::(\d+))?(/.*)?$", self.host)
        if match:
            scheme, _, digits, _ = match.groups()
            if digits:
                port = check_number("host", int(digits), 1, 65535)
            elif port is None:
                port = DEFAULT_PORTS.get(scheme)
                if port is None:
                    raise Failed("bad_params", "the host %s needs a port" % self.host)
        elif "://" in self.host or not self.host:
            raise Failed("bad_params", "the host is neither a name nor a URL")
        self.port = 4064 if port is None else port

    def client(self, deadline):
        """A client that is not connected yet; a call of it takes no longer than is left."""
        omero = omero_py()
        connect = min(deadline.milliseconds(), 30000)
        args = [
            "--Ice.Override.ConnectTimeout=%d" % connect,
            "--Ice.Default.InvocationTimeout=%d" % deadline.milliseconds(),
        ]
        client = omero.client(args=args, host=self.host, port=self.port)
        client.setAgent("irods-omero")
        return client

    def __str__(self):
        return self.host if "://" in self.host else "%s:%d" % (self.host, self.port)


def read_password(path):
    """The password in the one line of a file that only this account, or root, can write and read."""
    def refuse(why):
        return Failed("password", "the password file %s %s" % (path, why))

    try:
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as e:
        raise refuse("cannot be read: %s" % e.strerror)
    try:
        about = os.fstat(file)
        if not stat.S_ISREG(about.st_mode):
            raise refuse("is not a regular file")
        # A credential of systemd is kept from others by its directory; an ACL on it shows as rights of the group.
        credentials = os.environ.get("CREDENTIALS_DIRECTORY", "")
        is_credential = os.path.isabs(credentials) and os.path.dirname(path) == credentials.rstrip("/")
        if about.st_mode & (0o027 if is_credential else 0o077):
            raise refuse("can be read by others; run chmod 0600 on it")
        if about.st_uid not in (os.geteuid(), 0):
            raise refuse("belongs to another account")
        data = os.read(file, MAX_PASSWORD_FILE)
    except OSError as e:
        raise refuse("cannot be read: %s" % e.strerror)
    finally:
        os.close(file)
    try:
        password = data.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        raise refuse("is not UTF-8")
    if not password or "\n" in password or "\0" in password:
        raise refuse("must hold the password in its one line")
    return password


def said(error):
    """What an error of omero-py says for people."""
    for name in ("message", "reason"):
        text = getattr(error, name, None)
        if isinstance(text, str) and text.strip():
            return text
    text = str(error)
    # The text of an Ice error is a whole structure; its first line names it.
    return text.split("\n")[0] if text.strip() else type(error).__name__


def unanswered(error):
    """The answer where OMERO's router refuses a login because the server behind it does not answer. It is the router's word
    for every exception of the server's (`SessionRouterI.cpp` of Glacier2); seen on 5.6.12 with a server that hung."""
    if said(error).strip().lower() != "internal server error":
        return None
    return Failed("connection", "OMERO's router answers, and the server behind it does not (internal server error)")


def translated(error):
    """The answer for an error that omero-py or Ice raised."""
    if isinstance(error, Failed):
        return error
    import Glacier2
    import Ice
    import omero
    text = "%s: %s" % (type(error).__name__, said(error))
    if isinstance(error, Ice.InvocationTimeoutException):
        return Failed("time_limit", "OMERO did not answer within the time limit of the request")
    session = (omero.RemovedSessionException, omero.SessionTimeoutException, omero.SessionException,
               Glacier2.SessionNotExistException)
    if isinstance(error, omero.ShutdownInProgress):
        return Failed("busy", "OMERO is being shut down")
    if isinstance(error, session):
        return Failed("session_expired", text)
    if isinstance(error, (omero.ConcurrencyException, omero.OverUsageException)):
        return Failed("busy", text)
    if isinstance(error, omero.SecurityViolation):
        return Failed("refused", text)
    gone = (Ice.ObjectNotExistException, Ice.ConnectionLostException, Ice.CloseConnectionException,
            Ice.ForcedCloseConnectionException, Ice.CommunicatorDestroyedException)
    if isinstance(error, gone):
        return Failed("connection", "the connection to OMERO was lost (%s)" % type(error).__name__)
    if isinstance(error, Ice.ConnectionRefusedException):
        return Failed("connection", "OMERO cannot be reached: connection refused")
    if isinstance(error, Ice.DNSException):
        host = getattr(error, "host", "")
        return Failed("connection", "OMERO cannot be reached: the host name %s cannot be found" % host)
    if isinstance(error, (Ice.ConnectTimeoutException, Ice.TimeoutException)):
        return Failed("connection", "OMERO cannot be reached: no connection within the time limit")
    unreachable = (Ice.SocketException, Ice.SecurityException, Ice.ProtocolException, Ice.ConnectFailedException)
    if isinstance(error, unreachable):
        reason = getattr(error, "reason", "") or os.strerror(getattr(error, "error", 0) or 0)
        return Failed("connection", "OMERO cannot be reached: %s %s" % (type(error).__name__, reason))
    return Failed("internal", text)


def is_lost(error):
    """Whether a client is of no use any more, although the session may live."""
    if isinstance(error, Failed):
        return error.kind in ("connection", "session_expired")
    import Ice
    if isinstance(error, Ice.InvocationTimeoutException):
        return False
    return isinstance(error, Ice.LocalException) or translated(error).kind == "session_expired"


def number(value):
    """A number of a row, whatever OMERO's class of numbers."""
    return None if value is None else int(value)


class Session:
    """An open session of one OMERO user, kept alive."""

    def __init__(self, server, key, idle):
        self.server = server
        self.key = key
        self.idle = idle
        self.lock = threading.RLock()
        self.client = None
        self.context = None
        self.knocked = time.monotonic()
        # Filesets whose annotation is being saved by a request that has been answered.
        self.saving = {}
        self.saving_lock = threading.Lock()

    def connected(self, deadline):
        """The client; joined anew if it was lost."""
        import Glacier2
        with self.lock:
            if self.client is not None:
                return self.client
            client = self.server.client(deadline)
            try:
                factory = client.joinSession(self.key)
                factory.detachOnDestroy()
                self.context = factory.getAdminService().getEventContext()
                if self.idle is None:
                    idle = factory.getSessionService().getSession(self.key).timeToIdle
                    self.idle = max(30.0, (idle.val or 900000) / 1000.0)
            except (Glacier2.PermissionDeniedException, Glacier2.CannotCreateSessionException) as e:
                close(client)
                raise unanswered(e) or Failed("session_expired", "OMERO does not know the session any more: %s" % said(e))
            except BaseException:
                close(client)
                raise
            self.client = client
            self.knocked = time.monotonic()
            return client

    def lose(self, client):
        with self.lock:
            if self.client is client:
                self.client = None
        close(client)

    def run(self, deadline, work):
        """Runs work with the client; once more with a new one if the connection was lost."""
        for attempt in (1, 2):
            client = self.connected(deadline)
            try:
                result = work(client)
                self.knocked = time.monotonic()
                return result
            except Exception as e:
                if not is_lost(e):
                    raise
                self.lose(client)
                if attempt == 2:
                    raise
            deadline.check()

    def knock(self):
        """A sign of life."""
        deadline = Deadline(KNOCK_LIMIT)

        def work(client):
            limited(client.getSession(), deadline).keepAlive(None)

        self.run(deadline, work)

    def query(self, client, deadline):
        return Query(limited(client.getSession().getQueryService(), deadline), deadline)

    def user_id(self):
        return int(self.context.userId)

    def as_json(self):
        context = self.context
        return {
            "session": self.key,
            "user": context.userName,
            "user_id": int(context.userId),
            "group": context.groupName,
            "group_id": int(context.groupId),
        }

    def end(self, deadline):
        """Ends it for everybody. Gives whether it was there."""
        def work(client):
            import omero
            service = limited(client.getSession().getSessionService(), deadline)
            wanted = omero.model.SessionI()
            wanted.uuid = omero.rtypes.rstring(self.key)
            try:
                while service.closeSession(wanted) > 0:
                    deadline.check()
            except omero.RemovedSessionException:
                pass

        client = None
        try:
            client = self.connected(deadline)
            work(client)
            return True
        except Failed as e:
            if e.kind == "session_expired":
                return False
            raise
        except Exception as e:
            if translated(e).kind == "session_expired" or type(e).__name__ == "ObjectNotExistException":
                return False
            raise
        finally:
            if client is not None:
                self.lose(client)


class Visit:
    """The session of a person, while something is asked with their rights."""

    def __init__(self, session):
        self.session = session
        self.users = 0
        self.used = time.monotonic()


def limited(proxy, deadline):
    """A proxy whose calls take no longer than is left."""
    limit = getattr(proxy, "ice_invocationTimeout", None)
    return limit(deadline.milliseconds()) if limit is not None else proxy


def close(client):
    try:
        client.closeSession()
    except Exception:
        pass  # it was lost, which is why it is closed


class Query:
    """Questions in HQL, with their values beside them."""

    def __init__(self, service, deadline):
        self.service = service
        self.deadline = deadline

    def rows(self, hql, context=ALL_GROUPS, **values):
        """The rows, each a list of Python values."""
        import omero.sys
        from omero.rtypes import rbool, rint, rlist, rlong, rstring, unwrap

        def wrapped(value):
            if isinstance(value, bool):
                return rbool(value)
            if isinstance(value, int):
                return rlong(value)
            if isinstance(value, str):
                return rstring(value)
            return rlist([wrapped(element) for element in value])

        self.deadline.check()
        params = omero.sys.Parameters()
        params.map = {name: wrapped(value) for name, value in values.items() if name != "most"}
        params.theFilter = omero.sys.Filter()
        if "most" in values:
            params.theFilter.limit = rint(values["most"])
            params.theFilter.offset = rint(0)
        return [[unwrap(column) for column in row] for row in self.service.projection(hql, params, context)]

    def rows_in(self, hql, ids, context=ALL_GROUPS, **values):
        """The rows of a query about `:ids`, asked in pieces."""
        rows = []
        for some in chunks(ids):
            rows.extend(self.rows(hql, context, ids=some, **values))
        return rows

    def objects(self, hql, context=ALL_GROUPS, **values):
        import omero.sys
        from omero.rtypes import rlist, rlong
        self.deadline.check()
        params = omero.sys.Parameters()
        params.map = {name: rlist([rlong(v) for v in value]) for name, value in values.items()}
        return self.service.findAllByQuery(hql, params, context)


# ----------------------------------------------------------------------------------------------------------------------
# Methods


class Worker:
    """The sessions, and what can be asked."""

    def __init__(self):
        self.sessions = {}
        # Sessions of people, which are theirs: neither kept alive nor ended. With how many requests of the agent use each.
        self.visits = {}
        self.lock = threading.Lock()
        self.methods = {
            "hello": self.hello,
            "probe": self.probe,
            "login": self.login,
            "join": self.join,
            "logout": self.logout,
            "filesets": self.filesets,
            "files": self.files,
            "relocate": self.relocate,
            "container": self.container,
            "lonely": self.lonely,
            "put": self.put,
            "annotate": self.annotate,
            "delete": self.delete,
            "deletions": self.deletions,
            "leftovers": self.leftovers,
            "visit": self.visit,
            "leave": self.leave,
            "chosen": self.chosen,
            "chosen_files": self.chosen_files,
            "shutdown": self.shutdown,
        }

    def answer(self, method, given, deadline):
        """The result of a request."""
        known = self.methods.get(method)
        if known is None:
            raise Failed("unknown_method", "there is no method %s" % method)
        deadline.check()
        try:
            return known(Params(given), deadline)
        except Failed:
            raise
        except MemoryError:
            raise Failed("internal", "out of memory")
        except Exception as e:
            raise translated(e)

    # -- sessions --

    def hello(self, params, _deadline):
        params.end()
        omero_py()
        import Ice
        return {
            "protocol": PROTOCOL,
            "worker": VERSION,
            "omero_py": version_of_omero_py(),
            "ice": Ice.stringVersion(),
            "python": ".".join(str(part) for part in sys.version_info[:3]),
        }

    def probe(self, params, deadline):
        server = Server(params.object("server"))
        sudo_user, path = params.text("sudo_user"), params.text("password_file")
        params.end()
        client = self.admin(server, sudo_user, path, deadline)
        try:
            factory = client.getSession()
            context = limited(factory.getAdminService(), deadline).getEventContext()
            version = limited(factory.getConfigService(), deadline).getVersion()
            return {
                "server_version": version,
                "privileges": sorted(context.adminPrivileges or []),
                "is_admin": bool(context.isAdmin),
            }
        finally:
            close(client)

    def deletions(self, params, deadline):
        """The filesets that were deleted, by OMERO's own log of events."""
        server = Server(params.object("server"))
        sudo_user, path = params.text("sudo_user"), params.text("password_file")
        after = params.number("after", 0, 2 ** 63 - 1) if "after" in params.given else None
        count = params.number("count", 1, MAX_DELETIONS, 1000)
        params.end()
        client = self.admin(server, sudo_user, path, deadline)
        try:
            query = Query(limited(client.getSession().getQueryService(), deadline), deadline)
            # Asked first: what comes meanwhile is the next request's.
            last = number(query.rows("select max(l.id) from EventLog l")[0][0]) or 0
            rows = [] if after is None or after >= last else query.rows(
                "select l.id, l.entityId, u.omeName, e.time from EventLog l join l.event e join e.experimenter u "
                "where l.id > :after and l.id <= :last and l.action = 'DELETE' "
                "and l.entityType = 'ome.model.fs.Fileset' order by l.id", after=after, last=last, most=count)
        finally:
            close(client)
        is_more = len(rows) == count
        return {
            "cursor": number(rows[-1][0]) if is_more else last,
            "filesets": [{
                "fileset": number(fileset),
                # OMERO keeps some names from some sessions.
                "by": None if by == "<hidden>" else by,
                "at": int(at) // 1000,
            } for _, fileset, by, at in rows],
            "more": is_more,
        }

    def admin(self, server, sudo_user, password_file, deadline):
        """A client in which the sudo user is logged in."""
        password = read_password(password_file)
        omero_py()
        import Glacier2
        import omero
        client = server.client(deadline)
        try:
            client.createSession(sudo_user, password)
            return client
        except Glacier2.PermissionDeniedException as e:
            close(client)
            raise unanswered(e) or Failed("password", "OMERO refused the password of '%s': check omero/password_file (%s)"
                         % (sudo_user, said(e)))
        except omero.SecurityViolation as e:
            close(client)
            raise Failed("no_privilege", "OMERO does not let '%s' log in, which opens the sessions of others by its "
                         "privilege Sudo (%s)" % (sudo_user, said(e)))
        except omero.WrappedCreateSessionException as e:
            close(client)
            kind = "busy" if e.concurrency else "internal"
            raise Failed(kind, "OMERO opened no session for '%s': %s %s" % (sudo_user, e.type, said(e)))
        except Glacier2.CannotCreateSessionException as e:
            close(client)
            raise unanswered(e) or Failed("internal", "OMERO opened no session for '%s': %s" % (sudo_user, said(e)))
        except BaseException:
            close(client)
            raise

    def login(self, params, deadline):
        server = Server(params.object("server"))
        sudo_user, path = params.text("sudo_user"), params.text("password_file")
        user, group = params.text("user"), params.text("group", optional=True)
        idle = params.number("idle", 30, 86400, 900)
        params.end()
        omero_py()
        import omero
        admin = self.admin(server, sudo_user, path, deadline)
        try:
            principal = omero.sys.Principal()
            principal.name = user
            principal.group = group
            principal.eventType = "User"
            service = limited(admin.getSession().getSessionService(), deadline)
            try:
                made = service.createSessionWithTimeouts(principal, 0, idle * 1000)
            except Exception as e:
                raise self.no_session(admin, e, sudo_user, user, group, deadline)
            session = Session(server, made.getUuid().getValue(), float(idle))
            try:
                # OMERO opens a session for a group that the user is not in, and refuses to work in it.
                session.connected(deadline)
            except Exception as e:
                try:
                    service.closeSession(made)
                except Exception:
                    pass  # OMERO ends it when it is idle
                raise self.no_session(admin, e, sudo_user, user, group, deadline)
        finally:
            close(admin)
        with self.lock:
            self.sessions[session.key] = session
        return session.as_json()

    def no_session(self, admin, error, sudo_user, user, group, deadline):
        """Why a session was refused: OMERO's own answers do not tell a missing user from a missing right."""
        import Glacier2
        import omero
        failed = translated(error)
        # OMERO 5.6 says of an unknown user, where a group is named, that a session was removed.
        if failed.kind not in ("internal", "refused", "session_expired"):
            return failed
        try:
            service = limited(admin.getSession().getAdminService(), deadline)
            context = service.getEventContext()
            if not context.isAdmin or "Sudo" not in (context.adminPrivileges or ["Sudo"]):
                return Failed("no_privilege", "OMERO does not let '%s' open a session for '%s': it needs the privilege "
                              "Sudo (%s)" % (sudo_user, user, said(error)))
            try:
                whose = service.lookupExperimenter(user)
            except omero.ApiUsageException:
                return Failed("no_user", "OMERO does not know the user '%s'" % user)
            if group is not None:
                try:
                    service.lookupGroup(group)
                except omero.ApiUsageException:
                    return Failed("no_group", "OMERO does not know the group '%s'" % group)
                members = [linked.name.val for linked in service.containedGroups(whose.id.val)]
                if group not in members:
                    return Failed("no_group", "the OMERO user '%s' is not a member of the group '%s'" % (user, group))
        except Exception:
            pass  # what OMERO said at first is told then
        if isinstance(error, omero.SecurityViolation):
            return Failed("no_privilege", "OMERO does not let '%s' open a session for '%s' (%s)"
                          % (sudo_user, user, said(error)))
        if isinstance(error, (omero.ApiUsageException, Glacier2.CannotCreateSessionException)):
            return Failed("no_user", "OMERO has no usable account '%s' (%s)" % (user, said(error)))
        return failed

    def join(self, params, deadline):
        server, key = Server(params.object("server")), params.text("session")
        params.end()
        omero_py()
        with self.lock:
            session = self.sessions.get(key)
        if session is None:
            session = Session(server, key, None)
            session.connected(deadline)
            with self.lock:
                session = self.sessions.setdefault(key, session)
        else:
            session.run(deadline, lambda client: limited(client.getSession(), deadline).keepAlive(None))
        return session.as_json()

    def logout(self, params, deadline):
        key = params.text("session")
        server = params.object("server", optional=True)
        server = None if server is None else Server(server)
        spare = params.number("spare", 0, 10 ** 9, 0)
        params.end()
        with self.lock:
            session = self.sessions.pop(key, None)
        if session is None:
            if server is None:
                return {"closed": False, "unfinished": False}
            omero_py()
            session = Session(server, key, 900.0)
        if spare and self.is_at_work(session, spare, deadline):
            with self.lock:
                self.sessions[key] = session
            return {"closed": False, "unfinished": True}
        return {"closed": session.end(deadline), "unfinished": False}

    def is_at_work(self, session, spare, deadline):
        """Whether OMERO may be making the images of a fileset in a session. It gives that up when the session is closed."""
        def work(client):
            query = session.query(client, deadline)
            # OMERO shows the key of a session, and finds nothing by it (seen on 5.6.12).
            rows = query.rows(
                "select f.id, e.time, s.uuid from Fileset f join f.details.creationEvent e join e.session s "
                "where f.details.owner.id = :me and f.images is empty", me=session.user_id())
            ours = {fileset: int(made) for fileset, made, key in rows if key == session.key}
            if not ours:
                return False
            since = server_time(client, deadline) - spare * 1000
            return bool(self.uploaded(query, [fileset for fileset, made in ours.items() if made > since]))

        try:
            return session.run(deadline, work)
        except Exception as e:
            failed = translated(e)
            if failed.kind == "connection":
                raise failed
            # It is ended then: a session that nobody needs must not stay.
            if failed.kind != "session_expired":
                complain("logout: %s" % failed.message)
            return False

    def session(self, params):
        key = params.text("session")
        with self.lock:
            session = self.sessions.get(key)
        if session is None:
            raise Failed("session_expired", "the worker does not have this session")
        return session

    def ask(self, session, deadline, work):
        """Runs a question: `work` gets the client and a `Query`."""
        def run(client):
            return work(client, session.query(client, deadline))

        try:
            return session.run(deadline, run)
        except Exception as e:
            failed = translated(e)
            if failed.kind == "session_expired":
                with self.lock:
                    self.sessions.pop(session.key, None)
            raise failed

    # -- sessions of people --

    def visit(self, params, deadline):
        server, key = Server(params.object("server")), params.text("session")
        params.end()
        # OMERO joins a session by a login with the key as name and as password: nothing that could be an account goes there.
        if not SESSION_KEY.match(key):
            raise Failed("session_expired", "this is no key of a session in OMERO")
        omero_py()
        with self.lock:
            visit = self.visits.setdefault(key, Visit(Session(server, key, None)))
            visit.users += 1
        try:
            visit.session.connected(deadline)
            visit.session.run(deadline, lambda client: limited(client.getSession(), deadline).keepAlive(None))
        except BaseException:
            self.end_visit(key)
            raise
        about = visit.session.as_json()
        del about["session"]
        return about

    def leave(self, params, _deadline):
        key = params.text("session")
        params.end()
        return {"left": self.end_visit(key)}

    def end_visit(self, key):
        """Ends the connection when nobody uses it any more; the session goes on."""
        with self.lock:
            visit = self.visits.get(key)
            if visit is None:
                return False
            visit.users -= 1
            if visit.users > 0:
                return True
            del self.visits[key]
        if visit.session.client is not None:
            visit.session.lose(visit.session.client)
        return True

    def visited(self, params):
        key = params.text("session")
        with self.lock:
            visit = self.visits.get(key)
        if visit is None:
            raise Failed("session_expired", "the worker does not visit this session")
        visit.used = time.monotonic()
        return visit.session

    def chosen(self, params, deadline):
        session = self.visited(params)
        objects = params.list("objects", check_object, MAX_OBJECTS)
        namespace = params.text("namespace")
        attachments = params.flag("attachments", False)
        most = params.number("most", 1, 10 ** 7)
        params.end()

        def work(_client, query):
            return Chosen(query, session.user_id(), most).find(objects, namespace, attachments)

        return self.ask(session, deadline, work)

    def chosen_files(self, params, deadline):
        session = self.visited(params)
        filesets = params.list("filesets", check_id, CHUNK)
        after = params.number("after", 0, 2 ** 63 - 1, 0)
        count = params.number("count", 1, MAX_ENTRIES, 5000)
        params.end()

        def work(_client, query):
            prefixes = query.rows("select f.id, f.templatePrefix from Fileset f where f.id in (:ids)", ids=filesets)
            prefixes = {fileset: (prefix or "").rstrip("/") for fileset, prefix in prefixes}
            rows = query.rows(
                "select fe.id, fe.fileset.id, fe.clientPath, f.id, f.path, f.name, f.size, f.hash, h.value, f.repo "
                "from FilesetEntry fe join fe.originalFile f left outer join f.hasher h "
                "where fe.fileset.id in (:ids) and fe.id > :after order by fe.id", ids=filesets, after=after, most=count + 1)
            entries, repositories = [], {}
            for entry, fileset, path, file, directory, name, size, digest, hasher, repo in rows[:count]:
                if fileset not in prefixes:
                    continue
                if repo not in repositories:
                    repositories[repo] = self.repository(query, repo)
                entries.append({"id": entry, "fileset": fileset, "path": path, "file": file, "prefix": prefixes[fileset],
                                "stored": (directory or "") + name, "size": number(size), "hash": digest, "hasher": hasher,
                                "root": (repositories[repo] or {}).get("root")})
            return {"entries": entries, "after": rows[count - 1][0] if len(rows) > count else None}

        return self.ask(session, deadline, work)

    # -- filesets --

    def filesets(self, params, deadline):
        session = self.session(params)
        paths = params.list("paths", check_text, MAX_PATHS, optional=True)
        below = params.list("below", check_text, MAX_PATHS, optional=True)
        ids = params.list("ids", check_id, MAX_PATHS, optional=True)
        namespace = params.text("namespace")
        entries = params.text("entries", "matching", optional=True)
        params.end()
        if entries not in ("matching", "all"):
            raise Failed("bad_params", "entries is neither matching nor all")

        def work(_client, query):
            me = session.user_id()
            found = {}

            def of(fileset):
                return found.setdefault(fileset, {"id": fileset, "entries": [], "directories": [], "images": [],
                                                  "plates": [], "annotation": None})

            def add(rows):
                for fileset, entry, path, size, digest, hasher in rows:
                    of(fileset)["entries"].append({"id": entry, "path": path, "size": number(size), "hash": digest,
                                                   "hasher": hasher})

            columns = "select fe.fileset.id, fe.id, fe.clientPath, f.size, f.hash, h.value from FilesetEntry fe " \
                      "join fe.originalFile f left outer join f.hasher h where "
            for some in chunks(sorted(set(paths))):
                add(query.rows(columns + "fe.clientPath in (:paths) and fe.fileset.details.owner.id = :me", paths=some,
                               me=me))
            for directory in sorted(set(below)):
                # `like` would take % and _ in a name for something else.
                start = directory.rstrip("/") + "/"
                rows = query.rows(
                    "select distinct fe.fileset.id from FilesetEntry fe where substring(fe.clientPath, 1, %d) = :start "
                    "and fe.fileset.details.owner.id = :me" % len(start), start=start, me=me)
                for (fileset,) in rows:
                    of(fileset)["directories"].append(directory)
            for (fileset,) in query.rows_in(
                    "select f.id from Fileset f where f.id in (:ids) and f.details.owner.id = :me", set(ids), me=me):
                of(fileset)
            self.describe(query, found, namespace, me)
            if entries == "all":
                for fileset in found.values():
                    fileset["entries"] = []
                small = [key for key, fileset in found.items() if fileset.get("entry_count", 0) <= MAX_ENTRIES]
                add(query.rows_in(columns + "fe.fileset.id in (:ids)", small))
                for key in set(found) - set(small):
                    add(query.rows(columns + "fe.fileset.id = :id order by fe.id", id=key, most=MAX_ENTRIES))
            for fileset in found.values():
                fileset["entries"].sort(key=lambda entry: entry["id"])
            # One that was deleted in between is not there.
            return {"filesets": [found[key] for key in sorted(found) if "created" in found[key]]}

        return self.ask(session, deadline, work)

    def describe(self, query, found, namespace, me):
        """Adds to filesets what there is to know of them."""
        rows = query.rows_in(
            "select f.id, o.omeName, f.details.group.id, e.time, s.closed from Fileset f join f.details.owner o "
            "join f.details.creationEvent e left outer join e.session s where f.id in (:ids)", found)
        for fileset, owner, group, created, closed in rows:
            found[fileset].update(owner=owner, group_id=group, created=int(created) // 1000, entry_count=0,
                                  uploaded=False, open=closed is None)
        known = [key for key, fileset in found.items() if "created" in fileset]
        rows = query.rows_in("select fe.fileset.id, count(fe.id) from FilesetEntry fe where fe.fileset.id in (:ids) "
                             "group by fe.fileset.id", known)
        for fileset, count in rows:
            found[fileset]["entry_count"] = number(count)
        for fileset in self.uploaded(query, known):
            found[fileset]["uploaded"] = True
        rows = query.rows_in("select i.fileset.id, i.id from Image i where i.fileset.id in (:ids) order by i.id", known)
        for fileset, image in rows:
            found[fileset]["images"].append(image)
        for fileset, plate in self.plates(query, known):
            found[fileset]["plates"].append(plate)
        # Only the user's own: others may be able to annotate what is the user's.
        rows = query.rows_in(
            "select l.parent.id, a.id, a.description from FilesetAnnotationLink l join l.child a "
            "where l.parent.id in (:ids) and a.ns = :namespace and a.class = MapAnnotation "
            "and a.details.owner.id = :me order by a.id", known, namespace=namespace, me=me)
        annotations = {}
        for fileset, annotation, description in rows:
            found[fileset]["annotation"] = {"id": annotation, "description": description or "", "pairs": []}
            annotations[annotation] = None
        for annotation in self.map_annotations(query, annotations):
            annotations[annotation.id.val] = pairs_of(annotation)
        for fileset in found.values():
            if fileset["annotation"] is not None:
                fileset["annotation"]["pairs"] = annotations.get(fileset["annotation"]["id"]) or []

    @staticmethod
    def uploaded(query, ids):
        """The filesets whose upload has ended: the server notes it before it begins with the metadata."""
        rows = query.rows_in(
            "select distinct l.parent.id from FilesetJobLink l, UploadJob j where l.child.id = j.id "
            "and j.status.value = 'Finished' and l.parent.id in (:ids)", ids)
        return [fileset for (fileset,) in rows]

    @staticmethod
    def plates(query, ids):
        """(fileset, plate) of filesets that are plates."""
        return query.rows_in(
            "select distinct s.image.fileset.id, p.id from Plate p join p.wells w join w.wellSamples s "
            "where s.image.fileset.id in (:ids) order by p.id", ids)

    @staticmethod
    def map_annotations(query, ids):
        found = []
        for some in chunks(ids, SAVED_AT_ONCE):
            found.extend(query.objects("select a from MapAnnotation a where a.id in (:ids)", ids=some))
        return found

    def files(self, params, deadline):
        session = self.session(params)
        wanted = params.list("fileset", check_id, 1) if isinstance(params.given.get("fileset"), list) \
            else [params.number("fileset", 0, 2 ** 63 - 1)]
        after = params.number("after", 0, 2 ** 63 - 1, 0)
        count = params.number("count", 1, MAX_ENTRIES, 5000)
        params.end()
        fileset = wanted[0]

        def work(_client, query):
            rows = query.rows(
                "select f.templatePrefix, o.omeName, o.id, f.details.group.id from Fileset f "
                "join f.details.owner o where f.id = :id", id=fileset)
            if not rows:
                raise Failed("not_found", "there is no fileset %d that this user can see" % fileset)
            prefix, owner, user, group = rows[0]
            rows = query.rows(
                "select fe.id, fe.clientPath, f.id, f.path, f.name, f.size, f.hash, h.value, f.repo from FilesetEntry fe "
                "join fe.originalFile f left outer join f.hasher h where fe.fileset.id = :id and fe.id > :after "
                "order by fe.id", id=fileset, after=after, most=count + 1)
            entries, repository = [], None
            for entry, path, file, directory, name, size, digest, hasher, repo in rows[:count]:
                repository = repository or repo
                entries.append({"id": entry, "path": path, "file": file, "name": name, "stored": (directory or "") + name,
                                "size": number(size), "hash": digest, "hasher": hasher})
            return {"fileset": fileset, "owner": owner, "user_id": user, "group_id": group,
                    "prefix": (prefix or "").rstrip("/"), "repository": self.repository(query, repository),
                    "entries": entries, "more": len(rows) > count}

        return self.ask(session, deadline, work)

    def relocate(self, params, deadline):
        session = self.session(params)
        fileset = params.number("fileset", 0, 2 ** 63 - 1)
        wanted = dict(params.list("paths", check_place, MAX_ENTRIES))
        params.end()

        def work(client, query):
            from omero.rtypes import rstring
            rows = query.rows("select f.details.group.id from Fileset f where f.id = :id and f.details.owner.id = :me",
                              id=fileset, me=session.user_id())
            if not rows:
                raise Failed("not_found", "there is no fileset %d of this user" % fileset)
            group, changed = rows[0][0], 0
            for some in chunks(sorted(wanted), SAVED_AT_ONCE):
                entries = query.objects("select fe from FilesetEntry fe where fe.fileset.id in (:filesets) and fe.id in (:ids)",
                                        filesets=[fileset], ids=some)
                other = [entry for entry in entries if entry.clientPath.val != wanted[entry.id.val]]
                for entry in other:
                    entry.clientPath = rstring(wanted[entry.id.val])
                if other:
                    save(client, other, group, deadline)
                changed += len(other)
            return {"changed": changed}

        return self.ask(session, deadline, work)

    @staticmethod
    def repository(query, uuid):
        """Where the repository of that id lies on the server."""
        if not uuid:
            return None
        # Any user can make an OriginalFile that says it is a repository; OMERO's own belong to root.
        rows = query.rows("select f.path, f.name from OriginalFile f where f.hash = :uuid and f.mimetype = 'Repository' "
                          "and f.details.owner.id = 0 order by f.id", uuid=uuid)
        return {"uuid": uuid, "root": os.path.join(rows[0][0], rows[0][1]).rstrip("/")} if rows else None

    # -- containers --

    def container(self, params, deadline):
        session = self.session(params)
        target = params.object("target")
        make = params.flag("make", True)
        params.end()
        kind = target.text("kind")
        by = choice(target)
        if kind not in ("Dataset", "Screen") and not (kind == "Project" and by[0] == "id"):
            raise Failed("bad_params", "kind is neither Dataset nor Screen, nor a Project by its id")
        project = target.object("project", optional=True)
        if project is not None:
            if kind != "Dataset" or by[0] != "name":
                raise Failed("bad_params", "only a dataset that is named lies in a project")
            within = choice(project)
            project.end()
        target.end()

        def work(client, query):
            place = Containers(session, client, query, deadline)
            if project is not None:
                found = place.in_project(within, by[1], make)
            elif by[0] == "id":
                found = (place.by_id(kind, by[1]), False)
            else:
                found = place.by_name(kind, by[1], make)
            return {"kind": kind, "id": found[0], "made": found[1]}

        return self.ask(session, deadline, work)

    def lonely(self, params, deadline):
        session = self.session(params)
        images = params.list("images", check_id, 1000000, optional=True)
        plates = params.list("plates", check_id, 1000000, optional=True)
        params.end()

        def work(_client, query):
            def without(link, ids):
                rows = query.rows_in("select distinct l.child.id from %s l where l.child.id in (:ids)" % link, ids)
                linked = {child for (child,) in rows}
                return sorted(set(ids) - linked)

            return {"images": without("DatasetImageLink", images), "plates": without("ScreenPlateLink", plates)}

        return self.ask(session, deadline, work)

    def put(self, params, deadline):
        session = self.session(params)
        kind, container = params.text("kind"), params.number("id", 0, 2 ** 63 - 1)
        children = params.list("children", check_id, 1000000)
        params.end()
        classes = {"Dataset": ("DatasetImageLink", "Image"), "Screen": ("ScreenPlateLink", "Plate")}
        if kind not in classes:
            raise Failed("bad_params", "kind is neither Dataset nor Screen")
        link, child = classes[kind]

        def work(client, query):
            import omero
            model = omero.model
            place = Containers(session, client, query, deadline)
            group = place.group_of(kind, container)
            rows = query.rows_in("select l.child.id from %s l where l.parent.id = :parent and l.child.id in (:ids)" % link,
                                 children, parent=container)
            there = {linked for (linked,) in rows}
            new = sorted(set(children) - there)
            for some in chunks(new, SAVED_AT_ONCE):
                links = []
                for one in some:
                    made = getattr(model, link + "I")()
                    made.parent = getattr(model, kind + "I")(container, False)
                    made.child = getattr(model, child + "I")(one, False)
                    links.append(made)
                save(client, links, group, deadline)
            return {"linked": len(new), "there": len(there)}

        return self.ask(session, deadline, work)

    # -- annotations --

    def annotate(self, params, deadline):
        session = self.session(params)
        namespace = params.text("namespace")
        update = params.flag("update", False)
        items = []
        for given in params.list("items", Params.of, MAX_ITEMS):
            items.append(Item(given.number("fileset", 0, 2 ** 63 - 1), given.text("description"),
                              given.list("pairs", check_pair, 1000)))
            given.end()
        params.end()
        if len({item.fileset for item in items}) != len(items):
            raise Failed("bad_params", "a fileset is named twice")

        def work(client, query):
            Annotations(session, client, query, deadline, namespace, update).run(items)

        if items:
            try:
                self.ask(session, deadline, work)
            except Failed as e:
                # What was done before counts.
                if all(item.state is None for item in items) and e.kind != "time_limit":
                    raise
                for item in items:
                    if item.state is None:
                        item.fail(e)
        return {"items": [item.as_json() for item in items]}

    # -- removal --

    def delete(self, params, deadline):
        session = self.session(params)
        ids = params.list("filesets", check_id, 1000)
        with_images = params.flag("with_images", False)
        params.end()

        def work(client, query):
            states = {}
            for fileset in dict.fromkeys(ids):
                states[fileset] = self.delete_one(session, client, query, fileset, with_images, deadline)
            return {"items": [dict(fileset=fileset, **states[fileset]) for fileset in dict.fromkeys(ids)]}

        return self.ask(session, deadline, work)

    @staticmethod
    def delete_one(session, client, query, fileset, with_images, deadline):
        def state(name, failed=None):
            return {"state": name, "error": None if failed is None else failed.as_json()}

        about = "select f.details.owner.id, f.details.group.id, (select count(i.id) from Image i where i.fileset.id = f.id) " \
                "from Fileset f where f.id = :id"
        try:
            rows = query.rows(about, id=fileset)
            if not rows:
                return state("gone")
            owner, group, images = rows[0]
            if owner != session.user_id():
                return state("not_own")
            if images and not with_images:
                return state("has_images")
            import omero
            import omero.callbacks  # noqa: F401
            import omero.cmd
            # The images of a plate go with the plate alone, and take their fileset along.
            plates = sorted({plate for _, plate in Worker.plates(query, [fileset])})
            if plates:
                shared = query.rows_in(
                    "select s.id from WellSample s where s.well.plate.id in (:ids) and s.image.fileset.id <> :fileset",
                    plates, fileset=fileset)
                if shared:
                    return state("failed", Failed("refused", "its plate shows images of other filesets too"))
            # A fileset goes with its images, whatever the options of the request say (seen on 5.6.12). That is why the images
            # are asked for just before.
            for targets in [{"Plate": plates}, {"Fileset": [fileset]}] if plates else [{"Fileset": [fileset]}]:
                request = omero.cmd.Delete2()
                request.targetObjects = targets
                run_command(client, request, {"omero.group": str(group)}, deadline)
                rows = query.rows(about, id=fileset)
                if not rows:
                    break
            if rows:
                return state("failed", Failed("internal", "the fileset is still there"))
            return state("deleted")
        except Exception as e:
            if is_lost(e):
                raise
            return state("failed", translated(e))

    def leftovers(self, params, deadline):
        session = self.session(params)
        below = params.list("below", check_text, 1000)
        older_than = params.number("older_than", 0, 10 ** 9)
        count = params.number("count", 1, 10000, 1000)
        params.end()
        roots = [root.strip("/") + "/" for root in below if root.strip("/")]

        def work(_client, query):
            # The server's clock made the times that this is compared with.
            now = query.rows("select max(e.time) from Event e")[0][0]
            now = max(int(now or 0), server_time(_client, deadline))
            rows = query.rows(
                "select f.id, e.time from Fileset f join f.details.creationEvent e where f.details.owner.id = :me "
                "and not exists (select i.id from Image i where i.fileset.id = f.id) order by f.id",
                me=session.user_id())
            old = {fileset: int(made) for fileset, made in rows if int(made) < now - older_than * 1000}
            entries = collections.defaultdict(lambda: [0, 0, None])
            conditions = " or ".join("substring(fe.clientPath, 1, %d) = :root%d" % (len(root), i)
                                     for i, root in enumerate(roots)) or "1 = 0"
            values = {"root%d" % i: root for i, root in enumerate(roots)}
            rows = query.rows_in("select fe.fileset.id, count(fe.id), min(fe.clientPath) from FilesetEntry fe "
                                 "where fe.fileset.id in (:ids) group by fe.fileset.id", old)
            for fileset, all_of_them, path in rows:
                entries[fileset][0], entries[fileset][2] = number(all_of_them), path
            rows = query.rows_in("select fe.fileset.id, count(fe.id) from FilesetEntry fe where fe.fileset.id in (:ids) "
                                 "and (%s) group by fe.fileset.id" % conditions, old, **values)
            for fileset, inside in rows:
                entries[fileset][1] = number(inside)
            ours = [fileset for fileset in sorted(old) if entries[fileset][0] and entries[fileset][0] == entries[fileset][1]]
            uploaded = set(self.uploaded(query, ours))
            return {"filesets": [{"id": fileset, "created": old[fileset] // 1000, "entry_count": entries[fileset][0],
                                  "path": entries[fileset][2], "uploaded": fileset in uploaded}
                                 for fileset in ours[:count]],
                    "more": len(ours) > count}

        return self.ask(session, deadline, work)

    # -- the end --

    def shutdown(self, params, deadline):
        params.end()
        with self.lock:
            sessions, self.sessions = list(self.sessions.values()), {}
        limit = Deadline(max(0.1, min(deadline.left() - 0.5, END_LIMIT)))

        def end(session):
            try:
                session.end(limit)
            except Exception as e:
                complain("logout: %s" % said(e))  # OMERO ends it when it is idle

        threads = [threading.Thread(target=end, args=(session,), daemon=True) for session in sessions]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(max(0, limit.left()))
        return {}

    def keep_alive(self):
        """Knocks for every session, for ever."""
        while True:
            time.sleep(1)
            with self.lock:
                sessions = list(self.sessions.values())
                forgotten = [key for key, visit in self.visits.items() if time.monotonic() - visit.used > VISIT_LIMIT]
                forgotten = [self.visits.pop(key).session for key in forgotten]
            for session in forgotten:
                if session.client is not None:
                    session.lose(session.client)
            for session in sessions:
                if time.monotonic() - session.knocked < session.idle / 3:
                    continue
                try:
                    session.knock()
                except Exception as e:
                    failed = translated(e)
                    complain("keep alive: %s" % failed.message)
                    # The next knock comes soon: the connection may come back before the session ends.
                    session.knocked = time.monotonic() - session.idle / 3 + min(30, session.idle / 10)
                    if failed.kind == "session_expired":
                        with self.lock:
                            self.sessions.pop(session.key, None)


def choice(params):
    """`("id", number)` or `("name", text)`."""
    if ("id" in params.given) == ("name" in params.given):
        raise Failed("bad_params", "a container is named by its id or by its name")
    if "id" in params.given:
        return ("id", params.number("id", 0, 2 ** 63 - 1))
    name = params.text("name")
    if not name:
        raise Failed("bad_params", "a name is empty")
    return ("name", name)


def save(client, objects, group, deadline):
    """Saves objects with all that hangs on them, in one transaction. Gives them as they were saved."""
    service = limited(client.getSession().getUpdateService(), deadline)
    context = {"omero.group": str(group)}
    if len(objects) == 1:
        return [service.saveAndReturnObject(objects[0], context)]
    return service.saveAndReturnArray(objects, context)


def server_time(client, deadline):
    """The server's time, in milliseconds since 1970."""
    return int(limited(client.getSession().getConfigService(), deadline).getServerTime().getValue())


def run_command(client, request, context, deadline):
    """Has the server perform a request and waits for its end."""
    import omero
    handle = client.getSession().submit(request, context)
    callback = None
    try:
        callback = omero.callbacks.CmdCallbackI(client, handle)
        while not callback.block(min(500, deadline.milliseconds())):
            deadline.check()
        response = callback.getResponse()
    finally:
        try:
            if callback is not None:
                callback.close(True)
            else:
                handle.close()
        except Exception:
            pass  # the server forgets it with the session
    if isinstance(response, omero.cmd.ERR):
        raise Failed("internal", "OMERO did not do it: %s %s" % (response.category, response.parameters or response.name))
    return response


def pairs_of(annotation):
    return [[pair.name, pair.value] for pair in annotation.mapValue or [] if pair is not None]


class Chosen:
    """What a person chose in OMERO: the filesets of it, each with the place where it is found, as that person's session sees
    it."""

    PLACE = ("group", "project", "dataset", "screen", "plate")

    def __init__(self, query, me, most):
        self.query = query
        self.me = me
        self.most = most
        self.places = {}
        # fileset: (place, images that were chosen)
        self.filesets = {}
        self.restricted = set()
        self.without_files = 0
        # (kind, id, place) of what attachments may hang on beside images.
        self.containers = []
        self.missing = []

    def find(self, objects, namespace, attachments):
        for kind in CHOSEN_KINDS:
            self.choose(kind, [i for k, i in objects if k == kind])
        self.leave_out_restricted()
        named = self.images()
        data = self.data(namespace)
        filesets = [{"id": fileset, "place": place, "images": named[fileset], "data": data.get(fileset)}
                    for fileset, place in sorted(self.filesets.items())]
        return {"places": [dict(zip(self.PLACE, place)) for place in self.places], "filesets": filesets,
                "attachments": self.attachments() if attachments else [], "without_files": self.without_files,
                "restricted": len(self.restricted), "missing": self.missing}

    def place(self, **names):
        place = tuple(names.get(name) for name in self.PLACE)
        return self.places.setdefault(place, len(self.places))

    def add(self, fileset, place):
        self.filesets.setdefault(fileset, place)
        if len(self.filesets) > self.most:
            raise Failed("too_large", "these are more than %d filesets: save them in parts" % self.most)

    def named(self, kind, ids):
        """The names and groups of objects; those that this session does not see are missing."""
        rows = self.query.rows_in("select o.id, o.name, g.name from %s o join o.details.group g where o.id in (:ids)" % kind,
                                  ids)
        found = {row[0]: (row[1], row[2]) for row in rows}
        self.missing.extend("%s:%d" % (kind, i) for i in ids if i not in found)
        return found

    def first_parents(self, link, children):
        """The parent of each child that it was put into first."""
        rows = self.query.rows_in("select l.child.id, p.id, p.name from %s l join l.parent p where l.child.id in (:ids) "
                                  "order by l.id" % link, children)
        first = {}
        for child, parent, name in rows:
            first.setdefault(child, (parent, name))
        return first

    def choose(self, kind, ids):
        if not ids:
            return
        found = self.named(kind, ids)
        if kind == "Image":
            self.of_images(found)
        elif kind == "Dataset":
            projects = self.first_parents("ProjectDatasetLink", found)
            self.of_datasets({i: (name, group, projects.get(i, (0, None))[1]) for i, (name, group) in found.items()})
        elif kind == "Project":
            for i, (name, group) in found.items():
                self.containers.append(("Project", i, self.place(group=group, project=name)))
            rows = self.query.rows_in("select l.parent.id, d.id, d.name, g.name from ProjectDatasetLink l join l.child d "
                                      "join d.details.group g where l.parent.id in (:ids) order by l.id", found)
            self.of_datasets({dataset: (name, group, found[project][0]) for project, dataset, name, group in rows})
        elif kind == "Plate":
            screens = self.first_parents("ScreenPlateLink", found)
            self.of_plates({i: (name, group, screens.get(i, (0, None))[1]) for i, (name, group) in found.items()})
        else:
            for i, (name, group) in found.items():
                self.containers.append(("Screen", i, self.place(group=group, screen=name)))
            rows = self.query.rows_in("select l.parent.id, p.id, p.name, g.name from ScreenPlateLink l join l.child p "
                                      "join p.details.group g where l.parent.id in (:ids) order by l.id", found)
            self.of_plates({plate: (name, group, found[screen][0]) for screen, plate, name, group in rows})

    def of_images(self, images):
        rows = self.query.rows_in("select i.id, f.id from Image i join i.fileset f where i.id in (:ids)", images)
        filesets = dict(rows)
        self.without_files += len(images) - len(filesets)
        datasets = self.first_parents("DatasetImageLink", images)
        projects = self.first_parents("ProjectDatasetLink", {dataset for dataset, _ in datasets.values()})
        lonely = [i for i in images if i not in datasets]
        plates = {}
        for image, plate, name in self.query.rows_in(
                "select ws.image.id, p.id, p.name from WellSample ws join ws.well w join w.plate p "
                "where ws.image.id in (:ids) order by ws.id", lonely):
            plates.setdefault(image, (plate, name))
        screens = self.first_parents("ScreenPlateLink", {plate for plate, _ in plates.values()})
        for image, (_, group) in images.items():
            if image not in filesets:
                continue
            dataset, plate = datasets.get(image), plates.get(image)
            place = self.place(group=group, dataset=dataset and dataset[1], plate=plate and plate[1],
                               project=projects.get(dataset[0], (0, None))[1] if dataset else None,
                               screen=screens.get(plate[0], (0, None))[1] if plate else None)
            self.add(filesets[image], place)

    def of_datasets(self, datasets):
        places = {i: self.place(group=group, project=project, dataset=name)
                  for i, (name, group, project) in datasets.items()}
        self.containers.extend(("Dataset", i, place) for i, place in places.items())
        for dataset, fileset in self.query.rows_in(
                "select distinct l.parent.id, i.fileset.id from DatasetImageLink l join l.child i "
                "where l.parent.id in (:ids) and i.fileset is not null", datasets):
            self.add(fileset, places[dataset])
        for (count,) in self.query.rows_in("select count(i.id) from DatasetImageLink l join l.child i "
                                           "where l.parent.id in (:ids) and i.fileset is null", datasets):
            self.without_files += number(count)

    def of_plates(self, plates):
        places = {i: self.place(group=group, screen=screen, plate=name) for i, (name, group, screen) in plates.items()}
        self.containers.extend(("Plate", i, place) for i, place in places.items())
        for plate, fileset in self.query.rows_in(
                "select distinct w.plate.id, i.fileset.id from WellSample ws join ws.well w join ws.image i "
                "where w.plate.id in (:ids) and i.fileset is not null", plates):
            self.add(fileset, places[plate])

    def leave_out_restricted(self):
        """What the site's policy lets this person see and not download (`omero.policy.binary_access`) is not saved either."""
        one = {}
        for some in chunks(self.filesets):
            one.update(self.query.rows("select i.fileset.id, min(i.id) from Image i where i.fileset.id in (:ids) "
                                       "group by i.fileset.id", ids=some))
        for fileset in set(self.filesets) - set(one):
            del self.filesets[fileset]  # of those this session sees no image any more
        # By default OMERO restricts plates, for their owners too, because they are large: whose the files are may save them.
        own = {fileset for (fileset,) in self.query.rows_in(
            "select f.id from Fileset f where f.id in (:ids) and f.details.owner.id = :me", one, me=self.me)}
        for some in chunks(image for fileset, image in one.items() if fileset not in own):
            for image in self.query.objects("select i from Image i where i.id in (:ids)", ids=some):
                if image.details.permissions.isRestricted("RESTRICT-BINARY-ACCESS"):
                    self.restricted.add(image.fileset.id.val)
        for fileset in self.restricted:
            del self.filesets[fileset]

    def images(self):
        named = {fileset: [] for fileset in self.filesets}
        for fileset, image in self.query.rows_in(
                "select i.fileset.id, i.id from Image i where i.fileset.id in (:ids) order by i.id", self.filesets):
            if len(named[fileset]) < NAMED_IMAGES:
                named[fileset].append(image)
        return named

    def data(self, namespace):
        """The data that filesets were imported from, by our annotation. Only one of the fileset's owner counts: others may be
        able to annotate it."""
        rows = self.query.rows_in(
            "select l.parent.id, a.id from FilesetAnnotationLink l join l.child a join l.parent f "
            "where l.parent.id in (:ids) and a.ns = :namespace and a.class = MapAnnotation "
            "and a.details.owner.id = f.details.owner.id and l.details.owner.id = f.details.owner.id order by a.id",
            self.filesets, namespace=namespace)
        annotations = {annotation: fileset for fileset, annotation in rows}
        data = {}
        for annotation in Worker.map_annotations(self.query, annotations):
            pairs = dict(reversed(pairs_of(annotation)))
            subject = next((letter + pairs[key] for letter, key in (("d", "iRODS data id"), ("c", "iRODS collection id"))
                            if key in pairs), None)
            if subject and pairs.get("iRODS zone") and pairs.get("iRODS path"):
                data[annotations[annotation.id.val]] = {"zone": pairs["iRODS zone"], "subject": subject,
                                                        "path": pairs["iRODS path"]}
        return data

    def attachments(self):
        """Files attached to what was chosen and to the images in it, each once. Those that an import made itself are files of
        the fileset, and left out."""
        links = {}
        for kind, parent, place in self.containers:
            links.setdefault(kind, {})[parent] = place
        found = {}
        for kind, places in links.items():
            for parent, annotation in self.query.rows_in(
                    "select l.parent.id, l.child.id from %sAnnotationLink l join l.child a where l.parent.id in (:ids) "
                    "and a.class = FileAnnotation order by l.id" % kind, places):
                found.setdefault(annotation, places[parent])
        for fileset, annotation in self.query.rows_in(
                "select i.fileset.id, l.child.id from ImageAnnotationLink l join l.child a join l.parent i "
                "where i.fileset.id in (:ids) and a.class = FileAnnotation order by l.id", self.filesets):
            found.setdefault(annotation, self.filesets[fileset])
        rows = self.query.rows_in(
            "select a.id, a.ns, f.id, f.name, f.path, f.size, f.hash, h.value, f.repo from FileAnnotation a join a.file f "
            "left outer join f.hasher h where a.id in (:ids)", found)
        files = {}
        for annotation, ns, file, name, path, size, digest, hasher, repo in rows:
            if (ns or "").startswith("openmicroscopy.org/omero/import/"):
                continue
            # One with a repository lies there under its path, any other in OMERO's directory of files under its id.
            files.setdefault(file, {"file": file, "place": found[annotation], "name": name, "size": number(size),
                                    "hash": digest, "hasher": hasher, "stored": (path or "") + name if repo else None,
                                    "root": (Worker.repository(self.query, repo) or {}).get("root") if repo else None})
            if len(files) > self.most:
                raise Failed("too_large", "these are more than %d attachments: save them in parts" % self.most)
        return [files[file] for file in sorted(files)]


class Containers:
    """Containers in the group of a session."""

    def __init__(self, session, client, query, deadline):
        self.session = session
        self.client = client
        self.query = query
        self.deadline = deadline
        self.me = session.user_id()
        self.group = int(session.context.groupId)
        self.context = {"omero.group": str(self.group)}

    COLUMNS = "c.id, c.details.owner.id, c.details.permissions.perm1, c.details.owner.omeName"

    def find(self, kind, condition, **values):
        return self.query.rows("select %s from %s c where %s order by c.id desc" % (self.COLUMNS, kind, condition),
                               self.context, **values)

    def choose(self, rows):
        """The newest of the user's own, else the newest that the group may write to."""
        own = [row[0] for row in rows if row[1] == self.me]
        shared = [row[0] for row in rows if number(row[2]) & GROUP_MAY_WRITE]
        return (own or shared or [None])[0]

    def by_id(self, kind, container):
        rows = self.find(kind, "c.id = :id", id=container)
        if not rows:
            raise Failed("not_found", "the target %s:%d does not exist in the group '%s' of OMERO, or '%s' may not see it"
                         % (kind, container, self.session.context.groupName, self.session.context.userName))
        if self.choose(rows) is None and not self.leads():
            raise Failed("not_linkable", "the OMERO user '%s' may not put anything into the target %s:%d, which belongs "
                         "to '%s'" % (self.session.context.userName, kind, container, rows[0][3]))
        return container

    def leads(self):
        return self.group in [int(group) for group in self.session.context.leaderOfGroups or []]

    def by_name(self, kind, name, make):
        found = self.choose(self.find(kind, "c.name = :name", name=name))
        if found is not None or not make:
            return (found, False)
        return (self.save(self.new(kind, name)).id.val, True)

    def in_project(self, project, name, make):
        if project[0] == "id":
            self.by_id("Project", project[1])
            condition = "p.id = :project"
        else:
            condition = "p.name = :project"
        # Mostly all is there already, and one question finds it.
        rows = self.query.rows(
            "select %s from ProjectDatasetLink l join l.parent p join l.child c where %s and c.name = :name "
            "order by c.id desc" % (self.COLUMNS, condition), self.context, project=project[1], name=name)
        found = self.choose(rows)
        if found is not None or not make:
            return (found, False)
        import omero
        if project[0] == "id":
            parent = omero.model.ProjectI(project[1], False)
        else:
            there = self.choose(self.find("Project", "c.name = :name", name=project[1]))
            parent = self.new("Project", project[1]) if there is None else omero.model.ProjectI(there, False)
        # One that is in no project is what is left of a run that was cut off before the link.
        rows = self.find("Dataset", "c.name = :name and c.projectLinks is empty", name=name)
        free = [row[0] for row in rows if row[1] == self.me]
        dataset = omero.model.DatasetI(free[0], False) if free else self.new("Dataset", name)
        link = omero.model.ProjectDatasetLinkI()
        link.parent = parent
        link.child = dataset
        return (self.save(link).child.id.val, not free)

    @staticmethod
    def new(kind, name):
        import omero
        made = getattr(omero.model, kind + "I")()
        made.name = omero.rtypes.rstring(name)
        return made

    def save(self, one):
        return save(self.client, [one], self.group, self.deadline)[0]

    def group_of(self, kind, container):
        rows = self.query.rows("select c.details.group.id from %s c where c.id = :id" % kind, id=container)
        if not rows:
            raise Failed("not_found", "there is no %s:%d that this user can see" % (kind, container))
        return rows[0][0]


class Item:
    """A fileset that is to be annotated, and what became of it."""

    def __init__(self, fileset, description, pairs):
        self.fileset = fileset
        self.description = description
        self.pairs = pairs
        self.state = None
        self.annotation = None
        self.failed = None

    def done(self, state, annotation):
        self.state, self.annotation, self.failed = state, annotation, None

    def fail(self, failed):
        self.state, self.failed = "failed", failed

    def as_json(self):
        if self.state is None:
            self.fail(Failed("time_limit", "not reached within the time limit of the request"))
        return {"fileset": self.fileset, "state": self.state, "annotation": self.annotation,
                "error": None if self.failed is None else self.failed.as_json()}


class Annotations:
    """Annotates filesets: asks what is there, and saves what is not, each annotation whole or not at all."""

    def __init__(self, session, client, query, deadline, namespace, update):
        self.session = session
        self.client = client
        self.query = query
        self.deadline = deadline
        self.namespace = namespace
        self.update = update

    def run(self, items):
        items = [item for item in items if item.state is None]
        self.wait_for_others(items)
        for some in chunks(items, SAVED_AT_ONCE):
            self.run_some(some)

    def wait_for_others(self, items):
        """A save that a request before did not wait for to its end would else be made twice."""
        with self.session.saving_lock:
            waited = {self.session.saving[item.fileset] for item in items if item.fileset in self.session.saving}
        for running in waited:
            running.wait(max(0, self.deadline.left()))
            self.deadline.check()

    def run_some(self, items):
        ids = [item.fileset for item in items]
        me = self.session.user_id()
        groups = dict(self.query.rows_in(
            "select f.id, f.details.group.id from Fileset f where f.id in (:ids) and f.details.owner.id = :me", ids, me=me))
        objects = collections.defaultdict(list)
        for fileset, plate in Worker.plates(self.query, ids):
            objects[fileset].append(("Plate", plate))
        without = [fileset for fileset in ids if fileset not in objects]
        for fileset, image in self.query.rows_in(
                "select i.fileset.id, i.id from Image i where i.fileset.id in (:ids) order by i.id", without):
            objects[fileset].append(("Image", image))
        there = dict(self.query.rows_in(
            "select l.parent.id, a.id from FilesetAnnotationLink l join l.child a where l.parent.id in (:ids) "
            "and a.ns = :namespace and a.class = MapAnnotation and a.details.owner.id = :me order by a.id", ids,
            namespace=self.namespace, me=me))
        linked = self.linked(there.values())
        old = {}
        if self.update and there:
            old = {a.id.val: a for a in Worker.map_annotations(self.query, there.values())}
        by_group = collections.defaultdict(list)
        for item in items:
            if item.fileset not in groups:
                item.fail(Failed("not_found", "there is no fileset %d of this user" % item.fileset))
                continue
            annotation = there.get(item.fileset)
            wanted = objects[item.fileset] if annotation is None else \
                [each for each in objects[item.fileset] if each + (annotation,) not in linked]
            change = self.changed(item, old.get(annotation))
            if annotation is not None and not wanted and change is None:
                item.done("there", annotation)
            else:
                by_group[groups[item.fileset]].append((item, annotation, wanted, change))
        for group, plans in by_group.items():
            # A plate of thousands of wells, or images, is as much as many filesets.
            some, size = [], 0
            for plan in plans:
                some.append(plan)
                size += 2 + len(plan[2])
                if size >= SAVED_AT_ONCE:
                    self.save(some, group)
                    some, size = [], 0
            self.save(some, group)

    def linked(self, annotations):
        """The links that annotations have: (class, object, annotation)."""
        annotations = set(annotations)
        links = set()
        for kind in ("Image", "Plate"):
            rows = self.query.rows_in("select l.parent.id, l.child.id from %sAnnotationLink l where l.child.id in (:ids)"
                                      % kind, annotations)
            links.update((kind, parent, annotation) for parent, annotation in rows)
        return links

    def changed(self, item, annotation):
        """The annotation as it should be, if it is not."""
        if annotation is None:
            return None
        description = annotation.description.val if annotation.description is not None else ""
        if description == item.description and pairs_of(annotation) == item.pairs:
            return None
        self.fill(annotation, item)
        return annotation

    def fill(self, annotation, item):
        import omero
        annotation.description = omero.rtypes.rstring(item.description)
        annotation.mapValue = [omero.model.NamedValue(key, value) for key, value in item.pairs]

    def graph(self, plan):
        """What is saved for one fileset."""
        import omero
        model = omero.model
        item, annotation, wanted, change = plan
        objects = [] if change is None else [change]
        if annotation is None:
            # Every link holds the same new annotation, so that all of them are saved with it or none.
            child = model.MapAnnotationI()
            child.ns = omero.rtypes.rstring(self.namespace)
            self.fill(child, item)
            wanted = [("Fileset", item.fileset)] + wanted
        else:
            child = model.MapAnnotationI(annotation, False)
        for kind, parent in wanted:
            link = getattr(model, kind + "AnnotationLinkI")()
            link.parent = getattr(model, kind + "I")(parent, False)
            link.child = child
            objects.append(link)
        return objects

    def save(self, plans, group):
        if not plans:
            return
        self.deadline.check()
        graphs = [self.graph(plan) for plan in plans]
        running = Saving([plan[0].fileset for plan in plans], self.session)
        try:
            saved = running.run(self.client, [one for graph in graphs for one in graph], group, self.deadline)
        except Exception as e:
            if is_lost(e):
                raise
            failed = translated(e)
            if failed.kind == "time_limit":
                raise failed
            if len(plans) == 1:
                plans[0][0].fail(failed)
                return
            # Halves, until the one that the server refuses stands alone.
            middle = len(plans) // 2
            self.save(plans[:middle], group)
            self.save(plans[middle:], group)
            return
        start = 0
        for (item, annotation, wanted, change), graph in zip(plans, graphs):
            if annotation is None:
                item.done("made", saved[start].child.id.val)
            else:
                item.done("updated" if change is not None else "linked", annotation)
            start += len(graph)


class Saving:
    """A save that goes on when its request does not wait for it any longer."""

    def __init__(self, filesets, session):
        self.filesets = filesets
        self.session = session
        self.ended = threading.Event()
        self.saved = None
        self.error = None

    def run(self, client, objects, group, deadline):
        with self.session.saving_lock:
            for fileset in self.filesets:
                self.session.saving[fileset] = self
        threading.Thread(target=self.work, args=(client, objects, group), daemon=True).start()
        if not self.ended.wait(max(0, deadline.left())):
            raise Failed("time_limit", "OMERO did not answer within the time limit of the request")
        if self.error is not None:
            raise self.error
        return self.saved

    def work(self, client, objects, group):
        try:
            self.saved = save(client, objects, group, Deadline(SAVE_LIMIT))
        except BaseException as e:
            self.error = e
        finally:
            with self.session.saving_lock:
                for fileset in self.filesets:
                    if self.session.saving.get(fileset) is self:
                        del self.session.saving[fileset]
            self.ended.set()

    def wait(self, seconds):
        self.ended.wait(seconds)


# ----------------------------------------------------------------------------------------------------------------------
# Lines


def complain(text):
    """Says something to people."""
    try:
        sys.stderr.write("irods_omero_worker: %s\n" % one_line(text))
        sys.stderr.flush()
    except (OSError, ValueError):
        pass  # nobody reads it


class Answers:
    """Standard output: one line for each request that is open, and no other."""

    def __init__(self, descriptor):
        self.descriptor = descriptor
        self.lock = threading.Lock()
        self.changed = threading.Condition(self.lock)
        self.open = {}
        threading.Thread(target=self.watch, daemon=True).start()

    def begin(self, request, deadline):
        """Notes a request. False if one of that id is open."""
        with self.lock:
            if request in self.open:
                return False
            self.open[request] = deadline.end
            self.changed.notify()
            return True

    def is_open(self, request):
        with self.lock:
            return request in self.open

    def result(self, request, result):
        self.finish(request, {"id": request, "result": result})

    def error(self, request, failed):
        self.finish(request, {"id": request, "error": failed.as_json()})

    def finish(self, request, answer):
        try:
            line = encode(answer)
        except Failed as e:
            line = encode({"id": request, "error": e.as_json()})
        with self.lock:
            if self.open.pop(request, None) is not None:
                self.write(line)

    def to_nobody(self, request, failed):
        """Answers what was no request."""
        with self.lock:
            self.write(encode({"id": request, "error": failed.as_json()}))

    def write(self, line):
        view = memoryview(line)
        try:
            while view:
                view = view[os.write(self.descriptor, view):]
        except OSError:
            os._exit(0)  # nobody listens any more

    def watch(self):
        """Answers what is over its time."""
        late = Failed("time_limit", "not done within the time limit of the request")
        with self.lock:
            while True:
                # A method that notices by itself says more.
                now = time.monotonic() - 0.5
                for request in [r for r, end in self.open.items() if end <= now]:
                    del self.open[request]
                    self.write(encode({"id": request, "error": late.as_json()}))
                nearest = min(self.open.values(), default=None)
                self.changed.wait(None if nearest is None else max(0.01, nearest - now))


def encode(answer):
    line = json.dumps(answer, ensure_ascii=True, separators=(",", ":")).encode("ascii") + b"\n"
    if len(line) > MAX_LINE:
        raise Failed("too_large", "the answer is longer than %d bytes: ask for less" % MAX_LINE)
    return line


def lines(stream):
    """The lines that come in; `None` for one that is too long."""
    while True:
        line = stream.readline(MAX_LINE + 1)
        if not line:
            return
        if len(line) > MAX_LINE:
            while line and not line.endswith(b"\n"):
                line = stream.readline(MAX_LINE)
            yield None
        elif line.strip():
            yield line


def request_of(line):
    """(id, method, limit, params) of a line; the id as far as it can be read, with the mistake."""
    if line is None:
        return None, Failed("bad_request", "a line is longer than %d bytes" % MAX_LINE)
    try:
        request = json.loads(line.decode("utf-8"))
    except (ValueError, RecursionError):
        return None, Failed("bad_request", "a line is not JSON")
    if not isinstance(request, dict):
        return None, Failed("bad_request", "a line is not a JSON object")
    number_of_it = request.pop("id", None)
    if isinstance(number_of_it, bool) or not isinstance(number_of_it, int) or not 1 <= number_of_it < 2 ** 63:
        return None, Failed("bad_request", "a request has no id")
    method, limit, params = request.pop("method", None), request.pop("limit", None), request.pop("params", None)
    if not isinstance(method, str):
        return number_of_it, Failed("bad_request", "a request has no method")
    if isinstance(limit, bool) or not isinstance(limit, (int, float)) or not 0.001 <= limit <= MAX_LIMIT:
        return number_of_it, Failed("bad_request", "a request has no limit from 0.001 to 86400 seconds")
    if request:
        return number_of_it, Failed("bad_request", "a request holds more than id, method, limit and params")
    return number_of_it, (method, float(limit), params)


def serve(stream, descriptor):
    worker, answers = Worker(), Answers(descriptor)
    waiting = queue.Queue()

    def work():
        while True:
            request, method, deadline, params = waiting.get()
            if not answers.is_open(request):
                continue  # its time was over before its turn
            try:
                result = worker.answer(method, params, deadline)
            except Failed as e:
                answers.error(request, e)
            except BaseException as e:
                complain("%s: %s: %s" % (method, type(e).__name__, e))
                answers.error(request, Failed("internal", "%s: %s" % (type(e).__name__, said(e))))
            else:
                answers.result(request, result)
                if method == "shutdown":
                    os._exit(0)

    for _ in range(AT_A_TIME):
        threading.Thread(target=work, daemon=True).start()
    threading.Thread(target=worker.keep_alive, daemon=True).start()
    for line in lines(stream):
        request, read = request_of(line)
        if isinstance(read, Failed):
            answers.to_nobody(request, read)
            continue
        method, limit, params = read
        deadline = Deadline(limit)
        if not answers.begin(request, deadline):
            answers.to_nobody(request, Failed("bad_request", "a request of this id is being worked on"))
        elif waiting.qsize() >= MAX_WAITING:
            answers.error(request, Failed("busy", "the worker has too many requests"))
        else:
            waiting.put((request, method, deadline, params))
    # Whoever started us is gone. The sessions are left: an import may go on in them at the server.
    os._exit(0)


def main():
    # What libraries print must not get among the answers, nor may they read requests.
    requests, answers = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    try:
        serve(os.fdopen(requests, "rb"), answers)
    except KeyboardInterrupt:
        os._exit(1)


if __name__ == "__main__":
    main()
