# Ends the tie of a collection to OMERO and removes it for good, which the guard of imported data refuses otherwise.
#
#   irule -r irods_rule_engine_plugin-irods_rule_language-instance -F release_and_remove.r
#
# The images stay in OMERO and show nothing any more. Delete them there, or begin with "delete" instead of "keep" and remove the
# collection when the job has run.
releaseAndRemove {
    *code = errormsg(omero_release(*collection, "keep"), *why);
    if (*code < 0) {
        writeLine("stdout", "*collection is not released: *code *why");
    } else {
        msiRmColl(*collection, "forceFlag=", *status);
        writeLine("stdout", "*collection is released and removed");
    }
}
INPUT *collection="/tempZone/home/alice/microscopy/run1"
OUTPUT ruleExecOut
