# Every night at two o'clock (UTC) everything directly below a collection is to be in OMERO: each collection there is
# tagged to be imported, into a dataset of its own name. Doing it again does no harm.
#
#   irule -r irods_rule_engine_plugin-irods_rule_language-instance -F nightly_import.r
#
# The job runs as whoever queued it, who needs write permission on these collections. iqstat shows it, iqdel ends it.
nightlyImport {
    msiGetIcatTime(*now, "unix");
    *wait = int(26 * 3600 - int(*now) % 86400) % 86400;
    delay("<INST_NAME>irods_rule_engine_plugin-irods_rule_language-instance</INST_NAME><PLUSET>*wait" ++ "s</PLUSET><EF>24h</EF>") {
        foreach (*row in SELECT COLL_NAME WHERE COLL_PARENT_NAME = '*below') {
            *collection = *row.COLL_NAME;
            *id = "";
            *code = errormsg(omero_import(*collection, *target, *id), *why);
            if (*code < 0) {
                writeLine("serverLog", "nightlyImport: *collection: *code *why");
            }
        }
    }
    writeLine("stdout", "the collections below *below are imported every night, for the first time in *wait seconds");
}
INPUT *below="/tempZone/home/alice/microscopy", *target="Dataset:name:{collection[-1]}"
OUTPUT ruleExecOut
