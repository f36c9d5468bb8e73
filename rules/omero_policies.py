# SPDX-License-Identifier: BSD-3-Clause
"""The same policies for the Python rule engine plugin: copy to /etc/irods and say in core.py

    from omero_policies import *

The functions of the plugin are called as callback.NAME(...); a text they give is in result["arguments"], and whether they
succeeded in result["status"]. Only administrators may run rules of the Python rule engine by irule.
"""

import json
import subprocess

MAIL = "/var/lib/irods/msiExecCmd_bin/omero_mail"


def nightly_import(rule_args, callback, rei):
    """nightly_import(collection, target): everything directly below a collection is to be in OMERO.

    Queued as a job that repeats itself by:
    callback.delayExec("<INST_NAME>irods_rule_engine_plugin-python-instance</INST_NAME><EF>24h</EF>",
                       "callback.nightly_import('/tempZone/home/alice/microscopy', 'Dataset:name:{collection[-1]}')", "")
    """
    below, target = rule_args[0], rule_args[1]
    for row in rows(callback, "COLL_NAME", "COLL_PARENT_NAME = '%s'" % quoted(below)):
        result = callback.omero_import(row[0], target, "")
        if not result["status"]:
            callback.writeLine("serverLog", "nightly_import: %s: %s" % (row[0], result["code"]))


def import_from_notebook(rule_args, callback, rei):
    """import_from_notebook(attribute): only what has an AVU from the electronic lab notebook."""
    attribute = rule_args[0]
    target = "Project:name:{avu:%s}/Dataset:name:{collection[-1]}" % attribute
    for row in rows(callback, "COLL_NAME", "META_COLL_ATTR_NAME = '%s'" % quoted(attribute)):
        callback.omero_import(row[0], target, "")


def pep_api_data_obj_put_pre(rule_args, callback, rei):
    """Data without a project is refused when it is put."""
    path = str(rule_args[2].objPath)
    result = callback.omero_explain("", path, "")
    if result["status"] and json.loads(result["arguments"][2])["outcome"] == "failed":
        callback.msiExit("-1", "there is no project to import %s into: add an AVU 'project' to its collection" % path)


def notify_failed(rule_args, callback, rei):
    """notify_failed(domain, memory, attribute): whoever owns data that could not be imported gets one mail for it.

    An AVU on the administrator's collection `memory` remembers the number of each data object.
    """
    domain, memory, remembered = rule_args[0], rule_args[1], rule_args[2]
    failed = "META_DATA_ATTR_NAME = 'irods::omero::state' AND META_DATA_ATTR_VALUE = 'failed'"
    for number, collection, name, owner in rows(callback, "DATA_ID, COLL_NAME, DATA_NAME, DATA_OWNER_NAME", failed):
        there = "COLL_NAME = '%s' AND META_COLL_ATTR_NAME = '%s' AND META_COLL_ATTR_VALUE = '%s'"
        if any(rows(callback, "META_COLL_ATTR_VALUE", there % (quoted(memory), quoted(remembered), number))):
            continue
        path = "%s/%s" % (collection, name)
        result = callback.omero_state(path, "")
        # It may have been tried again meanwhile.
        if result["status"] and json.loads(result["arguments"][1])["state"] == "failed":
            # Not by msiExecCmd: what it gives back is none of the kinds that this rule engine can take.
            sent = subprocess.run([MAIL, "%s@%s" % (owner, domain), path], check=False)
            if sent.returncode == 0:
                note = callback.msiString2KeyValPair("%s=%s" % (remembered, number), 0)["arguments"][1]
                callback.msiAssociateKeyValuePairsToObj(note, memory, "-C")


def quoted(text):
    """A text for a condition of a query: a quote would end it."""
    if "'" in text:
        raise ValueError("a quote in %r" % text)
    return text


def rows(callback, columns, conditions):
    """The rows of a query, each a list of texts."""
    from genquery import AS_LIST, row_iterator  # part of the Python rule engine plugin

    return row_iterator(columns, conditions, AS_LIST, callback)
